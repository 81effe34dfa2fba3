//! What this kernel can do for us, found out before anything else, with a word for each thing that it cannot.

use crate::device::Patience;
use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;
use rustix::process::Resource;
use std::io;

/// The oldest supported release: the first with STATX_DIOALIGN and DEFER_TASKRUN.
pub const OLDEST: (u32, u32) = (6, 1);

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Fine,
    /// The daemon runs, slower than it might.
    Slower,
    /// The daemon cannot run.
    Fatal,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// What was found.
    pub found: String,
    /// What that means; empty if all is well.
    pub consequence: &'static str,
    /// What mends it; empty if all is well.
    pub remedy: String,
}

impl Finding {
    fn fine(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { what, weight: Weight::Fine, found: found.into(), consequence: "", remedy: String::new() }
    }
}

/// Looks at everything that the daemon needs of the kernel. Takes about a millisecond and leaves nothing behind.
pub fn probe() -> Vec<Finding> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let ring = small_ring();
    let mut findings = vec![version(&release), presence(ring.as_ref().err(), disabled.trim())];
    if let Ok(ring) = &ring {
        findings.push(operations(ring));
        findings.push(completions());
    }
    findings.push(locked_memory(rustix::process::getrlimit(Resource::Memlock).current));
    findings
}

/// Newer kernels count rings against RLIMIT_MEMLOCK, and give back what a killed daemon had a moment after its end.
fn small_ring() -> io::Result<IoUring> {
    let patience = Patience::start();
    loop {
        match IoUring::new(2) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOMEM) && patience.wait() => {}
            other => return other,
        }
    }
}

fn version(release: &str) -> Finding {
    const WHAT: &str = "kernel version";
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST {
        return Finding::fine(WHAT, release);
    }
    Finding {
        what: WHAT,
        weight: Weight::Fatal,
        found: release.to_owned(),
        consequence: "direct I/O cannot be proved, and io_uring lacks what the reactors need",
        remedy: format!("boot Linux {}.{} or later", OLDEST.0, OLDEST.1),
    }
}

fn presence(refusal: Option<&io::Error>, disabled: &str) -> Finding {
    const WHAT: &str = "io_uring";
    let Some(error) = refusal else { return Finding::fine(WHAT, "present and allowed") };
    let remedy = match (Errno::from_io_error(error), disabled) {
        (Some(Errno::NOSYS), _) => "boot a kernel with CONFIG_IO_URING".to_owned(),
        (Some(Errno::PERM), "1") => {
            "`sysctl kernel.io_uring_disabled=0`, or join the group of kernel.io_uring_group".to_owned()
        }
        (Some(Errno::PERM), "2") => "`sysctl kernel.io_uring_disabled=0`".to_owned(),
        (Some(Errno::PERM), _) => {
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
                .to_owned()
        }
        (Some(Errno::NOMEM), _) => "raise RLIMIT_MEMLOCK (`ulimit -l`), or free memory".to_owned(),
        (Some(Errno::MFILE | Errno::NFILE), _) => "raise RLIMIT_NOFILE (`ulimit -n`)".to_owned(),
        _ => "see io_uring_setup(2)".to_owned(),
    };
    let consequence = "there is no way to the disks";
    Finding { what: WHAT, weight: Weight::Fatal, found: error.to_string(), consequence, remedy }
}

