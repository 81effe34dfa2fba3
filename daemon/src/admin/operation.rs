//! Operations: what an operator started and what takes as long as a device does.

use super::refusal::Refusal;
use super::{Answers, Backend, Peer, VolumeView, view};
use holdfast_ctl::api::{Operation, OperationState, OperationVerb, Range};
use holdfast_engine::{Answer, ByteRange, Command, VolumeId};
use holdfast_policy::ClassSet;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Operations that are remembered. Those that ended make room for new ones, the oldest first.
pub(super) const OPERATIONS_MAX: usize = 64;

/// What an operation is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// The verb.
    pub(super) verb: OperationVerb,
    /// Where; everywhere if none.
    pub(super) range: Option<Range>,
    /// Of which classes, for a retry.
    pub(super) classes: ClassSet,
}

impl Order {
    fn command(&self) -> Command {
        let whole = |range: Range| ByteRange { offset: range.offset, length: range.length };
        let range = self.range.map_or(ByteRange::ALL, whole);
        match self.verb {
            OperationVerb::Retry => Command::Retry { range, classes: self.classes },
            OperationVerb::Drop => Command::Drop { range },
            OperationVerb::AckLoss => Command::AckLoss { range },
            OperationVerb::Drain => Command::Drain,
        }
    }
}

/// The table of operations: those that run, and those that ended last.
#[derive(Default)]
pub(super) struct Operations {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    rows: VecDeque<Row>,
}

struct Row {
    volume: VolumeId,
    /// Somebody has asked for its end.
    cancelled: bool,
    operation: Operation,
}

impl Operations {
    /// Posts the order's command and follows its answers from a task of its own.
    ///
    /// # Errors
    /// A [`Refusal`] if the table is full of running operations, or the backend refuses; then nothing was begun.
    pub(super) fn start(
        self: &Arc<Self>,
        backend: &Arc<dyn Backend>,
        volume: &VolumeView,
        order: Order,
        by: Peer,
    ) -> Result<Operation, Refusal> {
        self.make_room()?;
        let answers = backend.command(volume.id, order.command(), by)?;
        let daemon = backend.daemon();
        let operation = self.lock().insert(volume, order, to_do(order.verb, volume, daemon.line_bytes));
        let follower = Follower {
            operations: Arc::clone(self),
            id: operation.id,
            reactors: daemon.reactors.len(),
            line_bytes: u64::from(daemon.line_bytes),
        };
        tokio::spawn(follower.run(answers));
        Ok(operation)
    }

    /// The operation with this number; while it runs its counts are those of its volume now.
    pub(super) fn get(&self, backend: &dyn Backend, id: u64) -> Option<Operation> {
        let (volume, mut operation) = {
            let table = self.lock();
            let row = table.rows.iter().find(|row| row.operation.id == id)?;
            (row.volume, row.operation.clone())
        };
        if operation.state == OperationState::Running {
            let view = backend.volumes().into_iter().find(|view| view.id == volume)?;
            let left = to_do(operation.verb, &view, backend.daemon().line_bytes);
            operation.left_bytes = left;
            operation.done_bytes = operation.total_bytes.saturating_sub(left);
            operation.tried_bytes = operation.done_bytes;
        }
        Some(operation)
    }

    /// All that are remembered, in the order of their numbers.
    pub(super) fn all(&self, backend: &dyn Backend) -> Vec<Operation> {
        let ids: Vec<u64> = self.lock().rows.iter().map(|row| row.operation.id).collect();
        ids.into_iter().filter_map(|id| self.get(backend, id)).collect()
    }

    /// Ends a retry before it has tried everything, and with it the others of its volume.
    ///
    /// # Errors
    /// A [`Refusal`] if there is no such operation, it has ended, or it is of a kind that cannot be ended.
    pub(super) fn cancel(&self, backend: &dyn Backend, id: u64, by: Peer) -> Result<Operation, Refusal> {
        let (volume, operation) = {
            let mut table = self.lock();
            let row = table.rows.iter_mut().find(|row| row.operation.id == id);
            let row = row.ok_or_else(|| unknown(&id.to_string()))?;
            let (verb, name) = (row.operation.verb, row.operation.volume.clone());
            if row.operation.state != OperationState::Running {
                let message = format!("The {verb} of volume '{name}' has ended already.");
                return Err(Refusal::bad_request(
                    message,
                    "Nothing was changed. See 'holdfastctl operation'.",
                ));
            }
            if verb != OperationVerb::Retry {
                let message = format!("A {verb} cannot be cancelled: what it has done cannot be taken back.");
                return Err(Refusal::bad_request(message, "Nothing was changed. It ends by itself."));
            }
            row.cancelled = true;
            (row.volume, row.operation.clone())
        };
        // Nobody waits for the answers: those of the retries tell.
        let _answers = backend.command(volume, Command::CancelRetries, by)?;
        Ok(self.get(backend, id).unwrap_or(operation))
    }

