//! What stores the volumes: whether it is direct, and what its disk says of itself.

use super::finding::Finding;
use super::host::Host;
use super::look::Seen;
use crate::config::{Backing, VolumeSettings};
use std::io;
use std::path::Path;

/// Everything about one volume. `inspect` opens what is at a path, for reading, and lets it go again.
pub(super) fn check(
    host: &Host,
    volume: &VolumeSettings,
    inspect: impl Fn(&Path) -> io::Result<Seen>,
) -> Vec<Finding> {
    let path = host.path(volume.backing.path());
    let name = &volume.name;
    let findings = match (&volume.backing, inspect(&path)) {
        (Backing::File { create: true, buffered, .. }, Err(error))
            if error.kind() == io::ErrorKind::NotFound =>
        {
            vec![to_be_made(host, volume.backing.path(), *buffered)]
        }
        (_, Err(error)) => vec![unreadable(volume.backing.path(), &error)],
        (Backing::Block { path }, Ok(found)) if !found.block_device => vec![Finding::fail(
            "backing",
            format!("{} is no block device", path.display()),
            "the daemon does not start",
            format!("kind = \"file\" for volume '{name}', or the device's own path (lsblk -p)"),
        )],
        (Backing::File { path, .. }, Ok(found)) if found.block_device => vec![Finding::fail(
            "backing",
            format!("{} is a block device", path.display()),
            "the daemon does not start",
            format!("kind = \"block\" for volume '{name}'"),
        )],
        (backing, Ok(found)) => {
            let mut findings = vec![direct(backing, &found)];
            findings.extend(queue(host, found.device));
            findings
        }
    };
    findings.into_iter().map(|finding| finding.of(name)).collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let mend = match error.kind() {
        io::ErrorKind::NotFound => format!("attach it, or correct the path: ls -l {}", path.display()),
        io::ErrorKind::TimedOut => {
            "mend it or the way to it: dmesg --level err,warn; for a file, whose server is it: findmnt -T "
                .to_owned()
                + &path.display().to_string()
        }
        io::ErrorKind::PermissionDenied => {
            format!("setfacl -m u:holdfast:rw {} (or run this as root to see more)", path.display())
        }
        _ => {
            format!("dd if={} of=/dev/null iflag=direct bs=4096 count=1 shows the same error", path.display())
        }
    };
    Finding::fail("backing", format!("{}: {error}", path.display()), "the daemon does not start", mend)
}

fn to_be_made(host: &Host, path: &Path, buffered: bool) -> Finding {
    let mount = host.mount_of(path).map_or(String::new(), |mount| mount.kind);
    match mount.as_str() {
        "tmpfs" | "hugetlbfs" | "btrfs" | "ramfs" => page_cache(path, &mount, buffered),
        _ => Finding::ok("direct", format!("{} will be made on {mount}", path.display())),
    }
}

fn direct(backing: &Backing, found: &Seen) -> Finding {
    let buffered = matches!(backing, Backing::File { buffered: true, .. });
    match &found.direct {
        Ok(how) => Finding::ok("direct", format!("{} on {}: {how}", backing.path().display(), found.on)),
        Err(why) => page_cache(backing.path(), why, buffered),
    }
}

fn page_cache(path: &Path, why: &str, buffered: bool) -> Finding {
    let found = format!("{} goes through the page cache ({why})", path.display());
    let mend = "put it on ext4, XFS or a block device";
    if buffered {
        return Finding::warn(
            "direct",
            found,
            "buffered = true: no promise about failed writes holds (C1, C2)",
            mend,
        );
    }
    Finding::fail(
        "direct",
        found,
        "the daemon does not start: the page cache forgets what a disk refused",
        mend,
    )
}

/// What sysfs says of the disk with this device number, or the one that a partition or file system of it is on.
fn queue(host: &Host, (major, minor): (u32, u32)) -> Vec<Finding> {
    let directory = format!("/sys/dev/block/{major}:{minor}");
    // The kernel resolves the link first: `..` of a partition is its disk.
    let ask = |name: &str| {
        host.read(format!("{directory}/{name}")).or_else(|| host.read(format!("{directory}/../{name}")))
    };
    if !host.path(&directory).exists() {
        let means = "whether its cache is volatile is not known; the daemon flushes in any case";
        return vec![Finding::ok("write_cache", format!("no disk of its own ({major}:{minor}); {means}"))];
    }
    vec![write_cache(ask("queue/write_cache"), &directory), poll_queues(ask("queue/io_poll"))]
}

fn write_cache(mode: Option<String>, directory: &str) -> Finding {
    const CHECK: &str = "write_cache";
    match mode.as_deref() {
        Some("write back") => Finding::ok(CHECK, "write back: volatile, and flushed"),
        Some("write through") => Finding::ok(CHECK, "write through: what is written is stable"),
        other => Finding::warn(
            CHECK,
            format!("the disk says {}", other.unwrap_or("nothing")),
            "the kernel may drop the daemon's flushes, and a power loss what was flushed (C1)",
            format!(
                "echo 'write back' > {directory}/queue/write_cache, unless its maker says that it has no volatile cache"
            ),
        ),
    }
}

/// For information: this release takes completions by interrupt.
fn poll_queues(polls: Option<String>) -> Finding {
    const CHECK: &str = "poll_queues";
    match polls.as_deref() {
        Some("1") => Finding::ok(
            CHECK,
            "the disk can be polled; this release takes interrupts, so that nvme.poll_queues=0 leaves it more queues",
        ),
        _ => Finding::ok(CHECK, "none, and this release needs none: it takes interrupts"),
    }
}
