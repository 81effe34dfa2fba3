//! What operators ask for: tasks that are worked off turn by turn.

use crate::engine::Engine;
use crate::list::{LISTS_MAX, ListWanted, earlier};
use crate::losses::Loss;
use crate::ops::Purpose;
use crate::volume::{COMMANDS_MAX, PassKind, Task, Volume};
use crate::{Actions, Answer, ByteRange, Command, Instant, LedgerEntry, LedgerSeq, Token, VolumeId};
use holdfast_policy::{State, errno};

impl Volume<'_> {
    /// The next retry that an operator asked for.
    pub(crate) fn take_retry(&mut self) -> Option<PassKind> {
        let at = self.tasks.iter().position(|task| matches!(task, Task::Retry { .. }))?;
        match self.tasks.remove(at) {
            Some(Task::Retry { token, first, end, classes }) => {
                Some(PassKind::Operator { token, first, end, classes })
            }
            _ => None,
        }
    }
}

/// What an operator may want to get out of trouble with.
const fn is_never_put_off(command: &Command) -> bool {
    use Command::{CancelRetries, Detach, Grow, Reopen, SetBudget, SetPolicy};
    matches!(command, SetPolicy { .. } | Grow { .. } | SetBudget { .. } | CancelRetries | Reopen | Detach)
}