fn operations(ring: &IoUring) -> Finding {
    const WHAT: &str = "io_uring operations";
    let needed = [
        ("READV", opcode::Readv::CODE),
        ("WRITEV", opcode::Writev::CODE),
        ("READ_FIXED", opcode::ReadFixed::CODE),
        ("WRITE_FIXED", opcode::WriteFixed::CODE),
        ("FSYNC", opcode::Fsync::CODE),
        ("FALLOCATE", opcode::Fallocate::CODE),
        ("POLL_ADD", opcode::PollAdd::CODE),
        ("POLL_REMOVE", opcode::PollRemove::CODE),
    ];
    let mut probe = Probe::new();
    let probed = ring.submitter().register_probe(&mut probe).is_ok();
    let lacks =
        |(name, code): &(&str, u8)| (!probed || !probe.is_supported(*code)).then(|| (*name).to_owned());
    let missing: Vec<String> = needed.iter().filter_map(lacks).collect();
    let waits = ring.params().is_feature_ext_arg() && ring.params().is_feature_nodrop();
    if !missing.is_empty() || !waits {
        return Finding {
            what: WHAT,
            weight: Weight::Fatal,
            found: format!("missing: {}{}", missing.join(" "), if waits { "" } else { " EXT_ARG or NODROP" }),
            consequence: "the reactors cannot read, write, flush or sleep",
            remedy: format!("boot Linux {}.{} or later", OLDEST.0, OLDEST.1),
        };
    }
    if probe.is_supported(opcode::WritevFixed::CODE) && probe.is_supported(opcode::ReadvFixed::CODE) {
        return Finding::fine(WHAT, "all, with vectors on registered buffers");
    }
    Finding {
        what: WHAT,
        weight: Weight::Slower,
        found: "all but vectors on registered buffers".to_owned(),
        consequence: "write-back of scattered lines costs more CPU",
        remedy: "Linux 6.15 or later has them".to_owned(),
    }
}

fn completions() -> Finding {
    const WHAT: &str = "io_uring completions";
    let mut builder: io_uring::Builder = IoUring::builder();
    match builder.setup_single_issuer().setup_defer_taskrun().build(2) {
        Ok(_) => Finding::fine(WHAT, "deferred to the reactor (SINGLE_ISSUER, DEFER_TASKRUN)"),
        Err(error) => Finding {
            what: WHAT,
            weight: Weight::Slower,
            found: format!("SINGLE_ISSUER and DEFER_TASKRUN are refused: {error}"),
            consequence: "completions interrupt the reactors",
            remedy: format!("boot Linux {}.{} or later", OLDEST.0, OLDEST.1),
        },
    }
}

/// A limit below this cannot hold any arena, so that buffers are surely not registered.
const MEMLOCK_USEFUL: u64 = 64 << 20;

fn locked_memory(limit: Option<u64>) -> Finding {
    const WHAT: &str = "RLIMIT_MEMLOCK";
    let found = limit.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
    let privileged = rustix::process::geteuid().is_root();
    if privileged || limit.is_none_or(|bytes| bytes >= MEMLOCK_USEFUL) {
        return Finding::fine(WHAT, found);
    }
    Finding {
        what: WHAT,
        weight: Weight::Slower,
        found,
        consequence: "the arena is not registered with io_uring, and its queues may be short: device I/O costs more CPU",
        remedy: "`ulimit -l unlimited`, or LimitMEMLOCK=infinity in the unit".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        for (release, weight) in [
            ("6.1.0-13-amd64", Weight::Fine),
            ("6.18.44", Weight::Fine),
            ("10.0", Weight::Fine),
            ("6.0.19", Weight::Fatal),
            ("5.15.0-91-generic", Weight::Fatal),
            ("strange", Weight::Fatal),
        ] {
            assert_eq!(version(release).weight, weight, "{release}");
        }
    }

    #[test]
    fn each_refusal_of_io_uring_has_its_own_remedy() {
        let remedy = |errno: Errno, disabled| presence(Some(&errno.into()), disabled).remedy;
        assert!(remedy(Errno::NOSYS, "0").contains("CONFIG_IO_URING"));
        assert!(remedy(Errno::PERM, "1").contains("io_uring_group"));
        assert!(remedy(Errno::PERM, "2").contains("io_uring_disabled=0"));
        assert!(remedy(Errno::PERM, "0").contains("seccomp"));
        assert!(remedy(Errno::NOMEM, "0").contains("ulimit -l"));
        assert_eq!(presence(None, "0").weight, Weight::Fine);
    }

    #[test]
    fn what_is_not_fine_says_what_follows_and_what_mends_it() {
        let findings = probe();
        assert!(findings.len() >= 3, "{findings:?}");
        for finding in findings {
            let silent = finding.consequence.is_empty() && finding.remedy.is_empty();
            assert_eq!(silent, finding.weight == Weight::Fine, "{finding:?}");
        }
    }
}
