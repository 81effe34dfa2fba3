//! Reads `[[volume.on_failure]]` into the rules that the policy crate checks and the engine follows.

use super::node::Node;
use super::section::Section;
use holdfast_policy::{
    ClassSet, ErrorClass, EvictImmediately, HoldForever, HoldUntilPressure, Policy, Retry, Rule, Rules,
};

/// An hour and a day, the longest times that anybody waits for a disk.
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The rules of a volume: those of the file, then, for the classes that they leave out, the default: hold until pressure.
/// `None` if one of them is refused.
pub(super) fn rules(volume: &mut Section<'_>) -> Option<Rules> {
    let list = volume.take("on_failure");
    let nodes = match &list {
        Some(node) => node.list("[[volume.on_failure]]")?,
        None => Vec::new(),
    };
    let mut rules = Vec::new();
    let mut taken = ClassSet::EMPTY;
    let mut is_whole = true;
    for node in &nodes {
        match rule(Section::of(node)) {
            Some(rule) if rule.classes.difference(taken).is_empty() => {
                let help = "remove it, or move it up: the first rule that names a class is the one for it";
                node.refuse("is never used: the rules before it take all its classes", help);
                is_whole = false;
            }
            Some(rule) => {
                taken = taken.union(rule.classes);
                rules.push(rule);
            }
            None => is_whole = false,
        }
    }
    if !ClassSet::ANY.difference(taken).is_empty() {
        rules.push(default_rule());
    }
    if !is_whole {
        return None;
    }
    match (Rules::new(&rules), list) {
        (Ok(rules), _) => Some(rules),
        // Whatever the policy crate refuses beyond what was checked above.
        (Err(error), Some(node)) => {
            node.refuse(error.to_string(), "change the rule that is named");
            None
        }
        (Err(error), None) => panic!("the default rule is refused: {error}"),
    }
}

/// What holds for a class that no rule names: the data stays as long as there is room for it.
pub(super) fn default_rule() -> Rule {
    let policy = Policy::HoldUntilPressure(HoldUntilPressure::default());
    Rule { classes: ClassSet::ANY, policy, retry: Retry::default() }
}

