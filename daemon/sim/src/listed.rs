//! C9 at any moment: what the device has refused is in the list of what failed, also while it is being tried again.

use crate::shell::Shell;
use crate::violation::{Clause, demand};
use holdfast_engine::{Answer, Command, Extent, Header, ListState};
use holdfast_policy::State;

impl Shell<'_> {
    /// A reactor has answered a command: if that was a page of what failed, every header that says so is on it. An attempt in
    /// flight whose data an operator gave up meanwhile is on record as lost instead.
    pub(crate) fn check_listed(&mut self, number: usize, volume: u16, command: &Command, answer: &Answer) {
        let (&Command::List { state: ListState::Failed, from }, Answer::Listed { extents, next }) =
            (command, answer)
        else {
            return;
        };
        let geometry =
            self.plan.volumes[usize::from(volume)].geometry_of(self.reactors[number].limits.reactor);
        let line_bytes = u64::from(self.plan.line_bytes);
        let told = from..next.unwrap_or(u64::MAX);
        for at in 0..self.reactors[number].headers().len() {
            let header = &self.reactors[number].headers()[at];
            if header.volume() != volume || !was_refused(header) {
                continue;
            }
            let (offset, retried) = (geometry.offset_of(header.line()), header.state() == State::Writing);
            if !told.contains(&offset) {
                continue;
            }
            if retried {
                self.coverage.event("operator: lists what is being retried");
            }
            let listed = extents.iter().any(|extent: &Extent| {
                extent.range.offset < offset + line_bytes && offset < extent.range.end()
            });
            let known = listed || self.model.on_record(volume, offset / 512, (offset + line_bytes) / 512);
            demand(Clause::C9, known, || {
                format!("byte {offset} of volume {volume} was refused (retried: {retried}) and is not listed")
            });
        }
    }
}

/// Whether the device refused what the slot holds and has not accepted it since.
fn was_refused(header: &Header) -> bool {
    let status = header.status();
    status.state == State::Failed || (status.state == State::Writing && status.attempts > 0)
}
