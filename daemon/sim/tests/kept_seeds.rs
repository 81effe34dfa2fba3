//! Seeds that once failed, kept by name. A seed is worth keeping only as long as it still shows its bug: each of these does
//! in today's worlds, if the bug is put back (`cargo xtask mutants --only NAME`, in brackets). Those whose worlds have
//! changed are directed tests of the engine: 270 `zeroes_that_were_given_up_on_the_way_are_an_error`, 411
//! `a_write_in_flight_outlives_what_was_abandoned`, 3051 `a_volume_that_is_well_does_not_wait_for_a_probe_that_hangs`; or,
//! where the simulator itself was wrong, of its parts: 448 (`probes.rs`), 720 (`rules.rs`).

use holdfast_sim::{Options, run};

/// Seed 619 (WalkKeepsNoDistance): a probe came sooner than a floor after an operator's attempt had been refused.
#[test]
fn a_probe_keeps_its_distance_from_an_operators_attempt() {
    assert!(run(283, &Options::default()).turns > 0);
}

/// Seed 1143 (TornIsKept): refused zeroes had been carried out in part, a fill kept them as clean, a reset took them back.
#[test]
fn what_a_refused_operation_left_is_not_cached() {
    assert!(run(43, &Options::default()).turns > 0);
}
