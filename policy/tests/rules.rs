//! Rules by class, and the backoff of their retries.

use holdfast_policy::ErrorClass::{Gone, Medium, Space, Transient};
use holdfast_policy::{
    ClassSet, ErrorClass, EvictImmediately, HoldForever, HoldUntilPressure, Policy, Retry, Rule, Rules,
    RulesError,
};
use proptest::prelude::*;

fn rule(classes: &[ErrorClass]) -> Rule {
    let policy = Policy::HoldForever(HoldForever::default());
    Rule { classes: ClassSet::from_classes(classes), policy, retry: Retry::default() }
}

#[test]
fn the_first_match_wins() {
    let last = Rule { policy: Policy::EvictImmediately(EvictImmediately {}), ..rule(&ErrorClass::ALL) };
    let rules = Rules::new(&[rule(&[Transient, Space]), last]).unwrap();
    assert_eq!(rules.as_slice(), [rule(&[Transient, Space]), last]);
    assert_eq!(rules.for_class(Transient), &rule(&[Transient, Space]));
    assert_eq!(rules.for_class(Space), &rule(&[Transient, Space]));
    assert_eq!(rules.for_class(Medium), &last);
    assert_eq!(rules.for_class(Gone), &last);
}

#[test]
fn a_class_without_a_rule_is_named() {
    assert_eq!(Rules::new(&[]), Err(RulesError::Unmatched { class: Transient }));
    let error = Rules::new(&[rule(&[Gone, Transient]), rule(&[Space])]).unwrap_err();
    assert_eq!(error, RulesError::Unmatched { class: Medium });
    assert!(error.to_string().contains("\"medium\""), "{error}");
}

#[test]
fn a_rule_without_a_class_is_named() {
    let any = rule(&ErrorClass::ALL);
    let error = Rules::new(&[rule(&[Space]), any, rule(&[Space])]).unwrap_err();
    assert_eq!(error, RulesError::Unreachable { rule: 2 });
    assert!(error.to_string().starts_with("rule 3 "), "{error}");
    assert_eq!(Rules::new(&[rule(&[]), any]), Err(RulesError::Unreachable { rule: 0 }));
}

/// Four classes cannot use up eight rules, so that too many are always unreachable, too; what is said is the
/// count.
#[test]
fn too_many_are_counted() {
    let error = Rules::new(&[rule(&ErrorClass::ALL); 9]).unwrap_err();
    assert_eq!(error, RulesError::TooMany { count: 9 });
    assert!(error.to_string().contains("9 rules are more than the 8"), "{error}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let hold = |pressure| {
        let policy = Policy::HoldUntilPressure(HoldUntilPressure { pressure, ..Default::default() });
        Rules::new(&[Rule { policy, ..rule(&ErrorClass::ALL) }])
    };
    assert_eq!(hold(0), Err(RulesError::Pressure { rule: 0, pressure: 0 }));
    assert_eq!(hold(1001), Err(RulesError::Pressure { rule: 0, pressure: 1001 }));
    assert!(hold(1).is_ok() && hold(1000).is_ok());

    let retry = |first_ms, max_ms| {
        let retry = Retry { first_ms, max_ms, ..Default::default() };
        Rules::new(&[rule(&[Space]), Rule { retry, ..rule(&ErrorClass::ALL) }])
    };
    assert_eq!(retry(0, 5), Err(RulesError::Backoff { rule: 1, first_ms: 0, max_ms: 5 }));
    assert_eq!(retry(6, 5), Err(RulesError::Backoff { rule: 1, first_ms: 6, max_ms: 5 }));
    assert!(retry(5, 5).is_ok());
}

