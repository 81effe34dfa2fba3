//! Watching an operation until it ends.

use super::Run;
use crate::api::{Operation, OperationState, OperationVerb, Started};
use crate::error::Error;
use crate::text::Invocation;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// The first pause between two questions; doubled up to [`PAUSE_MAX`], so that what is quick answers quickly and what
/// is long costs the daemon two questions a second.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What takes longer gets a progress bar.
const BAR_AFTER: Duration = Duration::from_secs(2);

impl Run<'_, '_> {
    /// Asks until the operation has ended, or for as long as `patience` lasts. Whoever interrupts this stops
    /// watching, not the operation.
    pub(super) fn follow(
        &self,
        operation: Operation,
        patience: Option<Duration>,
    ) -> Result<Operation, Error> {
        let begun = Instant::now();
        let (mut operation, mut pause, mut bar) = (operation, PAUSE_MIN, None);
        while operation.state == OperationState::Running && patience.is_none_or(|most| begun.elapsed() < most)
        {
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            let answer = self.client.get(&format!("/v1/operations/{}", operation.id))?;
            let started: Started = self.client.read(&answer)?;
            operation = started.operation;
            if self.streams.progress && !self.json && begun.elapsed() > BAR_AFTER {
                draw(bar.get_or_insert_with(|| new_bar(&operation, &self.invocation)), &operation);
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(operation)
    }
}

/// It says, as long as it is there, what an interruption does not do.
fn new_bar(operation: &Operation, invocation: &Invocation) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix} [{bar:40}] {binary_bytes} of {binary_total_bytes}, {elapsed}\n  {msg}",
    );
    let style = style.expect("the template is a constant").progress_chars("=> ");
    ProgressBar::new(operation.total_bytes)
        .with_style(style)
        .with_prefix(format!("{} {}", operation.verb, operation.volume))
        .with_message(interruption(operation, invocation))
}

/// What becomes of an operation when nobody watches it any more.
fn interruption(operation: &Operation, invocation: &Invocation) -> String {
    let id = operation.id;
    let goes_on = format!("Ctrl-C only ends the watching: operation {id} goes on.");
    match operation.verb {
        OperationVerb::Retry => {
            let cancel = invocation.command(&format!("holdfastctl cancel {id}"));
            format!("{goes_on} To end it: {cancel}")
        }
        _ => goes_on,
    }
}

fn draw(bar: &ProgressBar, operation: &Operation) {
    bar.set_length(operation.total_bytes);
    bar.set_position(operation.done_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Time;

    #[test]
    fn the_bar_follows_the_operation() {
        let mut operation = Operation {
            id: 1,
            verb: OperationVerb::Retry,
            volume: "vm1".to_owned(),
            range: None,
            state: OperationState::Running,
            total_bytes: 8192,
            tried_bytes: 0,
            done_bytes: 0,
            left_bytes: 8192,
            refused: None,
            started: Time::from_unix_ms(0),
            finished: None,
        };
        let invocation = Invocation { program: "holdfastctl".to_owned(), socket: None };
        let bar = new_bar(&operation, &invocation);
        assert_eq!(
            bar.message(),
            "Ctrl-C only ends the watching: operation 1 goes on. To end it: holdfastctl cancel 1"
        );
        assert_eq!((bar.length(), bar.prefix().as_str()), (Some(8192), "retry vm1"));
        operation.done_bytes = 4096;
        draw(&bar, &operation);
        assert_eq!(bar.position(), 4096);
    }
}