fn rule(mut section: Section<'_>) -> Option<Rule> {
    let classes = section
        .require("class", r#"write class = "any", or a list of "transient", "space", "medium", "gone""#)
        .and_then(|node| classes(&node));
    let policy_node = section.require(
        "policy",
        r#"write policy = { kind = "hold-until-pressure" }, "hold-forever" or "evict-immediately""#,
    );
    let policy = policy_node.and_then(|node| policy(&node));
    let (retry, on_node) = retry(&mut section);
    section.finish();
    if let (Some(Policy::EvictImmediately(_)), Some(node)) = (policy, on_node)
        && node.value.as_array().is_some_and(|causes| causes.is_empty())
    {
        let help = r#"allow at least one of "timer", "flush", "overwrite""#;
        node.refuse("is empty, and evict-immediately gives nothing up before a second attempt", help);
        return None;
    }
    Some(Rule { classes: classes?, policy: policy?, retry })
}

fn classes(node: &Node<'_>) -> Option<ClassSet> {
    let words: Vec<(&str, ClassSet)> = std::iter::once(("any", ClassSet::ANY))
        .chain(ErrorClass::ALL.into_iter().map(|class| (class.name(), ClassSet::from(class))))
        .collect();
    if node.value.is_str() {
        return node.choice(&words);
    }
    let nodes = node.list(r#"["transient", "space"]"#)?;
    if nodes.is_empty() {
        node.refuse("names no class", r#"write "any", or remove the rule"#);
        return None;
    }
    let mut all = ClassSet::EMPTY;
    let mut is_whole = true;
    for node in nodes {
        match node.choice(&words) {
            Some(classes) if classes.difference(all).is_empty() => {
                node.refuse("adds nothing to the classes before it", "remove it");
                is_whole = false;
            }
            Some(classes) => all = all.union(classes),
            None => is_whole = false,
        }
    }
    is_whole.then_some(all)
}

#[derive(Clone, Copy)]
enum PolicyKind {
    EvictImmediately,
    HoldUntilPressure,
    HoldForever,
}

const POLICY_KINDS: [(&str, PolicyKind); 3] = [
    ("evict-immediately", PolicyKind::EvictImmediately),
    ("hold-until-pressure", PolicyKind::HoldUntilPressure),
    ("hold-forever", PolicyKind::HoldForever),
];

/// A word, or a table with the word as its `kind` and what that kind can be told.
fn policy(node: &Node<'_>) -> Option<Policy> {
    if node.value.is_str() {
        return node.choice(&POLICY_KINDS).map(|kind| match kind {
            PolicyKind::EvictImmediately => Policy::EvictImmediately(EvictImmediately {}),
            PolicyKind::HoldUntilPressure => Policy::HoldUntilPressure(HoldUntilPressure::default()),
            PolicyKind::HoldForever => Policy::HoldForever(HoldForever::default()),
        });
    }
    let mut section = Section::of(node);
    let kind = section
        .require("kind", r#"write "evict-immediately", "hold-until-pressure" or "hold-forever""#)
        .and_then(|node| node.choice(&POLICY_KINDS))?;
    let policy = match kind {
        PolicyKind::EvictImmediately => Policy::EvictImmediately(EvictImmediately {}),
        PolicyKind::HoldUntilPressure => {
            let default = HoldUntilPressure::default();
            let pressure =
                section.take("pressure").and_then(|node| node.share(1..=1000)).unwrap_or(default.pressure);
            let stall_timeout_ms = stall_timeout(&mut section, default.stall_timeout_ms);
            Policy::HoldUntilPressure(HoldUntilPressure { pressure, stall_timeout_ms })
        }
        PolicyKind::HoldForever => {
            let stall_timeout_ms = stall_timeout(&mut section, HoldForever::default().stall_timeout_ms);
            Policy::HoldForever(HoldForever { stall_timeout_ms })
        }
    };
    section.finish();
    Some(policy)
}

fn stall_timeout(section: &mut Section<'_>, default_ms: u64) -> u64 {
    section.take("stall_timeout").and_then(|node| node.duration_ms(0..=DAY_MS)).unwrap_or(default_ms)
}

/// The retry, and the value of its `on` if it has one.
fn retry<'r>(rule: &mut Section<'r>) -> (Retry, Option<Node<'r>>) {
    let mut section = rule.section("retry");
    let mut retry = Retry::default();
    let on_node = section.take("on");
    if let Some(causes) = on_node.as_ref().and_then(causes) {
        retry = Retry { on_timer: causes[0], on_flush: causes[1], on_overwrite: causes[2], ..retry };
    }
    let first = section.take("first").and_then(|node| node.duration_ms(10..=HOUR_MS));
    let max_node = section.take("max");
    let max = max_node.as_ref().and_then(|node| node.duration_ms(10..=DAY_MS));
    retry.first_ms = first.unwrap_or(retry.first_ms);
    retry.max_ms = max.unwrap_or(retry.max_ms.max(retry.first_ms));
    if let (Some(node), true) = (&max_node, retry.max_ms < retry.first_ms) {
        let (first, max) = (super::quantity::time(retry.first_ms), super::quantity::time(retry.max_ms));
        node.refuse(format!("{max} is less than `first`, {first}"), format!("write {first:?} or more"));
        retry.max_ms = retry.first_ms;
    }
    section.finish();
    (retry, on_node)
}

/// Whether timer, flush and overwrite are in the list; `None` if something in it is refused.
fn causes(node: &Node<'_>) -> Option<[bool; 3]> {
    let mut causes = [false; 3];
    let mut is_whole = true;
    for node in node.list(r#"["timer", "flush", "overwrite"]"#)? {
        let Some(cause) = node.choice(&[("timer", 0), ("flush", 1), ("overwrite", 2)]) else {
            is_whole = false;
            continue;
        };
        if std::mem::replace(&mut causes[cause], true) {
            node.refuse("is named twice", "remove it");
            is_whole = false;
        }
    }
    is_whole.then_some(causes)
}
