//! Seeds that once failed, kept by name. A seed is worth keeping only as long as it still shows its bug: each of these does
//! in today's worlds, if the bug is put back (`cargo xtask mutants --only NAME`, in brackets). Those whose worlds have
//! changed are directed tests of the engine: 270 `zeroes_that_were_given_up_on_the_way_are_an_error`, 411
//! `a_write_in_flight_outlives_what_was_abandoned`, 1143 `what_refused_zeroes_left_is_not_cached_until_it_is_stable`, 3051
//! `a_volume_that_is_well_does_not_wait_for_a_probe_that_hangs`, 1093
//! `a_write_without_room_is_refused_though_the_device_hangs_and_refuses_nothing`, 2115
//! `a_write_is_refused_for_a_flush_that_hangs_elsewhere`; or, where the simulator itself was wrong, of its parts: 448
//! and 10083 (`probes.rs`), 720 (`rules.rs`), 11502 (`starved.rs`), 16229 (`told.rs`), 16727 (`losses.rs`),
//! 18388 (`model.rs`).

use holdfast_sim::{Options, run};

/// Seed 691 (FillShowsLost): a line was zeroed, written in part, and that part was given up before a device flush covered the
/// zeroes: a read of the rest made zeroes of what was lost.
#[test]
fn zeroes_do_not_cover_what_was_lost_after_them() {
    assert!(run(691, &Options::default()).turns > 0);
}

/// The same from the other side (FillShowsLost): a fill.
#[test]
fn a_fill_does_not_cover_what_was_lost() {
    assert!(run(78, &Options::default()).turns > 0);
}

/// Seed 5833 (no mutant: `refusal_of_blocked` asked only for what hangs over the write's own lines): a write waited for ever
/// because it lacked a slot, and no room.
#[test]
fn a_write_without_a_slot_does_not_wait_for_a_device_that_hangs() {
    assert!(run(5833, &Options::default()).turns > 0);
}
