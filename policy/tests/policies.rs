//! The verdicts of the three policies as tables.

use holdfast_policy::PressureVerdict::{Admit, GiveUpOldest, RefuseWrites, Stall};
use holdfast_policy::{
    ErrorClass, EvictImmediately, FailedExtent, FailurePolicy, HoldForever, HoldUntilPressure, Policy,
    Pressure, Verdict, errno,
};

fn policies() -> [(Policy, Verdict, bool, &'static str); 3] {
    [
        (Policy::EvictImmediately(EvictImmediately {}), Verdict::GiveUp, true, "evict-immediately"),
        (
            Policy::HoldUntilPressure(HoldUntilPressure::default()),
            Verdict::Hold,
            false,
            "hold-until-pressure",
        ),
        (Policy::HoldForever(HoldForever::default()), Verdict::Hold, false, "hold-forever"),
    ]
}

fn extent(class: ErrorClass, attempts: u32, age_ms: u64) -> FailedExtent {
    FailedExtent { class, errno: errno::EIO, attempts, age_ms }
}

#[test]
fn a_failure_is_judged_only_when_it_is_for_good() {
    for (policy, for_good, write_through, name) in policies() {
        assert_eq!(policy.name(), name);
        assert_eq!(policy.write_through_while_refused(), write_through);
        for class in ErrorClass::ALL {
            let floor = class.floor();
            let judge = |attempts, age_ms| policy.on_failure(extent(class, attempts, age_ms));
            assert_eq!(judge(floor.attempts, floor.elapsed_ms), for_good, "{name} {class}");
            assert_eq!(judge(1, 0), Verdict::Retry, "{name} {class}");
            assert_eq!(judge(floor.attempts - 1, u64::MAX), Verdict::Retry, "{name} {class}");
            assert_eq!(judge(u32::MAX, floor.elapsed_ms - 1), Verdict::Retry, "{name} {class}");
        }
    }
}

fn pressure(not_clean: u64, budget: u64, stalled_ms: Option<u64>) -> Pressure {
    Pressure { not_clean, budget, stalled_ms }
}

#[test]
fn evict_immediately_only_keeps_the_budget() {
    let policy = EvictImmediately {};
    for (not_clean, stalled_ms, wanted) in [
        (0, None, Admit),
        (99, Some(u64::MAX), Admit),
        (100, None, Stall),
        (100, Some(u64::MAX), Stall),
        (101, None, Stall),
    ] {
        assert_eq!(policy.on_pressure(pressure(not_clean, 100, stalled_ms)), wanted, "{not_clean} of 100");
    }
}

#[test]
fn hold_until_pressure_stalls_before_it_gives_up() {
    let policy = HoldUntilPressure { pressure: 900, stall_timeout_ms: 30_000 };
    for (not_clean, stalled_ms, wanted) in [
        (0, None, Admit),
        (89, Some(u64::MAX), Admit),
        (90, None, Stall),
        (90, Some(29_999), Stall),
        (90, Some(30_000), GiveUpOldest),
        (500, Some(u64::MAX), GiveUpOldest),
        (500, None, Stall),
    ] {
        assert_eq!(policy.on_pressure(pressure(not_clean, 100, stalled_ms)), wanted, "{not_clean} of 100");
    }
}

/// A quotient would make the threshold of a budget of one slot zero, and stall an empty volume for ever.
#[test]
fn the_smallest_budget_still_admits_its_first_write() {
    let policy = HoldUntilPressure { pressure: 1, stall_timeout_ms: 0 };
    assert_eq!(policy.on_pressure(pressure(0, 1, None)), Admit);
    assert_eq!(policy.on_pressure(pressure(1, 1, None)), Stall);
    assert_eq!(policy.on_pressure(pressure(0, 0, None)), Stall);
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let policy = HoldUntilPressure { pressure: 1000, stall_timeout_ms: u64::MAX };
    assert_eq!(policy.on_pressure(pressure(u64::MAX - 1, u64::MAX, None)), Admit);
    assert_eq!(policy.on_pressure(pressure(u64::MAX, u64::MAX, Some(u64::MAX))), GiveUpOldest);
}

#[test]
fn hold_forever_refuses_writes_and_never_gives_up() {
    let policy = HoldForever { stall_timeout_ms: 30_000 };
    for (not_clean, stalled_ms, wanted) in [
        (0, None, Admit),
        (99, Some(u64::MAX), Admit),
        (100, None, Stall),
        (100, Some(29_999), Stall),
        (100, Some(30_000), RefuseWrites),
        (500, Some(u64::MAX), RefuseWrites),
    ] {
        assert_eq!(policy.on_pressure(pressure(not_clean, 100, stalled_ms)), wanted, "{not_clean} of 100");
    }
}

#[test]
fn the_choice_answers_as_the_chosen() {
    for (policy, ..) in policies() {
        for not_clean in [0, 90, 100] {
            let pressure = pressure(not_clean, 100, Some(30_000));
            let chosen = match policy {
                Policy::EvictImmediately(policy) => policy.on_pressure(pressure),
                Policy::HoldUntilPressure(policy) => policy.on_pressure(pressure),
                Policy::HoldForever(policy) => policy.on_pressure(pressure),
            };
            assert_eq!(policy.on_pressure(pressure), chosen);
        }
    }
}
