//! Flushes: when each is answered, and how (M6, M7).

use crate::engine::Engine;
use crate::epochs::Stage;
use crate::ops::Purpose;
use crate::requests::RequestId;
use crate::volume::{FlushStage, FlushWait, ZEROED_MAX};
use crate::{Actions, FlushOnFailure, Instant, LedgerEntry, Token};
use holdfast_mutants::mutant;
use holdfast_policy::{ErrorClass, Search, Want, errno};

/// Flushes of one volume that are looked at in a turn.
const FLUSHES_A_TURN: usize = 16;

/// What can be said of the oldest waiting flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Something is under way that may still decide it.
    Undecided,
    /// All of its epoch is stable.
    Success,
    /// What is left was refused, or may not be tried yet.
    Failing { errno: u16 },
}

impl Engine<'_> {
    pub(crate) fn flush(&mut self, id: RequestId) {
        let volume = &mut self.volumes[usize::from(self.requests.get(id).request.volume.0)];
        let epoch = volume.epochs.cut();
        let pass = volume.flush_passes_begun + 1;
        let stage = FlushStage::Waiting;
        volume.flushes.push_back(FlushWait { request: id, epoch, pass, probed: false, stage, errno: 0 });
    }

    /// Answers the flushes that can be answered, oldest first.
    pub(crate) fn advance_flushes(&mut self, now: Instant, index: usize, out: &mut Actions) {
        for _ in 0..FLUSHES_A_TURN {
            let volume = &mut self.volumes[index];
            let Some(&front) = volume.flushes.front() else {
                let current = volume.epochs.current();
                return volume.epochs.advance(current);
            };
            volume.epochs.advance(front.epoch);
            if self.requests.get(front.request).orphan && !matches!(front.stage, FlushStage::Asked { .. }) {
                let volume = &mut self.volumes[index];
                volume.flushes.pop_front();
                volume.recordings -= u32::from(is_recording(front.stage));
                self.requests.remove(front.request);
                continue;
            }
            match self.outcome(now, index) {
                Outcome::Success
                    if matches!(front.stage, FlushStage::Waiting | FlushStage::Parked { .. }) =>
                {
                    self.volumes[index].flushes.pop_front();
                    self.volumes[index].stats.flushes_ok += 1;
                    self.complete(front.request, 0, 0, out);
                }
                Outcome::Failing { errno } => return self.refuse_flushes(now, index, errno, out),
                Outcome::Undecided | Outcome::Success => return self.record_flushes(index, out),
            }
        }
    }

    /// What holds for the oldest flush.
    fn outcome(&mut self, now: Instant, index: usize) -> Outcome {
        let bucket = self.volumes[index].epochs.oldest();
        let overdue = self.overdue_lines(index);
        if bucket.at(Stage::Writing) > overdue || self.volumes[index].redirty {
            return Outcome::Undecided;
        }
        let redone = |range: &crate::volume::Zeroed| {
            let volume = &self.volumes[index];
            let due = volume.may_redo(now, range, self.limits.flush_after_ms);
            range.redo && (due || range.busy) && volume.stats.overdue == 0
        };
        if self.volumes[index].zeroed.iter().any(redone) {
            return Outcome::Undecided;
        }
        let waiting = bucket.at(Stage::Waiting);
        let failed = bucket.at(Stage::Failed);
        let stuck = self.is_stuck(now, index, overdue);
        if self.volumes[index].gate.is_some() {
            if waiting + failed + bucket.at(Stage::Written) > 0 && self.probe_for_flush(now, index) {
                return Outcome::Undecided;
            }
        } else if !stuck && waiting > 0 || (failed > 0 && self.awaits_pass(index)) {
            return Outcome::Undecided;
        }
        let volume = &self.volumes[index];
        let written = bucket.at(Stage::Written);
        let hung = self.flush_hangs(now, index);
        let flush_refused = volume.gate.is_some_and(|gate| gate.from_flush);
        if written > 0 && !hung && !flush_refused {
            return Outcome::Undecided;
        }
        if waiting + failed + overdue + written > 0
            || !(volume.losses.is_empty() || mutant!(FlushIgnoresLosses))
        {
            let waits_for_space = volume.only_space() && overdue == 0 && !(written > 0 && hung);
            let errno = if waits_for_space { errno::ENOSPC } else { errno::EIO };
            return Outcome::Failing { errno };
        }
        if self.ledger.is_durable(volume.healed) || mutant!(HealedBeforeDurable) {
            Outcome::Success
        } else {
            Outcome::Undecided
        }
    }

    /// Whether a device flush of the volume's domain takes longer than the volume's timeout, or what a dead daemon has under way
    /// there does, before which none can be asked for.
    pub(crate) fn flush_hangs(&self, now: Instant, index: usize) -> bool {
        let setup = &self.volumes[index].setup;
        let domain = &self.domains[usize::from(setup.domain.0)];
        (domain.outstanding || !self.is_settled(setup.domain))
            && now.since_ms(domain.asked) >= setup.io_timeout_ms
    }

    /// Whether the oldest flush has waited long enough for what cannot be sent: behind writes that take longer than the
    /// volume's timeout, or because operations that do have used up the volume's share of them.
    fn is_stuck(&self, now: Instant, index: usize, overdue_lines: u64) -> bool {
        let volume = &self.volumes[index];
        let Some(front) = volume.flushes.front() else { return false };
        let blocked = overdue_lines > 0 || (volume.stats.overdue > 0 && !self.may_submit(index));
        blocked && now.since_ms(self.requests.get(front.request).since) >= volume.setup.io_timeout_ms
    }

    /// The gate is closed: whether the oldest flush has to wait for a probe, which it may cause once.
    fn probe_for_flush(&mut self, now: Instant, index: usize) -> bool {
        let overdue = self.volumes[index].stats.overdue > 0;
        let volume = &mut self.volumes[index];
        let Some(gate) = &mut volume.gate else { return false };
        if gate.probing || gate.forced || gate.proven {
            return !overdue;
        }
        let retry = volume.setup.rules.for_class(gate.class).retry;
        let due = now >= gate.last.after_ms(retry.floor_ms());
        let Some(front) = volume.flushes.front_mut() else { return false };
        if front.probed || !retry.on_flush || !due || overdue {
            return false;
        }
        front.probed = true;
        gate.forced = true;
        true
    }

    /// Whether failed lines are still to be tried for the oldest flush.
    fn awaits_pass(&self, index: usize) -> bool {
        let volume = &self.volumes[index];
        let Some(front) = volume.flushes.front() else { return false };
        let tried = ErrorClass::ALL.into_iter().any(|class| {
            volume.failing[class as usize] > 0 && volume.setup.rules.for_class(class).retry.on_flush
        });
        tried && volume.flush_passes_done < front.pass
    }

    /// Lines of the oldest epoch in operations that take longer than the volume's timeout.
    fn overdue_lines(&self, index: usize) -> u64 {
        let volume = &self.volumes[index];
        if volume.stats.overdue == 0 {
            return 0;
        }
        let base = volume.epochs.base();
        let late =
            |op: &&crate::ops::Op| op.overdue && op.volume == volume.id() && op.purpose == Purpose::WriteBack;
        let lines = self.ops.iter().map(|(_, op)| op).filter(late).map(|op| {
            let slots = &op.slots[op.position..op.count];
            slots.iter().filter(|&&slot| self.cache.link(crate::SlotId(slot)) <= base).count() as u64
        });
        lines.sum()
    }

    /// The oldest flush cannot succeed now, and so none behind it: parks them or lets them be recorded and answered, some
    /// each turn.
    fn refuse_flushes(&mut self, now: Instant, index: usize, errno: u16, out: &mut Actions) {
        let count = self.volumes[index].flushes.len();
        let begin = self.volumes[index].flush_cursor;
        self.volumes[index].flush_cursor =
            if begin + FLUSHES_A_TURN < count { begin + FLUSHES_A_TURN } else { 0 };
        for at in core::iter::once(0).chain(begin.max(1)..count.min(begin + FLUSHES_A_TURN)) {
            let wait = self.volumes[index].flushes[at];
            let stage = match (wait.stage, self.volumes[index].setup.flush_on_failure) {
                (FlushStage::Waiting, FlushOnFailure::Stall { timeout_ms }) if self.may_park(index, wait) => {
                    FlushStage::Parked { until: now.after_ms(timeout_ms) }
                }
                (FlushStage::Waiting, _) if at == 0 || self.is_stalling(index) => {
                    FlushStage::RecordingBusy { cursor: 0 }
                }
                (FlushStage::Parked { until }, _) if now >= until => FlushStage::RecordingBusy { cursor: 0 },
                (stage, _) => stage,
            };
            let wait = &mut self.volumes[index].flushes[at];
            if stage != wait.stage {
                (wait.stage, wait.errno) = (stage, errno);
                self.volumes[index].recordings += u32::from(is_recording(stage));
            }
        }
        self.record_flushes(index, out);
    }

    fn is_stalling(&self, index: usize) -> bool {
        matches!(self.volumes[index].setup.flush_on_failure, FlushOnFailure::Stall { .. })
    }

    fn may_park(&self, index: usize, wait: FlushWait) -> bool {
        let session = self.requests.get(wait.request).request.session;
        let parked = self.volumes[index].flushes.iter().filter(|other| {
            matches!(other.stage, FlushStage::Parked { .. })
                && self.requests.get(other.request).request.session == session
        });
        parked.count() < self.volumes[index].setup.parked_flushes_max as usize
    }

    /// Goes on with the flushes that are being recorded.
    fn record_flushes(&mut self, index: usize, out: &mut Actions) {
        if self.volumes[index].recordings == 0 {
            return;
        }
        for at in 0..self.volumes[index].flushes.len() {
            let wait = self.volumes[index].flushes[at];
            let stage = match wait.stage {
                FlushStage::RecordingBusy { cursor } => self.record_busy(index, cursor, out),
                FlushStage::RecordingWritten { position } => {
                    self.record_written(index, wait.epoch, position, out)
                }
                FlushStage::Recording { cursor } => self.record_dirty(index, wait.epoch, cursor, out),
                _ => continue,
            };
            let volume = &mut self.volumes[index];
            volume.flushes[at].stage = stage;
            volume.recordings -= u32::from(!is_recording(stage));
            return;
        }
    }

    /// Records the lines of an epoch that are not stable, in LBA order, a bounded number a turn.
    fn record_dirty(&mut self, index: usize, epoch: u32, mut cursor: u64, out: &mut Actions) -> FlushStage {
        for _ in 0..self.limits.steps_a_turn {
            if mutant!(OnlyTriedIsRecorded) {
                return self.ask_for_id(index, out);
            }
            if !self.ledger.has_room(2) || !out.has_room(&self.limits) {
                return FlushStage::Recording { cursor };
            }
            match self.volumes[index].index.search(Want::Unreported, cursor, 1, 64) {
                Search::Found(run) => {
                    cursor = self.record_run(index, run.first, epoch, out);
                }
                Search::Paused { from } => return FlushStage::Recording { cursor: from },
                Search::End => return self.ask_for_id(index, out),
            }
        }
        FlushStage::Recording { cursor }
    }

    /// Records what is in flight, and the zeroes that await a device flush.
    fn record_busy(&mut self, index: usize, mut cursor: u64, out: &mut Actions) -> FlushStage {
        for _ in 0..self.limits.steps_a_turn {
            if !self.ledger.has_room(ZEROED_MAX as u64 + 2) || !out.has_room(&self.limits) {
                return FlushStage::RecordingBusy { cursor };
            }
            let Some(line) = self.volumes[index].index.busy.reader().next(cursor) else {
                (0..self.volumes[index].zeroed.len()).for_each(|at| self.record_zeroed(index, at, out));
                return FlushStage::RecordingWritten { position: 0 };
            };
            out.count(1);
            if !mutant!(InFlightIsNotRecorded) {
                self.record_line(index, line, out);
            }
            cursor = line + 1;
        }
        FlushStage::RecordingBusy { cursor }
    }

    /// Records what is written and waits for a device flush.
    fn record_written(&mut self, index: usize, epoch: u32, position: u64, out: &mut Actions) -> FlushStage {
        let mut position = position.max(self.volumes[index].written.head());
        for _ in 0..self.limits.steps_a_turn {
            if position >= self.volumes[index].written.tail() {
                return FlushStage::Recording { cursor: 0 };
            }
            if !self.ledger.has_room(2) || !out.has_room(&self.limits) {
                break;
            }
            let entry = self.volumes[index].written.get(position);
            out.count(1);
            if entry.epoch <= epoch {
                self.record_line(index, entry.line, out);
            }
            position += 1;
        }
        FlushStage::RecordingWritten { position }
    }

    fn ask_for_id(&mut self, index: usize, out: &mut Actions) -> FlushStage {
        let token = Token(self.next_token << 8 | u64::from(self.limits.reactor & 255));
        self.next_token += 1;
        let volume = self.volumes[index].setup.id;
        self.ledger.push(LedgerEntry::Report { volume, token }, out);
        FlushStage::Asked { token }
    }

    /// Whether a failed flush of the volume is being recorded: what leaves the dirty index now would be missed.
    pub(crate) fn is_recording(&self, index: usize) -> bool {
        self.volumes[index].recordings > 0
    }

    /// The ledger has given a failed flush its id.
    pub(crate) fn reported(&mut self, token: Token, failure_id: u64, out: &mut Actions) {
        for index in 0..self.volumes.len() {
            let flushes = &mut self.volumes[index].flushes;
            let Some(at) = flushes.iter().position(|wait| wait.stage == FlushStage::Asked { token }) else {
                continue;
            };
            let wait = flushes.remove(at).expect("it was found there");
            self.volumes[index].stats.flushes_failed += 1;
            self.complete(wait.request, wait.errno, failure_id, out);
            return;
        }
    }
}

/// Whether entries for the ledger are still being pushed.
const fn is_recording(stage: FlushStage) -> bool {
    matches!(
        stage,
        FlushStage::RecordingBusy { .. } | FlushStage::RecordingWritten { .. } | FlushStage::Recording { .. }
    )
}
