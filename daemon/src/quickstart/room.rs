//! t7: an operator adds space and retries.

use super::error::Error;
use super::plan::GROWTH;
use super::timeline::Timeline;
use super::transcript::step;
use holdfast_ctl::Exit;
use std::time::{Duration, Instant};

/// Who makes room, and how long that may take.
pub(super) enum Helper {
    /// This program, by raising the limit of its own file.
    Itself,
    /// Whoever owns the disk.
    Owner {
        /// How long is waited for it.
        patience: Duration,
    },
}

/// Makes room, or waits for it, and has everything tried again.
///
/// # Errors
/// If nothing was healed within the owner's patience.
pub(super) fn make(timeline: &mut Timeline<'_>, helper: &Helper) -> Result<(), Error> {
    let name = timeline.volume.name();
    let (exit, said) = match helper {
        Helper::Itself => {
            let (exit, said) = timeline.operator.run(&["volume", "grow-thin", name, &GROWTH.to_string()]);
            let what = step("t7", "", "holdfastctl volume grow-thin");
            timeline.transcript.check(what, "exit 0, more room", &outcome(exit, &said), exit == Exit::Ok);
            timeline.operator.run(&["retry", name, "--wait"])
        }
        Helper::Owner { patience } => wait(timeline, *patience),
    };
    let what = step("t7", "C8", "holdfastctl retry --wait");
    timeline.transcript.check(what, "exit 0, all healed", &outcome(exit, &said), exit == Exit::Ok);
    Ok(())
}

/// Retries until all is healed, or the patience is over.
fn wait(timeline: &Timeline<'_>, patience: Duration) -> (Exit, String) {
    let (path, name) = (timeline.volume.path.display(), timeline.volume.name());
    timeline.transcript.say(format_args!(
        "  t7  make room for {path} now, at least 4 MiB; it is retried for {} s",
        patience.as_secs()
    ));
    let begun = Instant::now();
    loop {
        let (exit, said) = timeline.operator.run(&["retry", name, "--wait"]);
        // Whatever else it says, asking again does not change it.
        let refused_still = exit == Exit::Incomplete;
        if !refused_still || begun.elapsed() >= patience {
            return (exit, said);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// How a command ended, in a line.
pub(super) fn outcome(exit: Exit, said: &str) -> String {
    format!("exit {}: {}", exit.code(), said.lines().next().unwrap_or_default())
}
