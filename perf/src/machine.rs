//! Where a figure is taken: cores, memory, and who else uses them.

use std::fs::read_to_string;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What was found before the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// As the kernel names it.
    pub cpu_model: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether the processor says that a hypervisor runs it.
    pub virtual_machine: bool,
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// Whether client and server run on hyperthreads of one core, as far as the kernel knows: a hypervisor may hide it.
    pub smt_siblings: bool,
    /// Of the client's core; `None` if the kernel does not set its frequency.
    pub governor: Option<String>,
    /// Of the last-level cache; `None` if unknown.
    pub l3_bytes: Option<u64>,
    /// Reserved huge pages, and how many of them are free.
    pub huge_pages: u64,
    /// Of these.
    pub huge_pages_free: u64,
    /// Memory that could be had without swapping.
    pub memory_available: u64,
    /// The kernel's setting for transparent huge pages.
    pub transparent_huge_pages: String,
    /// Mean number of running tasks over the last minute.
    pub load: f64,
    /// Whether this program was built without optimization.
    pub debug_build: bool,
}

/// What happened to the machine during the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct During {
    /// Share of the processors' time that the hypervisor gave to others, in percent.
    pub steal_percent: f64,
    /// Times a second that the client was taken off its core for another task.
    pub client_preemptions_per_s: f64,
}

impl Machine {
    /// Looks; never fails: what cannot be read is unknown.
    #[must_use]
    pub fn inspect(cores: Vec<usize>, client_core: usize, server_core: usize) -> Self {
        let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let topology = core_file(client_core, "topology/thread_siblings_list").unwrap_or_default();
        Self {
            cpu_model: field(&cpu, "model name").unwrap_or("unknown").to_owned(),
            kernel: read_line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            virtual_machine: field(&cpu, "flags").is_some_and(|flags| flags.contains("hypervisor")),
            cores,
            smt_siblings: client_core != server_core && in_list(&topology, server_core),
            governor: core_file(client_core, "cpufreq/scaling_governor"),
            l3_bytes: core_file(client_core, "cache/index3/size").and_then(|size| kibibytes(&size)),
            huge_pages: number(&memory, "HugePages_Total"),
            huge_pages_free: number(&memory, "HugePages_Free"),
            memory_available: number(&memory, "MemAvailable") * 1024,
            transparent_huge_pages: read_line("/sys/kernel/mm/transparent_hugepage/enabled")
                .unwrap_or_default(),
            load: load(&read_line("/proc/loadavg").unwrap_or_default()),
            debug_build: cfg!(debug_assertions),
        }
    }

    /// What speaks against believing a figure that is measured here.
    #[must_use]
    pub fn findings(&self, client_core: usize, server_core: usize) -> Vec<String> {
        let mut findings = Vec::new();
        let mut find = |applies: bool, what: String| findings.extend(applies.then_some(what));
        find(self.debug_build, "a debug build: no figure of it means anything; use --release".into());
        find(client_core == server_core, "client and server share one core and take turns".into());
        find(
            self.smt_siblings,
            "client and server are hyperthreads of one core: rings look faster and copies slower".into(),
        );
        find(
            self.huge_pages_free == 0,
            "no free huge pages: the span costs TLB misses (sysctl vm.nr_hugepages)".into(),
        );
        let governor = self.governor.as_deref().filter(|governor| *governor != "performance");
        find(
            governor.is_some(),
            format!("the frequency governor is {:?}, not \"performance\"", governor.unwrap_or_default()),
        );
        find(self.load > 0.5, format!("other tasks run: the load was {} before the start", self.load));
        findings
    }
}

impl During {
    /// What of it speaks against the figures.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let Self { steal_percent, client_preemptions_per_s } = *self;
        if steal_percent > 0.5 {
            findings
                .push(format!("{steal_percent:.1}% of the processors' time was stolen by the hypervisor"));
        }
        if client_preemptions_per_s > 10.0 {
            findings.push(format!(
                "the client was taken off its core {client_preemptions_per_s:.0} times a second"
            ));
        }
        findings
    }
}

/// Counters of the kernel, to be looked at before and after.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    when: std::time::Instant,
    total: u64,
    steal: u64,
    preemptions: u64,
}

impl Counters {
    /// Their values now.
    #[must_use]
    pub fn now() -> Self {
        let (total, steal) = processor_time(&read_line("/proc/stat").unwrap_or_default());
        let status = read_to_string("/proc/thread-self/status").unwrap_or_default();
        let preemptions = number(&status, "nonvoluntary_ctxt_switches");
        Self { when: std::time::Instant::now(), total, steal, preemptions }
    }

    /// What happened since.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shares and rates, not counts")]
    pub fn since(&self) -> During {
        let now = Self::now();
        let steal = (now.steal - self.steal) as f64 / (now.total - self.total).max(1) as f64;
        let preemptions = (now.preemptions - self.preemptions) as f64;
        During {
            steal_percent: steal * 100.0,
            client_preemptions_per_s: preemptions / (now.when - self.when).as_secs_f64().max(1e-9),
        }
    }
}

/// Total and stolen ticks in the first line of `/proc/stat`. Its last two columns (guests) are in the first two already.
fn processor_time(line: &str) -> (u64, u64) {
    let columns: Vec<u64> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap_or(0)).collect();
    (columns.iter().take(8).sum(), columns.get(7).copied().unwrap_or(0))
}

fn read_line(path: impl AsRef<Path>) -> Option<String> {
    read_to_string(path).ok()?.lines().next().map(|line| line.trim().to_owned())
}

fn core_file(core: usize, name: &str) -> Option<String> {
    read_line(format!("/sys/devices/system/cpu/cpu{core}/{name}"))
}

/// The value of the first `key : value` line.
fn field<'text>(text: &'text str, key: &str) -> Option<&'text str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The same as a number, whatever its unit; 0 if it is not there.
fn number(text: &str, key: &str) -> u64 {
    let value = field(text, key).and_then(|value| value.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// `"32768K"`, as sysfs tells the sizes of caches.
fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether a kernel list such as `0-3,8` has a core.
fn in_list(list: &str, core: usize) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&core))
    })
}

fn load(line: &str) -> f64 {
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
