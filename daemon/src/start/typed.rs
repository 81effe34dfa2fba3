//! What an operator did, as it would be typed: the words of the audit.

use crate::admin::{FaultView, PolicyView};
use crate::config::{flush_in_words, rule_in_words};
use holdfast_engine::{ByteRange, Command};
use holdfast_policy::{ClassSet, ErrorClass};

/// A command to the reactors; `None` for those that change nothing and those that no operator gives.
pub(super) fn command(volume: &str, command: &Command) -> Option<String> {
    match command {
        Command::Retry { range, classes } => {
            let only = if *classes == ClassSet::ANY { ClassSet::EMPTY } else { *classes };
            let classes: String = only.iter().map(|class| format!(" --class {}", class.name())).collect();
            Some(format!("retry {volume}{}{classes}", within(*range)))
        }
        Command::Drop { range } => Some(format!("drop {volume}{} --yes-lose-data", within(*range))),
        Command::AckLoss { range } => Some(format!("ack-loss {volume}{} --yes", within(*range))),
        Command::Abandon => Some(format!("abandon {volume}")),
        Command::Drain => Some(format!("drain {volume}")),
        Command::CancelRetries => Some(format!("cancel the retries of {volume}")),
        // They have words of their own: `policy`, and those of `volume`.
        Command::SetPolicy { .. } | Command::Grow { .. } | Command::SetBudget { .. } => None,
        Command::Close { .. } | Command::Reopen | Command::Detach => None,
        Command::List { .. } | Command::RestoreLoss { .. } | Command::RestoreReport { .. } => None,
    }
}

fn within(range: ByteRange) -> String {
    if range == ByteRange::ALL {
        String::new()
    } else {
        format!(" --range {}:{}", range.offset, range.length)
    }
}

/// A policy in full: what holds from then on, whatever it was before.
pub(super) fn policy(volume: &str, policy: &PolicyView) -> String {
    let rule =
        |class: ErrorClass| format!("{}: {}", class.name(), rule_in_words(policy.rules.for_class(class)));
    let rules = ErrorClass::ALL.map(rule).join(" | ");
    format!("policy set {volume}: {rules} | a flush {}", flush_in_words(policy.flush_on_failure))
}

pub(super) fn fault(volume: &str, fault: &FaultView) -> String {
    let FaultView { operation, errno, range, sequence } = fault;
    format!("fault {volume} add {} {errno}{} --sequence {sequence}", operation.name(), within(*range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_as_they_are_typed() {
        let range = ByteRange { offset: 4096, length: 512 };
        let cases = [
            (Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY }, "retry vm1"),
            (
                Command::Retry { range, classes: ClassSet::from(ErrorClass::Space) },
                "retry vm1 --range 4096:512 --class space",
            ),
            (Command::Drop { range: ByteRange::ALL }, "drop vm1 --yes-lose-data"),
            (Command::AckLoss { range }, "ack-loss vm1 --range 4096:512 --yes"),
            (Command::Drain, "drain vm1"),
        ];
        for (given, expected) in cases {
            assert_eq!(command("vm1", &given).as_deref(), Some(expected));
        }
    }
}
