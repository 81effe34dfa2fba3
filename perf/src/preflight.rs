//! What is looked at before a job: what makes its figures worthless, and what makes them doubtful.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::machine::Machine;
use crate::testbed::{Idle, Testbed};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preflight {
    /// No figure would mean anything.
    pub refusals: Vec<String>,
    /// The reader decides.
    pub flags: Vec<String>,
}

/// Looks at the machine and at the testbed's storage.
#[must_use]
pub fn preflight(machine: &Machine, testbed: &Testbed, clients: u32) -> Preflight {
    let mut found = Preflight::default();
    let (client, reactor) = (testbed.client_cores[0], testbed.reactor_cores[0]);
    let used = testbed.client_cores.iter().take(clients as usize);
    let shared: Vec<_> = used.filter(|core| testbed.reactor_cores.contains(core)).collect();
    for finding in machine.findings(client, reactor) {
        let worthless = machine.debug_build && finding.contains("debug build");
        if worthless { &mut found.refusals } else { &mut found.flags }.push(finding);
    }
    if !shared.is_empty() {
        let what = format!("cores {shared:?} are the clients' and the reactors': they would take turns");
        found.refusals.push(what);
    }
    if clients as usize > testbed.client_cores.len() {
        let cores = testbed.client_cores.len();
        found.flags.push(format!("{clients} clients share {cores} cores and take turns"));
    }
    if testbed.idle == Idle::Spin {
        found.flags.push("reactors spin, on the floor's core, too: ratios to the floor mean nothing".into());
    }
    found.flags.extend(write_cache(testbed.device.as_deref().unwrap_or(&testbed.directory)));
    found
}

/// What the kernel believes of the cache of the device beneath a file or behind a node.
fn write_cache(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    let number = if metadata.rdev() == 0 { metadata.dev() } else { metadata.rdev() };
    let name = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    // A partition's queue is its disk's.
    let queue = ["queue", "../queue"].map(|queue| format!("/sys/dev/block/{name}/{queue}/write_cache"));
    let mode = queue.iter().find_map(|file| std::fs::read_to_string(file).ok());
    doubt(mode.as_deref().map(str::trim), path)
}

fn doubt(mode: Option<&str>, path: &Path) -> Option<String> {
    match mode {
        Some("write back") => None,
        Some(mode) => Some(format!(
            "the write cache of the device of {} is {mode:?}: flushes cost nothing there",
            path.display()
        )),
        None => Some(format!(
            "the write cache of what stores {} is unknown: it may be memory, and flushes free",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(client_cores: &[usize], clients: u32, debug_build: bool) -> Preflight {
        let mut machine = Machine::inspect(vec![0, 1], 0, 1);
        machine.debug_build = debug_build;
        let testbed = Testbed {
            client_cores: client_cores.to_vec(),
            reactor_cores: vec![0],
            directory: "/proc".into(),
            ..Testbed::default()
        };
        preflight(&machine, &testbed, clients)
    }

    #[test]
    fn a_debug_build_and_a_shared_core_are_refused() {
        assert_eq!(found(&[1], 1, false).refusals, Vec::<String>::new());
        assert!(found(&[1], 1, true).refusals[0].contains("debug build"));
        assert!(found(&[1, 0], 2, false).refusals[0].contains("cores [0]"));
        assert_eq!(found(&[1, 0], 1, false).refusals, Vec::<String>::new());
    }

    #[test]
    fn crowded_clients_and_free_flushes_are_flagged() {
        let flags = found(&[1], 3, false).flags;
        assert!(flags.iter().any(|flag| flag.contains("3 clients share 1 cores")), "{flags:?}");
        assert!(flags.iter().any(|flag| flag.contains("/proc is unknown")), "{flags:?}");
        let here = Path::new("/here");
        assert_eq!(doubt(Some("write back"), here), None);
        assert!(doubt(Some("write through"), here).unwrap().contains("cost nothing"));
    }
}
