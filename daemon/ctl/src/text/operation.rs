//! Operations: `retry`, `drop`, `ack-loss`, `drain`.

use super::{Invocation, plain};
use crate::api::{Operation, OperationState, OperationVerb, Operations};
use crate::size::binary;

/// How an operation ended, or how far it is, in a line.
pub fn operation(operation: &Operation, invocation: &Invocation) -> String {
    let volume = plain(&operation.volume);
    let told = match operation.state {
        OperationState::Done => ended(operation, invocation),
        OperationState::Running => format!(
            "{} goes on: {} of {} done. Ask again with: {}",
            operation.verb,
            binary(operation.done_bytes),
            binary(operation.total_bytes),
            invocation.command(&format!("holdfastctl operation {}", operation.id))
        ),
        OperationState::Refused => {
            let why = operation.refused.as_ref().map_or("no reason".to_owned(), |errno| plain(&errno.name));
            format!("{} was refused by a reactor: {why}. {}", operation.verb, see(invocation))
        }
        OperationState::Cancelled => format!(
            "{} was cancelled: {} written, {} held as before.",
            operation.verb,
            binary(operation.done_bytes),
            binary(operation.left_bytes)
        ),
        OperationState::Interrupted => {
            format!(
                "{} was cut short, the daemon is stopping. Do it again when it has started.",
                operation.verb
            )
        }
    };
    format!("{volume}: {told}\n")
}

/// A list of them, with their numbers.
pub fn operations(list: &Operations, invocation: &Invocation) -> String {
    if list.operations.is_empty() {
        return "No operation was started lately.\n".to_owned();
    }
    let line = |one: &Operation| {
        let (id, at, verb) = (one.id, plain(&one.started.rfc3339), one.verb);
        format!("{id} {at} {verb} {}", operation(one, invocation))
    };
    list.operations.iter().map(line).collect()
}

fn see(invocation: &Invocation) -> String {
    format!("See '{}'.", invocation.command("holdfastctl status"))
}

fn ended(operation: &Operation, invocation: &Invocation) -> String {
    let (done, left) = (binary(operation.done_bytes), binary(operation.left_bytes));
    match (operation.verb, operation.left_bytes) {
        (OperationVerb::Retry, 0) if operation.tried_bytes == 0 => {
            "nothing is held as failed here.".to_owned()
        }
        (OperationVerb::Retry, 0) => format!("healed, all of {done}."),
        (OperationVerb::Retry, _) => format!("{done} healed, {left} still refused. {}", see(invocation)),
        (OperationVerb::Drop, _) if operation.done_bytes == 0 => "nothing is held as failed here.".to_owned(),
        (OperationVerb::Drop, _) => format!("{done} given up, and on record as lost."),
        (OperationVerb::AckLoss, _) if operation.done_bytes == 0 => "nothing is lost here.".to_owned(),
        (OperationVerb::AckLoss, _) => format!("loss of {done} acknowledged."),
        (OperationVerb::Drain, 0) => "drained: all is on stable media.".to_owned(),
        (OperationVerb::Drain, _) => {
            format!("drained as far as the device allows, {left} not on stable media. {}", see(invocation))
        }
    }
}
