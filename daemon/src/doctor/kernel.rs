//! What the kernel can do and allows.

use super::finding::Finding;
use super::host::Host;
use crate::kernel::{self, Weight};

/// What the daemon finds out itself at its start, asked of the kernel that runs.
pub(super) fn probed() -> Vec<Finding> {
    // The limit of locked memory is looked at in `memory`, with the arena in view.
    let findings = kernel::probe().into_iter().filter(|finding| finding.what != "RLIMIT_MEMLOCK");
    let found = findings.map(|finding| {
        let kernel::Finding { what, weight, found, consequence, remedy } = finding;
        match weight {
            Weight::Fine => Finding::ok("kernel", found),
            Weight::Slower => Finding::warn("kernel", found, consequence, remedy),
            Weight::Fatal => Finding::fail("kernel", found, consequence, remedy),
        }
        .of(what)
    });
    found.collect()
}

/// The administrator's switch for io_uring. Who may use it is seen by [`probed`]; this is for whoever starts the daemon.
pub(super) fn io_uring_switch(host: &Host) -> Finding {
    const CHECK: &str = "io_uring_disabled";
    const MEND: &str = "sysctl -w kernel.io_uring_disabled=0, and the same line in /etc/sysctl.d/90-holdfast.conf for the next boot";
    match host.number("/proc/sys/kernel/io_uring_disabled") {
        None | Some(0) => Finding::ok(CHECK, "0: everybody may use io_uring"),
        Some(1) => {
            let group = host.read("/proc/sys/kernel/io_uring_group").unwrap_or_else(|| "-1".to_owned());
            Finding::warn(
                CHECK,
                format!("1: only root and the group {group} may use io_uring"),
                "a daemon of another user does not start",
                format!("sysctl -w kernel.io_uring_group=$(getent group holdfast | cut -d: -f3), or {MEND}"),
            )
        }
        Some(other) => {
            let found = format!("{other}: nobody may use io_uring");
            Finding::fail(CHECK, found, "the daemon does not start: there is no other way to the disks", MEND)
        }
    }
}

/// What the time costs: every turn of a reactor reads it.
pub(super) fn clock(host: &Host) -> Finding {
    const CHECK: &str = "clock";
    const DIRECTORY: &str = "/sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.read(format!("{DIRECTORY}/current_clocksource")) else {
        let mend = "mount -t sysfs sysfs /sys";
        return Finding::warn(CHECK, "sysfs names no clock source", "what the time costs is not known", mend);
    };
    // Those that are read without a system call: x86, ARM, RISC-V, s390; and what hypervisors offer.
    const FAST: &[&str] = &[
        "tsc",
        "arch_sys_counter",
        "riscv_clocksource",
        "stp",
        "tod",
        "kvm-clock",
        "hyperv_clocksource_tsc_page",
    ];
    if FAST.contains(&current.as_str()) {
        return Finding::ok(CHECK, current);
    }
    let available = host.read(format!("{DIRECTORY}/available_clocksource")).unwrap_or_default();
    let better = available.split_whitespace().find(|name| FAST.contains(name));
    let mend = match better {
        Some(name) => format!("echo {name} > {DIRECTORY}/current_clocksource"),
        None => "the kernel's log says why it does not trust the TSC (journalctl -k | grep -i tsc); mend the firmware, or boot with tsc=reliable"
            .to_owned(),
    };
    let means = "reading the time takes about a microsecond instead of 20 ns, many times a turn";
    Finding::warn(CHECK, format!("{current} (there are: {available})"), means, mend)
}