impl Engine<'_> {
    pub(crate) fn operator(
        &mut self,
        now: Instant,
        token: Token,
        volume: VolumeId,
        command: Command,
        out: &mut Actions,
    ) {
        let index = usize::from(volume.0);
        let refused = match self.volumes.get(index) {
            None => Some(errno::ENXIO),
            Some(volume) if volume.vacant => Some(errno::ENXIO),
            Some(_) if is_never_put_off(&command) => None,
            Some(volume) if volume.closing => Some(errno::EBUSY),
            Some(volume) if volume.tasks.len() >= COMMANDS_MAX => Some(errno::EAGAIN),
            Some(_) if self.lists.len() >= LISTS_MAX => Some(errno::EAGAIN),
            Some(_) => None,
        };
        if let Some(errno) = refused {
            out.answers.push((token, Answer::Refused { errno }));
            return;
        }
        match command {
            Command::Retry { range, classes } => self.retry(index, token, range, classes),
            Command::Drop { range } => {
                let (cursor, end) = self.volumes[index].lines_in(range);
                self.add_task(
                    index,
                    Task::Drop { token, cursor, end, bytes: 0, seq: LedgerSeq(0), all: false },
                );
            }
            Command::Abandon => {
                let (cursor, end) = self.volumes[index].lines_in(ByteRange::ALL);
                self.add_task(
                    index,
                    Task::Drop { token, cursor, end, bytes: 0, seq: LedgerSeq(0), all: true },
                );
            }
            Command::AckLoss { range } => {
                let (cursor, _) = self.volumes[index].lines_in(range);
                self.add_task(index, Task::AckLoss { token, cursor, range, bytes: 0, seq: LedgerSeq(0) });
            }
            Command::List { state, from } => {
                self.lists.push_back(ListWanted { token, volume: index, state, from });
            }
            Command::Drain if !self.volumes[index].settled => {
                let left = self.volumes[index].counts.not_clean();
                out.answers.push((token, Answer::Drained { left }));
            }
            Command::Drain => self.add_task(index, Task::Drain { token, asked: false }),
            Command::CancelRetries => {
                self.cancel_retries(index, out);
                out.answers.push((token, Answer::Done));
            }
            Command::SetPolicy { tuning } => {
                let answer = self.set_policy(index, *tuning);
                out.answers.push((token, answer));
            }
            Command::Grow { bytes } => {
                let answer = self.grow(index, bytes);
                out.answers.push((token, answer));
            }
            Command::SetBudget { budget_slots, .. }
                if budget_slots < self.limits.request_lines_max as u64 =>
            {
                out.answers.push((token, Answer::Refused { errno: errno::EINVAL }));
            }
            Command::SetBudget { budget_slots, room_slots } => {
                self.set_budget(index, budget_slots, room_slots);
                out.answers.push((token, Answer::Done));
            }
            Command::Close { give_up } => self.close(index, token, give_up, out),
            Command::Reopen => {
                self.reopen(index, out);
                out.answers.push((token, Answer::Done));
            }
            Command::Detach if !self.volumes[index].closing => {
                out.answers.push((token, Answer::Refused { errno: errno::EBUSY }));
            }
            Command::Detach => self.add_task(index, Task::Detach { token }),
            Command::RestoreLoss { range, class, errno, first, generation } => {
                self.restore_loss(index, range, (class, errno), first, generation);
                out.answers.push((token, Answer::Done));
            }
            Command::RestoreReport { range, first } => {
                self.restore_report(index, range, first);
                out.answers.push((token, Answer::Done));
            }
        }
        let _ = now;
    }

    fn add_task(&mut self, index: usize, task: Task) {
        self.volumes[index].tasks.push_back(task);
    }

    /// An operator's retry bypasses the backoff: of the lines that failed, and of the gate.
    fn retry(&mut self, index: usize, token: Token, range: ByteRange, classes: holdfast_policy::ClassSet) {
        let volume = &mut self.volumes[index];
        let (first, end) = volume.lines_in(range);
        if let Some(gate) = &mut volume.gate
            && classes.contains(gate.class)
        {
            gate.forced = true;
        }
        for zeroes in volume.zeroed.iter_mut().filter(|zeroes| zeroes.first < end && first < zeroes.end) {
            zeroes.refused = zeroes.refused.map(|_| Instant(0));
        }
        volume.tasks.push_back(Task::Retry { token, first, end, classes });
    }

    /// No retry begins or goes on after this. One that is under way ends with what it has in flight, and is answered then.
    fn cancel_retries(&mut self, index: usize, out: &mut Actions) {
        let volume = &mut self.volumes[index];
        if let Some(gate) = &mut volume.gate {
            gate.forced = false;
        }
        if let Some(pass) = &mut volume.pass
            && matches!(pass.kind, PassKind::Operator { .. })
        {
            pass.walked = true;
        }
        let left = volume.counts.not_clean();
        volume.tasks.retain(|task| {
            let (token, tried) = match *task {
                Task::Retry { token, .. } => (token, 0),
                Task::Confirm { token, tried, .. } => (token, tried),
                _ => return true,
            };
            out.answers.push((token, Answer::Retried { tried, failed: left }));
            false
        });
    }

    /// Goes on with the oldest task that is not a retry.
    pub(crate) fn advance_tasks(&mut self, index: usize, out: &mut Actions) {
        let tasks = &self.volumes[index].tasks;
        let Some(at) = tasks.iter().position(|task| !matches!(task, Task::Retry { .. })) else { return };
        let task = self.volumes[index].tasks[at];
        let after = match task {
            Task::Retry { .. } => return,
            Task::Drop { .. } => self.advance_drop(index, task, out),
            Task::AckLoss { .. } => self.advance_ack(index, task, out),
            Task::Drain { token, asked } => self.advance_drain(index, token, asked, out),
            Task::Confirm { .. } => self.advance_confirm(index, task, out),
            Task::Close(closing) => self.advance_close(index, closing, out),
            Task::Detach { token } => self.advance_detach(index, token, out),
        };
        match after {
            Some(task) => self.volumes[index].tasks[at] = task,
            None => {
                self.volumes[index].tasks.remove(at);
            }
        }
    }

    fn advance_drop(&mut self, index: usize, task: Task, out: &mut Actions) -> Option<Task> {
        let Task::Drop { token, mut cursor, end, mut bytes, mut seq, all } = task else { return None };
        for _ in 0..self.limits.steps_a_turn {
            out.count(1);
            let Some(line) = self.next_to_drop(index, cursor, all).filter(|&line| line < end) else {
                let settled = self.volumes[index].condemned.is_empty() && self.ledger.is_durable(seq);
                let over = Task::Drop { token, cursor: end, end, bytes, seq, all };
                if cursor < end || !settled {
                    return Some(over);
                }
                out.answers.push((token, Answer::Dropped { bytes }));
                return None;
            };
            let slot = self.cache.newest(self.volumes[index].id(), line);
            let slot = slot.filter(|&slot| match self.cache.header(slot).state() {
                State::Failed => true,
                State::Dirty => all,
                _ => false,
            });
            if slot.is_none() && self.awaits_verdict(index, line, all) {
                cursor = line;
                break;
            }
            if let Some(slot) = slot {
                if !out.has_room(&self.limits) || !self.condemn(index, slot, out) {
                    break;
                }
                bytes += u64::from(self.cache.header(slot).dirty().count_ones()) * 512;
                seq = self.ledger.last();
            }
            cursor = line + 1;
        }
        Some(Task::Drop { token, cursor, end, bytes, seq, all })
    }

    /// The next line that may have to be given up: it is failed, or dirty at all, or the device is being asked.
    fn next_to_drop(&self, index: usize, from: u64, all: bool) -> Option<u64> {
        let planes = &self.volumes[index].index;
        if all {
            earlier(planes.dirty.next(from), planes.busy.next(from))
        } else {
            self.next_failed(index, from)
        }
    }

    /// Whether what is to be given up of a line is on its way to the device: it cannot be given up then, and perhaps it does
    /// not have to be. What hangs is passed over, for nobody knows for how long.
    fn awaits_verdict(&self, index: usize, line: u64, all: bool) -> bool {
        let (volume, timeout) = (self.volumes[index].id(), self.volumes[index].setup.io_timeout_ms);
        let retried = self.retried(index, line);
        let Some(op) = self.ops.on(volume, line, line + 1).next().map(|op| self.ops.get(op)) else {
            // Sent by a daemon that died: its failure counts from this one's start.
            return retried.is_some_and(|slot| self.now < self.failures.last(slot).after_ms(timeout));
        };
        let on_its_way = op.purpose == Purpose::WriteBack && !op.overdue && !op.is_settled(line);
        on_its_way && (all || retried.is_some())
    }

    /// A retry is answered once what was dirty behind a closed gate went out with it, and a device flush has covered
    /// that; or when the device refuses again.
    fn advance_confirm(&mut self, index: usize, task: Task, out: &mut Actions) -> Option<Task> {
        let Task::Confirm { token, tried, sweeps, position, doubts } = task else { return None };
        let volume = &self.volumes[index];
        // A probe that this retry caused may still open the gate.
        let refused = volume.gate.is_some_and(|gate| !gate.probing && !gate.forced && !gate.proven);
        let doubted = volume.doubts != doubts;
        if doubted && !refused {
            // Nothing was refused, but what was written must be written again: the retry is about what comes of that.
            let (sweeps, doubts) = (volume.sweeps, volume.doubts);
            return Some(Task::Confirm { token, tried, sweeps, position: None, doubts });
        }
        let untried = volume.index.dirty.count() - volume.index.failed.count();
        let Some(position) = position else {
            // Twice round: the sweep may have been anywhere when the retry came.
            let swept = untried == 0 || volume.sweeps >= sweeps + 2;
            // Busy clients keep something in flight at all times; two rounds later it is none of what the retry found.
            let written = swept && (volume.counts.of(State::Writing) == 0 || volume.sweeps >= sweeps + 4);
            let known = written || refused || volume.stats.overdue > 0;
            let position = known.then(|| volume.written.tail());
            return Some(Task::Confirm { token, tried, sweeps, position, doubts });
        };
        // Refused zeroes can take writes back without a doubt about the device: then there are fewer positions.
        let settled = volume.written.head() >= position.min(volume.written.tail());
        let unflushed = !settled && self.flush_hangs(self.now, index);
        if (!doubted && !settled && !unflushed) || volume.redirty {
            return Some(task);
        }
        let in_doubt = if doubted || volume.gate.is_some() { volume.index.dirty.count() } else { 0 };
        // What hangs was neither accepted nor refused: it is not healed, and nobody knows when it will be.
        let writing = if volume.stats.overdue > 0 { volume.counts.of(State::Writing) } else { 0 };
        let unstable = if unflushed { volume.counts.of(State::Unstable) } else { 0 };
        let failed = volume.failed_lines().max(in_doubt) + writing + unstable;
        out.answers.push((token, Answer::Retried { tried, failed }));
        None
    }

    fn advance_ack(&mut self, index: usize, task: Task, out: &mut Actions) -> Option<Task> {
        let Task::AckLoss { token, mut cursor, range, mut bytes, mut seq } = task else { return None };
        let (_, end) = self.volumes[index].lines_in(range);
        for _ in 0..self.limits.steps_a_turn {
            if !out.has_room(&self.limits) || !self.ledger.has_room(32) {
                break;
            }
            let Some((line, lost_end, loss)) = self.volumes[index].losses.next(cursor, end) else {
                if cursor < end || !self.ledger.is_durable(seq) {
                    return Some(Task::AckLoss { token, cursor: end, range, bytes, seq });
                }
                out.answers.push((token, Answer::Acknowledged { bytes }));
                return None;
            };
            out.count(1);
            let whole = self.lost_whole(index, range, (line, lost_end), &loss);
            if whole > 1 {
                let volume = &mut self.volumes[index];
                volume.losses.heal_lines(line, line + whole, loss.mask, u64::MAX);
                let acknowledged = volume.lines(line, whole);
                let (volume, range) = (volume.setup.id, acknowledged);
                let entry = LedgerEntry::LossHealed { volume, range, acknowledged: true };
                seq = self.ledger.push(entry, out);
                self.volumes[index].healed = seq;
                bytes += acknowledged.length;
                cursor = line + whole;
                continue;
            }
            let mask = loss.mask & !self.condemned_sectors(index, line);
            let volume = &mut self.volumes[index];
            let mask = volume.mask_within(line, range) & mask;
            let healed = volume.losses.heal(line, mask, u64::MAX);
            self.push_loss_healed(index, line, healed, true, out);
            bytes += u64::from(healed.count_ones()) * 512;
            seq = self.ledger.last();
            cursor = line + 1;
        }
        Some(Task::AckLoss { token, cursor, range, bytes, seq })
    }

    /// How many lines from the first on can be acknowledged in one: whole ones of one run within `range`, side by side, while
    /// nothing is on its way out that they would have to go round.
    fn lost_whole(&self, index: usize, range: ByteRange, (line, end): (u64, u64), loss: &Loss) -> u64 {
        let volume = &self.volumes[index];
        let lines = volume.lost_whole(line, end, loss);
        let bytes = volume.lines(line, lines);
        let within = range.offset <= bytes.offset && bytes.end() <= range.end();
        if within && volume.condemned.is_empty() { lines } else { 1 }
    }

    /// A drain is over when everything is stable, or what is left has been tried and refused; retries that were asked
    /// for before it are awaited. A gate that guards nothing in the end is asked, for else nobody might, and the volume would
    /// count as refused for ever.
    fn advance_drain(&mut self, index: usize, token: Token, asked: bool, out: &mut Actions) -> Option<Task> {
        let volume = &self.volumes[index];
        let total = volume.epochs.total();
        let left = volume.counts.not_clean();
        let refused = volume.gate.is_some_and(|gate| !gate.probing && !gate.forced && !gate.proven)
            || (volume.index.dirty.count() == volume.index.failed.count() && volume.pass.is_none())
            || volume.stats.overdue > 0
            || self.flush_hangs(self.now, index);
        let retrying =
            volume.tasks.iter().any(|task| matches!(task, Task::Retry { .. })) || volume.pass.is_some();
        let hangs = volume.stats.overdue > 0 || self.flush_hangs(self.now, index);
        let moving = (volume.ops > 0 || retrying) && !hangs;
        let unflushed = total.at(crate::epochs::Stage::Written) > 0
            && volume.gate.is_none_or(|gate| !gate.from_flush)
            && !self.flush_hangs(self.now, index);
        let over = total.is_empty() || (refused && !moving && !unflushed && !volume.redirty);
        if !over || !volume.stalled.is_empty() && left == 0 {
            return Some(Task::Drain { token, asked });
        }
        let answering = volume.gate.is_some_and(|gate| gate.probing || gate.forced || gate.proven);
        if (asked && answering && !hangs) || (!asked && self.ask_idle_gate(index)) {
            return Some(Task::Drain { token, asked: true });
        }
        out.answers.push((token, Answer::Drained { left }));
        None
    }

    fn restore_loss(
        &mut self,
        index: usize,
        range: ByteRange,
        (class, errno): (u8, u16),
        first: Instant,
        generation: u64,
    ) {
        // Of whatever arena and reactor it is: what is written from now on is newer.
        self.cache.resume_above(generation);
        let (begin, end) = self.volumes[index].lines_in(range);
        self.volumes[index].torn.add(begin, end, self.now);
        let volume = &mut self.volumes[index];
        let mut lose = |line: u64, end: u64| {
            let mask = volume.mask_within(line, range) & volume.geometry().existing_mask(line);
            let (attempts, last) = (0, first);
            let loss = Loss { mask, superseded: 0, generation, class, errno, attempts, first, last };
            volume.losses.add_lines(line, end, loss);
        };
        // All but the first and the last are lost as a whole.
        let inner = (begin + 1, end.saturating_sub(1).max(begin + 1));
        if begin < end {
            lose(begin, begin + 1);
        }
        if inner.0 < inner.1 {
            lose(inner.0, inner.1);
        }
        if inner.1 < end {
            lose(inner.1, end);
        }
    }
}
