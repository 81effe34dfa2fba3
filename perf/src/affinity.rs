//! Where the threads of servers may run: this program is pinned to a client's core, and what it starts would be, too.

use std::io;
use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::testbed::Testbed;

/// Starts a server whose threads may use every core of the testbed; reactors pin themselves. This thread stays where it is.
pub(crate) fn spawn_anywhere(command: &mut Command, testbed: &Testbed) -> io::Result<Child> {
    let before = sched_getaffinity(None)?;
    let mut all = CpuSet::new();
    for &core in testbed.client_cores.iter().chain(&testbed.reactor_cores) {
        // What the kernel cannot name is refused by whoever pins itself to it.
        if core < CpuSet::MAX_CPU {
            all.set(core);
        }
    }
    sched_setaffinity(None, &all)?;
    let child = command.spawn();
    sched_setaffinity(None, &before)?;
    child
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_server_may_use_all_cores_though_its_starter_may_use_one() {
        let cores: Vec<usize> =
            core_affinity::get_core_ids().unwrap().into_iter().map(|core| core.id).collect();
        let testbed = Testbed {
            client_cores: cores[..1].to_vec(),
            reactor_cores: cores[cores.len() - 1..].to_vec(),
            ..Testbed::default()
        };
        assert!(core_affinity::set_for_current(core_affinity::CoreId { id: cores[0] }));
        let mut sleep = Command::new("sleep");
        let mut child = spawn_anywhere(sleep.arg("60").stdin(Stdio::null()), &testbed).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let there = sched_getaffinity(Some(pid)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(there.is_set(cores[0]) && there.is_set(cores[cores.len() - 1]));
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1, "where it was");
    }
}