/// Floors ask for a second attempt: evict-immediately without any would silently hold for ever.
#[test]
fn evict_immediately_must_be_able_to_try_again() {
    let retry = Retry { on_timer: false, on_flush: false, on_overwrite: false, ..Default::default() };
    let silent = Rule { retry, ..rule(&ErrorClass::ALL) };
    assert!(Rules::new(&[silent]).is_ok());
    let evict = Rule { policy: Policy::EvictImmediately(EvictImmediately {}), ..silent };
    assert_eq!(Rules::new(&[evict]), Err(RulesError::NeverForGood { rule: 0 }));
    let flushed = Rule { retry: Retry { on_flush: true, ..retry }, ..evict };
    assert!(Rules::new(&[flushed]).is_ok());
}

#[test]
fn the_default_backoff_doubles_and_then_stays() {
    let retry = Retry::default();
    assert_eq!(retry.floor_ms(), 100);
    for seed in 0..1000 {
        for (attempts, from, to) in [(0, 80, 120), (1, 80, 120), (2, 160, 240), (5, 1_280, 1_920)] {
            let backoff = retry.backoff_ms(attempts, seed);
            assert!((from..=to).contains(&backoff), "{attempts} attempts: {backoff} ms");
        }
        for attempts in [10, 64, 65, 66, 1000, u32::MAX] {
            let backoff = retry.backoff_ms(attempts, seed);
            assert!((20_000..=30_000).contains(&backoff), "{attempts} attempts: {backoff} ms");
        }
    }
}

/// What jitter is for: extents that failed together must not come back together.
#[test]
fn seeds_spread_attempts_apart() {
    let retry = Retry { first_ms: 10_000, max_ms: 30_000, ..Default::default() };
    for attempts in [1, 2, 20] {
        let mut times: Vec<u64> = (0..1000).map(|seed| retry.backoff_ms(attempts, seed)).collect();
        times.sort_unstable();
        let (low, high) = (times[0], times[999]);
        assert!(high - low > (low + high) / 2 * 3 / 10, "{attempts} attempts: {low}..{high} ms");
        times.dedup();
        assert!(times.len() > 300, "{attempts} attempts: {} different backoffs", times.len());
    }
}

proptest! {
    #[test]
    fn the_backoff_keeps_its_bounds(
        first_ms in prop_oneof![1..1_000_000_u64, any::<u64>().prop_filter("at least 1", |first| *first > 0)],
        more_ms in prop_oneof![0..1_000_000_u64, any::<u64>()],
        attempts in prop_oneof![0..100_u32, any::<u32>()],
        seed: u64,
    ) {
        let max_ms = first_ms.saturating_add(more_ms);
        let retry = Retry { first_ms, max_ms, ..Default::default() };
        let backoff = retry.backoff_ms(attempts, seed);
        prop_assert_eq!(backoff, retry.backoff_ms(attempts, seed));
        prop_assert!(backoff <= max_ms);
        prop_assert!(u128::from(backoff) >= u128::from(first_ms) * 4 / 5);
    }

    #[test]
    fn each_class_gets_the_first_rule_that_names_it(sets in prop::collection::vec(0..16_u8, 0..9)) {
        let named = |bits: u8, class: ErrorClass| bits & (1 << (class as u8 - 1)) != 0;
        let rules: Vec<Rule> = sets.iter().enumerate().map(|(at, &bits)| {
            let classes = ErrorClass::ALL.into_iter().filter(|&class| named(bits, class)).collect();
            let retry = Retry { first_ms: at as u64 + 1, ..Default::default() };
            Rule { classes, retry, ..rule(&[]) }
        }).collect();
        let first = |class| sets.iter().position(|&bits| named(bits, class));
        match Rules::new(&rules) {
            Ok(checked) => for class in ErrorClass::ALL {
                prop_assert_eq!(Some(checked.for_class(class)), first(class).map(|at| &rules[at]));
            },
            Err(RulesError::Unmatched { class }) => prop_assert_eq!(first(class), None),
            Err(RulesError::Unreachable { rule }) => {
                prop_assert!(ErrorClass::ALL.into_iter().all(|class| first(class) != Some(rule)));
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
