//! Reads `[daemon]`, `[arena]`, `[limits]` and `[debug]`.

use super::node::{Node, Sizes};
use super::section::Section;
use super::settings::{ArenaSettings, DaemonSettings, DebugSettings, Idle, LimitSettings};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The kernel's largest CPU number is below CONFIG_NR_CPUS, 8192 in the distributions' kernels.
const CPU_MAX: u32 = 8191;
/// More reactors than that and a session's rings alone fill a page of descriptors.
pub(super) const REACTORS_MAX: u32 = 64;
/// A huge page: the unit of the arena.
pub(super) const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// A slot has a 32-bit number: 2^31 slots of 4 KiB, all on one reactor, leave half of the numbers unused.
pub(super) const ARENA_BYTES_MAX: u64 = 8 << 40;

/// `[daemon]`.
pub(super) fn daemon(root: &mut Section<'_>) -> DaemonSettings {
    let mut section = root.section("daemon");
    let cores = section.take("cores").and_then(|node| cpus(&node)).unwrap_or_default();
    let settings = DaemonSettings {
        reactors: reactors(&mut section, &cores),
        cores,
        idle: section
            .take("idle")
            .and_then(|node| node.choice(&[("adaptive", Idle::Adaptive), ("spin", Idle::Spin)]))
            .unwrap_or(Idle::Adaptive),
        state_dir: path(&mut section, "state_dir", "/var/lib/holdfast"),
        socket: socket(&mut section, "socket", "/run/holdfast/holdfast.sock"),
        socket_mode: section.take("socket_mode").and_then(|node| node.file_mode()).unwrap_or(0o660),
        admin_socket: socket(&mut section, "admin_socket", "/run/holdfast/admin.sock"),
        admin_socket_mode: section
            .take("admin_socket_mode")
            .and_then(|node| node.file_mode())
            .unwrap_or(0o600),
        admin_socket_gid: section.take("admin_socket_gid").and_then(|node| node.integer32(0..=u32::MAX - 1)),
    };
    section.finish();
    settings
}

fn cpus(node: &Node<'_>) -> Option<Vec<u32>> {
    let nodes = node.list("[2, 3]")?;
    if nodes.len() > REACTORS_MAX as usize {
        node.refuse(
            format!("{} cores are more than {REACTORS_MAX}", nodes.len()),
            format!("name at most {REACTORS_MAX}"),
        );
    }
    let mut seen = BTreeSet::new();
    let cpus: Vec<Option<u32>> = nodes.iter().map(|node| node.integer32(0..=CPU_MAX)).collect();
    for (node, cpu) in nodes.iter().zip(&cpus) {
        if let Some(cpu) = cpu
            && !seen.insert(cpu)
        {
            node.refuse(
                format!("CPU {cpu} is named twice"),
                "leave one out: two reactors would take turns on it",
            );
        }
    }
    cpus.into_iter().collect()
}

fn reactors(section: &mut Section<'_>, cores: &[u32]) -> u32 {
    let pinned = u32::try_from(cores.len()).unwrap_or(REACTORS_MAX);
    let default = pinned.max(1);
    let Some(node) = section.take("reactors") else { return default };
    match node.integer32(1..=REACTORS_MAX) {
        Some(count) if pinned > 0 && count != pinned => {
            let help = format!("write {pinned}, leave it out, or leave `cores` empty so that none is pinned");
            node.refuse(
                format!("{count} reactors and {pinned} cores: each reactor has its own core or none has"),
                help,
            );
            default
        }
        Some(count) => count,
        None => default,
    }
}

fn path(section: &mut Section<'_>, key: &'static str, default: &str) -> PathBuf {
    section.take(key).and_then(|node| node.path(default)).unwrap_or_else(|| PathBuf::from(default))
}

fn socket(section: &mut Section<'_>, key: &'static str, default: &str) -> PathBuf {
    section.take(key).and_then(|node| node.socket_path(default)).unwrap_or_else(|| PathBuf::from(default))
}

