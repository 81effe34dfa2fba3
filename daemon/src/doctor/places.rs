//! The ledger's directory and the sockets.

use super::finding::Finding;
use super::host::Host;
use crate::config::{FrontendSettings, Listen, Settings};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Below this a busy ledger may run full: 100,000 failed ranges take about 20 MB, and it is written anew beside itself.
const STATE_BYTES_WANTED: u64 = 256 << 20;
/// Below this it hardly begins.
const STATE_BYTES_LEAST: u64 = 16 << 20;
/// `__SO_ACCEPTCON` of `/proc/net/unix`: somebody listens.
const LISTENING: u64 = 0x10000;

/// Where the ledger is.
pub(super) fn state(
    host: &Host,
    settings: &Settings,
    free: impl FnOnce(&Path) -> Option<u64>,
) -> Vec<Finding> {
    const CHECK: &str = "state_dir";
    let path = &settings.daemon.state_dir;
    let shown = path.display();
    let mount = host.mount_of(path).map_or("an unknown file system".to_owned(), |mount| mount.kind);
    let existing = path.ancestors().find(|ancestor| host.path(ancestor).is_dir()).unwrap_or(Path::new("/"));
    let on = match mount.as_str() {
        "tmpfs" | "ramfs" | "hugetlbfs" | "devtmpfs" => Finding::fail(
            CHECK,
            format!("{shown} is on {mount}"),
            "it does not survive a reboot, and then nobody knows what was lost (C11, C9)",
            "state_dir = \"/var/lib/holdfast\" in [daemon]",
        ),
        "overlay" | "nfs" | "nfs4" | "cifs" => Finding::warn(
            CHECK,
            format!("{shown} is on {mount}"),
            "it may not survive this container, or may be away when it is needed most",
            "state_dir on a local disk of the host",
        ),
        _ if existing != path => Finding::ok(
            CHECK,
            format!("{shown} is not there yet, and will be made in {}", existing.display()),
        ),
        _ => Finding::ok(CHECK, format!("{shown} is on {mount}")),
    };
    let mut findings = vec![on];
    if let Some(free) = free(&host.path(existing)) {
        findings.push(room(free, existing));
    }
    findings
}

fn room(free: u64, at: &Path) -> Finding {
    const CHECK: &str = "state_space";
    let found = format!("{} MiB are free in {}", free >> 20, at.display());
    let mend =
        format!("make room: 'du -xh --max-depth=2 {} | sort -h | tail' shows what takes it", at.display());
    if free < STATE_BYTES_LEAST {
        let means = "the ledger cannot be written: failed flushes are not answered, nothing is freed";
        return Finding::fail(CHECK, found, means, mend);
    }
    if free < STATE_BYTES_WANTED {
        return Finding::warn(CHECK, found, "a disk that refuses much may fill it", mend);
    }
    Finding::ok(CHECK, found)
}

/// The clients', the operators', and those of the frontends.
pub(super) fn sockets(host: &Host, settings: &Settings) -> Vec<Finding> {
    let daemon = &settings.daemon;
    let frontends = settings.frontends.iter().filter_map(|frontend| match frontend {
        FrontendSettings::Vhost(vhost) => Some(&vhost.socket),
        FrontendSettings::Nbd(nbd) => match &nbd.listen {
            Listen::Unix { path, .. } => Some(path),
            Listen::Tcp { .. } => None,
        },
    });
    let paths = [&daemon.socket, &daemon.admin_socket].into_iter().chain(frontends);
    paths.map(|path| socket(host, path).of(path.display())).collect()
}

fn socket(host: &Host, path: &Path) -> Finding {
    const CHECK: &str = "socket";
    let directory = path.parent().unwrap_or(Path::new("/"));
    if !host.path(directory).is_dir() {
        return Finding::fail(
            CHECK,
            format!("{} is not there", directory.display()),
            "the daemon does not start by hand; its unit makes the directory",
            format!(
                "systemd-tmpfiles --create holdfast.conf, or: install -d -m 0755 -o holdfast -g holdfast {}",
                directory.display()
            ),
        );
    }
    let Ok(found) = host.path(path).symlink_metadata() else {
        return Finding::ok(CHECK, "not there: no daemon runs");
    };
    if !found.file_type().is_socket() {
        let means = "the daemon does not start: it replaces dead sockets only";
        return Finding::fail(
            CHECK,
            "something else is in its place",
            means,
            format!("rm {}", path.display()),
        );
    }
    if listens(host, path) {
        return Finding::ok(CHECK, "a daemon listens");
    }
    Finding::warn(
        CHECK,
        "left over: nobody listens",
        "a daemon was killed, or cannot be seen from here; the next one replaces the socket",
        format!("systemctl restart holdfast, or, if no daemon is wanted: rm {}", path.display()),
    )
}

/// `/proc/net/unix`: number, references, protocol, flags, type, state, inode, path.
fn listens(host: &Host, path: &Path) -> bool {
    let text = host.read("/proc/net/unix").unwrap_or_default();
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = words.get(3).and_then(|flags| u64::from_str_radix(flags, 16).ok()).unwrap_or(0);
        flags & LISTENING != 0 && words.get(7).is_some_and(|found| is_bound_as(found, path))
    })
}

/// Whether a socket at `path` was bound as `bound`: the clients' is bound beside its place, under the daemon's number, and then
/// renamed, which the kernel does not notice.
fn is_bound_as(bound: &str, path: &Path) -> bool {
    let Some(rest) = path.to_str().and_then(|path| bound.strip_prefix(path)) else { return false };
    let number = rest.strip_prefix('.').is_some_and(|pid| pid.parse::<u32>().is_ok());
    rest.is_empty() || number
}
