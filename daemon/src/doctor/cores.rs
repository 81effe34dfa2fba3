//! The cores that reactors poll on: whether they have them for themselves.

use super::finding::Finding;
use super::host::{Host, cpus, list};
use crate::config::{Idle, Settings};
use std::collections::BTreeSet;

const CPU: &str = "/sys/devices/system/cpu";

/// Everything about the configured cores.
pub(super) fn check(host: &Host, settings: &Settings) -> Vec<Finding> {
    let online = cpus(&host.read(format!("{CPU}/online")).unwrap_or_default());
    let cores: BTreeSet<u32> = settings.daemon.cores.iter().copied().collect();
    if cores.is_empty() {
        return vec![unpinned(settings, &online)];
    }
    let mut findings = vec![present(host, &cores, &online)];
    findings.push(isolated(host, &cores));
    findings.extend(siblings(host, &cores, &online));
    findings.extend(cores.iter().filter_map(|&core| governor(host, core)));
    findings
}

fn unpinned(settings: &Settings, online: &BTreeSet<u32>) -> Finding {
    const CHECK: &str = "cores";
    let (reactors, count) = (settings.daemon.reactors as usize, online.len());
    let found = format!("{reactors} reactors, not pinned, on {count} CPUs");
    let example: Vec<String> = online.iter().rev().take(reactors).map(u32::to_string).collect();
    let mend = format!("cores = [{}] in [daemon]", example.join(", "));
    if settings.daemon.idle == Idle::Spin {
        let means = "reactors spin for ever and take turns with whatever runs beside them";
        return Finding::warn(CHECK, found, means, mend);
    }
    if reactors > count {
        return Finding::warn(
            CHECK,
            found,
            "reactors take turns with each other",
            format!("reactors = {count} in [daemon]"),
        );
    }
    Finding::ok(CHECK, found)
}

/// The daemon runs unpinned where it cannot pin, and says so.
fn present(host: &Host, cores: &BTreeSet<u32>, online: &BTreeSet<u32>) -> Finding {
    const CHECK: &str = "cores";
    const MEANS: &str = "their reactors run unpinned";
    let offline: BTreeSet<u32> = cores.difference(online).copied().collect();
    if let Some(first) = offline.first() {
        let mend = if host.path(format!("{CPU}/cpu{first}")).exists() {
            format!("echo 1 > {CPU}/cpu{first}/online")
        } else {
            format!("cores in [daemon]: there are {}", list(online))
        };
        return Finding::fail(CHECK, format!("CPUs {} are not online", list(&offline)), MEANS, mend);
    }
    let status = host.read("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = allowed.map_or_else(|| online.clone(), cpus);
    let refused: BTreeSet<u32> = cores.difference(&allowed).copied().collect();
    if refused.is_empty() {
        return Finding::ok(CHECK, format!("{} are online", list(cores)));
    }
    let found = format!("this process may not use CPUs {}", list(&refused));
    let mend = "start outside of the cpuset that it is in, or widen it (cpuset.cpus of its cgroup, CPUAffinity= of its unit)";
    Finding::warn(CHECK, found, MEANS, mend)
}

fn isolated(host: &Host, cores: &BTreeSet<u32>) -> Finding {
    const CHECK: &str = "isolation";
    let told = |name: &str| cpus(&host.read(format!("{CPU}/{name}")).unwrap_or_default());
    let command_line = host.read("/proc/cmdline").unwrap_or_default();
    let booted = |name: &str| {
        let word =
            command_line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        cpus(word.unwrap_or_default())
    };
    let lacks = |name: &str, told_as: &str| {
        let have: BTreeSet<u32> = told(told_as).union(&booted(name)).copied().collect();
        !cores.is_subset(&have)
    };
    let (shared, ticking) = (lacks("isolcpus", "isolated"), lacks("nohz_full", "nohz_full"));
    let all = list(cores);
    if !shared && !ticking {
        return Finding::ok(CHECK, format!("{all} are isolated and without a tick"));
    }
    let (found, means) = if shared {
        ("the scheduler puts other work on", "a reactor that is preempted stops its clients for milliseconds")
    } else {
        ("the timer ticks on", "a reactor is interrupted several hundred times a second")
    };
    let mend = format!(
        "isolcpus=managed_irq,domain,{all} nohz_full={all} rcu_nocbs={all} on the kernel's command line \
         (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub and reboot)"
    );
    Finding::warn(CHECK, format!("{found} CPUs {all}"), means, mend)
}

/// A hyper-thread beside a polling core takes up to half of it.
fn siblings(host: &Host, cores: &BTreeSet<u32>, online: &BTreeSet<u32>) -> Vec<Finding> {
    const CHECK: &str = "siblings";
    let mut findings = Vec::new();
    let mut told: BTreeSet<u32> = BTreeSet::new();
    for &core in cores {
        let path = format!("{CPU}/cpu{core}/topology/thread_siblings_list");
        let mut beside = cpus(&host.read(path).unwrap_or_default());
        beside.remove(&core);
        beside.retain(|other| online.contains(other) && !told.contains(other));
        told.insert(core);
        let Some(&first) = beside.first() else { continue };
        let twins: BTreeSet<u32> = beside.intersection(cores).copied().collect();
        told.extend(&beside);
        let (found, mend) = if twins.is_empty() {
            (
                format!("CPU {} is the other thread of the same core", list(&beside)),
                format!("echo 0 > {CPU}/cpu{first}/online"),
            )
        } else {
            (
                format!("the reactors on {core} and {} are threads of one core", list(&twins)),
                format!("cores in [daemon]: take CPU {core} or {}, not both", list(&twins)),
            )
        };
        findings.push(
            Finding::warn(
                CHECK,
                found,
                "a polling thread takes about half of its sibling, and the other way round",
                mend,
            )
            .of(format!("CPU {core}")),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("none beside {}", list(cores))));
    }
    findings
}

/// None if the host does not change frequencies, or not where we see it.
fn governor(host: &Host, core: u32) -> Option<Finding> {
    const CHECK: &str = "governor";
    let path = format!("{CPU}/cpu{core}/cpufreq/scaling_governor");
    let governor = host.read(&path)?;
    let finding = if governor == "performance" {
        Finding::ok(CHECK, governor)
    } else {
        let means = "a core that polls in short bursts is run slowly, and the first requests after a pause pay for it";
        Finding::warn(CHECK, governor, means, format!("echo performance > {path}"))
    };
    Some(finding.of(format!("CPU {core}")))
}
