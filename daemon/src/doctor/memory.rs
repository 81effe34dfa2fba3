//! The arena's memory, and what the kernel lets the daemon lock and open.

use super::finding::Finding;
use super::host::Host;
use crate::config::Settings;

const HUGE: &str = "hugepages";
/// CAP_IPC_LOCK of linux/capability.h: no limit of locked memory holds for it.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// The memory that the configured arena will take.
pub(super) fn arena(host: &Host, settings: &Settings) -> Finding {
    let path = &settings.arena.path;
    let Some(mount) = host.mount_of(path) else {
        return Finding::warn(
            HUGE,
            "/proc/self/mounts says nothing",
            "the arena's memory is not known",
            "mount /proc",
        );
    };
    match mount.kind.as_str() {
        "hugetlbfs" => on_huge_pages(host, settings, &mount.options),
        "tmpfs" => Finding::warn(
            HUGE,
            format!("arena.path = {} is on a tmpfs", path.display()),
            "the cache is in ordinary pages: slower, and they can be swapped out",
            "arena.path = \"/dev/hugepages/holdfast\" in the configuration",
        ),
        other => Finding::fail(
            HUGE,
            format!("arena.path = {} is on {other}", path.display()),
            "the daemon refuses to start: an arena is on hugetlbfs or tmpfs",
            if path.starts_with("/dev/hugepages") {
                "systemctl start dev-hugepages.mount, or: mkdir -p /dev/hugepages && mount -t hugetlbfs hugetlbfs /dev/hugepages"
            } else {
                "arena.path = \"/dev/hugepages/holdfast\" in the configuration"
            },
        ),
    }
}

fn on_huge_pages(host: &Host, settings: &Settings, options: &str) -> Finding {
    let path = &settings.arena.path;
    if host.path(path).join("superblock").exists() {
        let found = format!("the arena is there: {}", path.display());
        return Finding::ok(HUGE, found);
    }
    let default = host.meminfo("Hugepagesize").unwrap_or(2 << 20);
    let page = options.split(',').find_map(page_size).unwrap_or(default);
    let needed = match settings.arena_layout().total_bytes(page) {
        Ok(bytes) => bytes / page,
        Err(error) => {
            return Finding::fail(
                HUGE,
                error.to_string(),
                "the daemon refuses to start",
                "set a larger arena.size",
            );
        }
    };
    let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page >> 10);
    let count = |name: &str| host.number(format!("{pool}/{name}")).unwrap_or(0);
    let (total, reserved) = (count("nr_hugepages"), count("resv_hugepages"));
    let free = count("free_hugepages").saturating_sub(reserved);
    let found = format!("{free} of {total} pages of {} KiB are free, the arena needs {needed}", page >> 10);
    if free >= needed {
        return Finding::ok(HUGE, found);
    }
    let wanted = total + needed - free;
    let mend = if page == default {
        format!(
            "sysctl -w vm.nr_hugepages={wanted}, and the same line in /etc/sysctl.d/90-holdfast.conf for the next boot"
        )
    } else {
        format!(
            "echo {wanted} > {pool}/nr_hugepages, and hugepagesz={}K hugepages={wanted} on the kernel's command line",
            page >> 10
        )
    };
    let means = "the daemon refuses to start; a host that has been up for long may have no contiguous memory left: then reboot";
    Finding::fail(HUGE, found, means, mend)
}

/// `pagesize=2M`, as hugetlbfs shows it.
fn page_size(option: &str) -> Option<u64> {
    let text = option.strip_prefix("pagesize=")?;
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_shl(shift).filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096)
}

/// How much memory may be locked: io_uring pins what it registers, and sessions are locked.
pub(super) fn memlock(host: &Host, settings: Option<&Settings>) -> Finding {
    const CHECK: &str = "memlock";
    let status = host.read("/proc/self/status").unwrap_or_default();
    let capable = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capable = capable.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if capable & CAP_IPC_LOCK != 0 {
        return Finding::ok(CHECK, "no limit: this user has CAP_IPC_LOCK");
    }
    let Some(limit) = host.limit("Max locked memory") else {
        return Finding::warn(
            CHECK,
            "/proc/self/limits says nothing",
            "the limit is not known",
            "mount /proc",
        );
    };
    let arena = settings.map_or(64 << 20, |settings| settings.arena.size_bytes);
    match limit {
        u64::MAX => Finding::ok(CHECK, "unlimited"),
        _ if limit > 2 * arena => Finding::ok(CHECK, format!("{limit} bytes")),
        _ => Finding::warn(
            CHECK,
            format!("{limit} bytes for this user, and the arena has {arena}"),
            "the arena is not registered with io_uring: device I/O costs more CPU; sessions may be refused",
            "LimitMEMLOCK=infinity in the unit (the shipped one has it), or `ulimit -l unlimited` before a start by hand",
        ),
    }
}

/// Descriptors: a session has a socket, a memfd and a wake-up for each reactor.
pub(super) fn files(host: &Host, settings: &Settings) -> Finding {
    const CHECK: &str = "nofile";
    let sessions = u64::from(settings.limits.sessions_max);
    let needed = 128 + sessions * (2 + u64::from(settings.daemon.reactors)) + settings.volumes.len() as u64;
    let limit = host.limit("Max open files").unwrap_or(0);
    if limit >= needed {
        return Finding::ok(CHECK, format!("{limit} descriptors, {sessions} sessions need about {needed}"));
    }
    Finding::warn(
        CHECK,
        format!("{limit} descriptors for this user, {sessions} sessions need about {needed}"),
        "clients are turned away before limits.sessions_max is reached",
        format!(
            "LimitNOFILE={} in the unit, or `ulimit -n {0}` before a start by hand",
            needed.next_power_of_two()
        ),
    )
}
