//! Policies between the interface and the engine: what holds in words and numbers, and what a change makes of it.

use super::refusal::Refusal;
use super::{PolicyView, ask};
use holdfast_ctl::api::{self, FlushKind, PolicyChange, PolicyKind, PolicyRule, RetryCause};
use holdfast_engine::FlushOnFailure;
use holdfast_policy::{
    ClassSet, ErrorClass, EvictImmediately, HoldForever, HoldUntilPressure, Policy, Retry, Rule, Rules,
};

/// An hour and a day: the longest times that anybody waits for a disk, as in the configuration.
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A stall without a time of its own, as in the configuration.
const STALL_MS: u64 = 300_000;

/// What holds, as the interface shows it.
pub(super) fn view(policy: &PolicyView) -> api::Policy {
    let (flush_on_failure, flush_timeout_ms) = match policy.flush_on_failure {
        FlushOnFailure::Report => (FlushKind::Report, None),
        FlushOnFailure::Stall { timeout_ms } => (FlushKind::Stall, Some(timeout_ms)),
    };
    let mut seen = ClassSet::EMPTY;
    let mut rules = Vec::new();
    for rule in policy.rules.as_slice() {
        rules.push(rule_view(rule, rule.classes.difference(seen)));
        seen = seen.union(rule.classes);
    }
    api::Policy { rules, flush_on_failure, flush_timeout_ms }
}

fn rule_view(rule: &Rule, classes: ClassSet) -> PolicyRule {
    let (kind, pressure_permille, stall_timeout_ms) = match rule.policy {
        Policy::EvictImmediately(_) => (PolicyKind::EvictImmediately, None, None),
        Policy::HoldUntilPressure(policy) => {
            (PolicyKind::HoldUntilPressure, Some(policy.pressure), Some(policy.stall_timeout_ms))
        }
        Policy::HoldForever(policy) => (PolicyKind::HoldForever, None, Some(policy.stall_timeout_ms)),
    };
    let retry = &rule.retry;
    let causes = [
        (retry.on_timer, RetryCause::Timer),
        (retry.on_flush, RetryCause::Flush),
        (retry.on_overwrite, RetryCause::Overwrite),
    ];
    PolicyRule {
        classes: classes.iter().map(|class| class.name().to_owned()).collect(),
        kind,
        pressure_permille,
        stall_timeout_ms,
        retry_on: causes.into_iter().filter_map(|(is_on, cause)| is_on.then_some(cause)).collect(),
        retry_first_ms: retry.first_ms,
        retry_max_ms: retry.max_ms,
    }
}

/// What holds after a change of what holds now.
///
/// # Errors
/// A [`Refusal`] if the change makes no sense.
pub(super) fn changed(now: &PolicyView, change: &PolicyChange) -> Result<PolicyView, Refusal> {
    let classes = ask::classes(&change.classes)?;
    let mut rules: Vec<Rule> = Vec::new();
    for class in ErrorClass::ALL {
        let rule = Rule { classes: ClassSet::from(class), ..*now.rules.for_class(class) };
        let rule = if classes.contains(class) { changed_rule(rule, change)? } else { rule };
        let same = rules.iter_mut().find(|other| (other.policy, other.retry) == (rule.policy, rule.retry));
        match same {
            Some(same) => same.classes = same.classes.union(rule.classes),
            None => rules.push(rule),
        }
    }
    let rules = Rules::new(&rules).map_err(|error| nonsense(format!("That is no policy: {error}.")))?;
    Ok(PolicyView { rules, flush_on_failure: changed_flush(now.flush_on_failure, change)? })
}