    fn make_room(&self) -> Result<(), Refusal> {
        let mut table = self.lock();
        if table.rows.len() < OPERATIONS_MAX {
            return Ok(());
        }
        let ended = table.rows.iter().position(|row| row.operation.state != OperationState::Running);
        let Some(ended) = ended else {
            let message = format!("{OPERATIONS_MAX} operations are running, which is the most.");
            return Err(Refusal::too_many(message, "Wait until one has ended."));
        };
        table.rows.remove(ended);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is none, or none any more.
pub(super) fn unknown(text: &str) -> Refusal {
    let remedy = "'holdfastctl operation' lists them; those that ended long ago, or under another daemon, are forgotten.";
    Refusal::not_found(format!("There is no operation {text}."), remedy)
}

impl Table {
    fn insert(&mut self, volume: &VolumeView, order: Order, total_bytes: u64) -> Operation {
        self.last_id += 1;
        let operation = Operation {
            id: self.last_id,
            verb: order.verb,
            volume: volume.name.clone(),
            range: order.range,
            state: OperationState::Running,
            total_bytes,
            tried_bytes: 0,
            done_bytes: 0,
            left_bytes: total_bytes,
            refused: None,
            started: view::now(),
            finished: None,
        };
        self.rows.push_back(Row { volume: volume.id, cancelled: false, operation: operation.clone() });
        operation
    }
}

/// The bytes that a verb is about, in the whole volume.
fn to_do(verb: OperationVerb, volume: &VolumeView, line_bytes: u32) -> u64 {
    let lines = match verb {
        OperationVerb::Retry | OperationVerb::Drop => volume.stats.failed,
        OperationVerb::AckLoss => volume.stats.lost,
        OperationVerb::Drain => volume.stats.not_clean,
    };
    lines.saturating_mul(u64::from(line_bytes))
}

/// Adds up the answers to one operation's command.
struct Follower {
    operations: Arc<Operations>,
    id: u64,
    reactors: usize,
    line_bytes: u64,
}

/// What the reactors answered so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    answers: usize,
    tried: u64,
    done: u64,
    left: u64,
    refused: Option<u16>,
}

impl Sum {
    fn add(&mut self, answer: &Answer, line_bytes: u64) {
        self.answers += 1;
        match *answer {
            Answer::Retried { tried, failed } => {
                self.tried += tried * line_bytes;
                self.done += tried.saturating_sub(failed) * line_bytes;
                self.left += failed * line_bytes;
            }
            Answer::Dropped { bytes } | Answer::Acknowledged { bytes } => {
                self.tried += bytes;
                self.done += bytes;
            }
            Answer::Drained { left } => self.left += left * line_bytes,
            Answer::Refused { errno } => self.refused = Some(errno),
            Answer::Done | Answer::Listed { .. } => panic!("a reactor answered an operation with {answer:?}"),
        }
    }
}

impl Follower {
    async fn run(self, mut answers: Answers) {
        let mut sum = Sum::default();
        while sum.answers < self.reactors {
            let Some((_, answer)) = answers.recv().await else { break };
            sum.add(&answer, self.line_bytes);
        }
        self.finish(&sum);
    }

    fn finish(&self, sum: &Sum) {
        let mut table = self.operations.lock();
        let row = table.rows.iter_mut().find(|row| row.operation.id == self.id);
        let row = row.expect("a running operation is not forgotten");
        let (cancelled, operation) = (row.cancelled, &mut row.operation);
        operation.state = match sum.refused {
            Some(_) => OperationState::Refused,
            None if cancelled && sum.left > 0 => OperationState::Cancelled,
            None if sum.answers < self.reactors => OperationState::Interrupted,
            None => OperationState::Done,
        };
        operation.refused = sum.refused.map(view::errno);
        (operation.tried_bytes, operation.done_bytes, operation.left_bytes) = (sum.tried, sum.done, sum.left);
        if operation.verb == OperationVerb::Drain {
            operation.done_bytes = operation.total_bytes.saturating_sub(sum.left);
            operation.tried_bytes = operation.done_bytes;
        }
        operation.finished = Some(view::now());
        let (id, verb, volume) = (operation.id, operation.verb.name(), operation.volume.as_str());
        let (state, done, left) = (operation.state, operation.done_bytes, operation.left_bytes);
        tracing::info!(id, verb, volume, ?state, done, left, "an operation ended");
    }
}