/// `[arena]`.
pub(super) fn arena(root: &mut Section<'_>) -> ArenaSettings {
    let mut section = root.section("arena");
    let sizes = Sizes { min: HUGE_PAGE_BYTES, max: ARENA_BYTES_MAX, multiple_of: HUGE_PAGE_BYTES };
    let settings = ArenaSettings {
        path: path(&mut section, "path", "/dev/hugepages/holdfast"),
        size_bytes: section.take("size").and_then(|node| node.size(&sizes)).unwrap_or(1 << 30),
        line_bytes: section.take("line").and_then(|node| line(&node)).unwrap_or(4 << 10),
        stripe_bytes: section.take("stripe").and_then(|node| stripe(&node)).unwrap_or(1 << 20),
    };
    section.finish();
    settings
}

fn line(node: &Node<'_>) -> Option<u32> {
    let bytes = node.size(&Sizes { min: 4 << 10, max: 16 << 10, multiple_of: 1 })?;
    if !bytes.is_power_of_two() {
        node.refuse(format!("{bytes} bytes are no power of two"), r#"possible: "4KiB", "8KiB", "16KiB""#);
        return None;
    }
    u32::try_from(bytes).ok()
}

fn stripe(node: &Node<'_>) -> Option<u64> {
    let bytes = node.size(&Sizes { min: 1 << 20, max: 1 << 30, multiple_of: 1 })?;
    if !bytes.is_power_of_two() {
        let above = bytes.next_power_of_two();
        let (above, below) = (super::quantity::exact(above), super::quantity::exact(above / 2));
        node.refuse(
            format!("{bytes} bytes are no power of two"),
            format!("the nearest are {below:?} and {above:?}"),
        );
        return None;
    }
    Some(bytes)
}

/// `[limits]`.
pub(super) fn limits(root: &mut Section<'_>) -> LimitSettings {
    let mut section = root.section("limits");
    let request = Sizes { min: 64 << 10, max: 1 << 20, multiple_of: 64 << 10 };
    let session = Sizes { min: 1 << 20, max: 1 << 30, multiple_of: 1 << 20 };
    let mut count =
        |key, range, default| section.take(key).and_then(|node| node.integer32(range)).unwrap_or(default);
    let (sessions_max, requests_max) =
        (count("sessions_max", 1..=1024, 64), count("requests_max", 16..=65536, 4096));
    let (device_ops_max, io_workers_max) =
        (count("device_ops_max", 4..=4096, 128), count("io_workers_max", 1..=4096, 128));
    let settings = LimitSettings {
        sessions_max,
        user_share: section.take("user_share").and_then(|node| node.share(10..=1000)).unwrap_or(750),
        queue_depth_max: section.take("queue_depth_max").and_then(|node| depth(&node)).unwrap_or(256),
        request_bytes_max: section
            .take("request_bytes_max")
            .and_then(|node| node.size(&request))
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(1 << 20),
        session_bytes_max: section
            .take("session_bytes_max")
            .and_then(|node| node.size(&session))
            .unwrap_or(16 << 20),
        requests_max,
        device_ops_max,
        io_workers_max,
        reserve: section.take("reserve").and_then(|node| node.share(20..=500)).unwrap_or(50),
        flush_after_ms: section
            .take("flush_after")
            .and_then(|node| node.duration_ms(10..=60_000))
            .unwrap_or(1_000),
    };
    section.finish();
    settings
}

fn depth(node: &Node<'_>) -> Option<u32> {
    let depth = node.integer32(8..=4096)?;
    if !depth.is_power_of_two() {
        let above = depth.next_power_of_two();
        node.refuse(
            format!("{depth} is no power of two"),
            format!("the nearest are {} and {above}", above / 2),
        );
        return None;
    }
    Some(depth)
}

/// `[debug]`.
pub(super) fn debug(root: &mut Section<'_>) -> DebugSettings {
    let mut section = root.section("debug");
    let fault_injection = section.take("fault_injection").and_then(|node| node.boolean()).unwrap_or(false);
    section.finish();
    DebugSettings { fault_injection }
}