fn changed_rule(rule: Rule, change: &PolicyChange) -> Result<Rule, Refusal> {
    let kind = change.kind.unwrap_or(match rule.policy {
        Policy::EvictImmediately(_) => PolicyKind::EvictImmediately,
        Policy::HoldUntilPressure(_) => PolicyKind::HoldUntilPressure,
        Policy::HoldForever(_) => PolicyKind::HoldForever,
    });
    within("A stall timeout", change.stall_timeout_ms, 0, DAY_MS)?;
    if change.stall_timeout_ms.is_some() && kind == PolicyKind::EvictImmediately {
        return Err(nonsense("Under 'evict-immediately' no write waits for room.".to_owned()));
    }
    if change.pressure_permille.is_some() && kind != PolicyKind::HoldUntilPressure {
        return Err(nonsense("Only 'hold-until-pressure' has a pressure.".to_owned()));
    }
    let (pressure, stall_timeout_ms) = match rule.policy {
        Policy::HoldUntilPressure(policy) => (policy.pressure, policy.stall_timeout_ms),
        Policy::HoldForever(policy) => (HoldUntilPressure::default().pressure, policy.stall_timeout_ms),
        Policy::EvictImmediately(_) => {
            let default = HoldUntilPressure::default();
            (default.pressure, default.stall_timeout_ms)
        }
    };
    let pressure = change.pressure_permille.unwrap_or(pressure);
    let stall_timeout_ms = change.stall_timeout_ms.unwrap_or(stall_timeout_ms);
    let policy = match kind {
        PolicyKind::EvictImmediately => Policy::EvictImmediately(EvictImmediately {}),
        PolicyKind::HoldUntilPressure => {
            Policy::HoldUntilPressure(HoldUntilPressure { pressure, stall_timeout_ms })
        }
        PolicyKind::HoldForever => Policy::HoldForever(HoldForever { stall_timeout_ms }),
    };
    Ok(Rule { policy, retry: changed_retry(rule.retry, change)?, ..rule })
}

fn changed_retry(retry: Retry, change: &PolicyChange) -> Result<Retry, Refusal> {
    within("The first wait", change.retry_first_ms, 10, HOUR_MS)?;
    within("The longest wait", change.retry_max_ms, 10, DAY_MS)?;
    let mut retry = Retry {
        first_ms: change.retry_first_ms.unwrap_or(retry.first_ms),
        max_ms: change.retry_max_ms.unwrap_or(retry.max_ms),
        ..retry
    };
    if let Some(causes) = &change.retry_on {
        if causes.is_empty() || (causes.contains(&RetryCause::Operator) && causes.len() > 1) {
            let message =
                "'operator' means that nothing else causes another attempt: it stands alone.".to_owned();
            return Err(nonsense(message));
        }
        retry.on_timer = causes.contains(&RetryCause::Timer);
        retry.on_flush = causes.contains(&RetryCause::Flush);
        retry.on_overwrite = causes.contains(&RetryCause::Overwrite);
    }
    Ok(retry)
}

fn changed_flush(now: FlushOnFailure, change: &PolicyChange) -> Result<FlushOnFailure, Refusal> {
    within("A flush's timeout", change.flush_timeout_ms, 1_000, DAY_MS)?;
    let before_ms = match now {
        FlushOnFailure::Stall { timeout_ms } => Some(timeout_ms),
        FlushOnFailure::Report => None,
    };
    let stalls = change.flush_on_failure.map_or(before_ms.is_some(), |kind| kind == FlushKind::Stall);
    match (stalls, change.flush_timeout_ms) {
        (true, asked) => Ok(FlushOnFailure::Stall { timeout_ms: asked.or(before_ms).unwrap_or(STALL_MS) }),
        (false, None) => Ok(FlushOnFailure::Report),
        (false, Some(_)) => Err(nonsense("Only a flush that stalls has a timeout.".to_owned())),
    }
}

/// Whether data that is held by the old policy may be given up by the new one, or sooner by it.
pub(super) fn may_give_up_sooner(before: &PolicyView, after: &PolicyView) -> bool {
    let patience = |policy: Policy| match policy {
        Policy::HoldForever(_) => (2, 0, 0),
        Policy::HoldUntilPressure(policy) => (1, policy.pressure, policy.stall_timeout_ms),
        Policy::EvictImmediately(_) => (0, 0, 0),
    };
    ErrorClass::ALL.into_iter().any(|class| {
        let (old, new) = (before.rules.for_class(class).policy, after.rules.for_class(class).policy);
        let ((old_kind, old_pressure, old_wait), (kind, pressure, wait)) = (patience(old), patience(new));
        kind < old_kind || (kind == old_kind && (pressure < old_pressure || wait < old_wait))
    })
}

