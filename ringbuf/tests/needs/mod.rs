//! What a test needs from the machine. Where that is missing a test is skipped, and says so; where
//! `HOLDFAST_REQUIRE_REAL=1` says that nothing is missing, it fails.

use std::io::Write;
use std::path::Path;

/// Says that something is not tested, also when nobody asked to see what tests print.
///
/// # Panics
/// If nothing may be skipped.
pub(crate) fn skip(why: &str) {
    let text = format!(
        "SKIPPED: {why}. To run it: install what .ci/run installs, then, as root, \
         sysctl vm.nr_hugepages=256, and the tests again with HOLDFAST_REQUIRE_REAL=1"
    );
    assert!(std::env::var_os("HOLDFAST_REQUIRE_REAL").is_none_or(|value| value == "0"), "{text}");
    // Not `eprintln`: what that prints is kept back for tests that fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether this is root and has these programs. Skips loudly if not.
pub(crate) fn can_use(programs: &[&str]) -> bool {
    let mut missing: Vec<&str> = programs.iter().copied().filter(|program| !is_there(program)).collect();
    // Root of a container may not be allowed to mount.
    let capabilities = rustix::thread::capabilities(None).map(|sets| sets.effective);
    if !capabilities.is_ok_and(|may| may.contains(rustix::thread::CapabilitySet::SYS_ADMIN)) {
        missing.push("root");
    }
    if !missing.is_empty() {
        skip(&format!("needs {}", missing.join(", ")));
    }
    missing.is_empty()
}

fn is_there(program: &str) -> bool {
    let device = match program {
        "losetup" => "/dev/loop-control",
        "nbdfuse" => "/dev/fuse",
        _ => "/dev",
    };
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    Path::new(device).exists() && folders.iter().any(|folder| Path::new(folder).join(program).exists())
}
