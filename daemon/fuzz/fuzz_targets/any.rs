//! One program for all targets: `HOLDFAST_FUZZ_TARGET` names the one. Seven programs would be seven links of the daemon.
#![no_main]

use holdfast_daemon::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("HOLDFAST_FUZZ_TARGET").expect("HOLDFAST_FUZZ_TARGET names a target");
    let found = TARGETS.into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target is called {name:?}")).1
});

fuzz_target!(|data: &[u8]| TARGET(data));