fn within(what: &str, asked: Option<u64>, least: u64, most: u64) -> Result<(), Refusal> {
    match asked {
        Some(asked) if !(least..=most).contains(&asked) => {
            Err(nonsense(format!("{what} of {asked} ms is not within {least} ms to {most} ms.")))
        }
        _ => Ok(()),
    }
}

fn nonsense(message: String) -> Refusal {
    Refusal::bad_request(message, "Nothing was changed. 'holdfastctl policy show' says what holds.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(policy: Policy) -> PolicyView {
        let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
        let rules = Rules::new(&[rule]).expect("one rule for all");
        PolicyView { rules, flush_on_failure: FlushOnFailure::Report }
    }

    fn pressure(pressure: u16, stall_timeout_ms: u64) -> PolicyView {
        policy(Policy::HoldUntilPressure(HoldUntilPressure { pressure, stall_timeout_ms }))
    }

    #[test]
    fn a_change_of_one_class_leaves_the_others() {
        let now = pressure(900, 30_000);
        let classes = vec!["space".to_owned()];
        let change = PolicyChange { classes, kind: Some(PolicyKind::HoldForever), ..PolicyChange::default() };
        let after = changed(&now, &change).expect("that makes sense");
        let shown = view(&after);
        let kinds: Vec<_> = shown.rules.iter().map(|rule| (rule.classes.join(" "), rule.kind)).collect();
        let expected = [
            ("transient medium gone".to_owned(), PolicyKind::HoldUntilPressure),
            ("space".to_owned(), PolicyKind::HoldForever),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(shown.rules[1].stall_timeout_ms, Some(30_000), "what was not named stays");
    }

    #[test]
    fn what_gives_up_sooner_is_known() {
        let forever = policy(Policy::HoldForever(HoldForever::default()));
        let evict = policy(Policy::EvictImmediately(EvictImmediately {}));
        let held = pressure(900, 30_000);
        for (before, after, sooner) in [
            (&forever, &held, true),
            (&held, &evict, true),
            (&held, &pressure(800, 30_000), true),
            (&held, &pressure(900, 1_000), true),
            (&held, &pressure(1000, 60_000), false),
            (&evict, &held, false),
            (&held, &forever, false),
        ] {
            assert_eq!(may_give_up_sooner(before, after), sooner, "{before:?} {after:?}");
        }
    }

    #[test]
    fn changes_that_make_no_sense() {
        let none = PolicyChange::default;
        let evict = Some(PolicyKind::EvictImmediately);
        let forever = Some(PolicyKind::HoldForever);
        let bad = [
            PolicyChange { classes: vec!["sad".to_owned()], kind: forever, ..none() },
            PolicyChange { kind: evict, stall_timeout_ms: Some(5), ..none() },
            PolicyChange { kind: forever, pressure_permille: Some(500), ..none() },
            PolicyChange { pressure_permille: Some(0), ..none() },
            PolicyChange { pressure_permille: Some(1001), ..none() },
            PolicyChange { stall_timeout_ms: Some(u64::MAX), ..none() },
            PolicyChange { retry_first_ms: Some(0), ..none() },
            PolicyChange { retry_first_ms: Some(HOUR_MS), retry_max_ms: Some(10), ..none() },
            PolicyChange { retry_on: Some(Vec::new()), ..none() },
            PolicyChange { retry_on: Some(vec![RetryCause::Operator, RetryCause::Timer]), ..none() },
            PolicyChange { kind: evict, retry_on: Some(vec![RetryCause::Operator]), ..none() },
            PolicyChange { flush_timeout_ms: Some(5_000), ..none() },
            PolicyChange { flush_on_failure: Some(FlushKind::Stall), flush_timeout_ms: Some(1), ..none() },
        ];
        for change in bad {
            let refusal = changed(&pressure(900, 30_000), &change).expect_err("no sense");
            assert_eq!(refusal.code, "bad_request", "{change:?}");
        }
    }
}
