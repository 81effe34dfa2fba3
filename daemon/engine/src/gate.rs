//! A device that refuses: one probe at a time (M12), and the walks over what failed (C8).

use crate::engine::Engine;
use crate::ops::{Op, Purpose};
use crate::volume::{Gate, Pass, PassKind, Task, Volume};
use crate::writeback::Manner;
use crate::{Actions, Instant, SlotId};
use holdfast_mutants::mutant;
use holdfast_policy::{ErrorClass, FailurePolicy, Search, State, Want};

/// Milliseconds between two walks of the timer over the failed lines; what is due is decided line by line.
const TIMER_PASS_MS: u64 = 50;

/// Words of the dirty index that one search for a line to probe with looks at.
const PROBE_WORDS: u64 = 4096;

/// What a search for a line to probe with found.
enum NextProbe {
    Line(u64),
    /// Nothing yet: it goes on behind this line.
    Behind(u64),
    Nothing,
}

impl Volume<'_> {
    /// Whether room is taken by what the device has not refused, so that there may be nothing to give up for it: it refuses
    /// flushes of what it took, or it does not answer.
    pub(crate) fn keeps_unrefused(&self) -> bool {
        self.stats.overdue > 0 || self.gate.is_some_and(|gate| gate.from_flush)
    }
}

impl Engine<'_> {
    /// The device refused in a way that speaks of all it would get.
    pub(crate) fn close_gate(
        &mut self,
        now: Instant,
        index: usize,
        class: ErrorClass,
        errno: u16,
        from_flush: bool,
    ) {
        let volume = &mut self.volumes[index];
        let again = volume.gate.filter(|gate| gate.probing || gate.proven || gate.forced);
        let before = volume.gate;
        let attempts = before.map_or(1, |gate| gate.attempts + u32::from(again.is_some()));
        let last =
            if before.is_none() || again.is_some() { now } else { before.map_or(now, |gate| gate.last) };
        let probing = before.is_some_and(|gate| gate.probing);
        // What is asked for while a probe is out is another one.
        let forced = before.is_some_and(|gate| gate.forced);
        let overwritten = before.is_some_and(|gate| gate.overwritten);
        let (proven, asked) = (false, before.is_some_and(|gate| gate.asked));
        volume.gate = Some(Gate {
            class,
            errno,
            attempts,
            last,
            from_flush,
            probing,
            forced,
            overwritten,
            proven,
            asked,
        });
    }

    /// The device accepts again: everything that failed is tried, once.
    pub(crate) fn open_gate(&mut self, _now: Instant, index: usize) {
        let volume = &mut self.volumes[index];
        volume.gate = None;
        volume.reopened = true;
    }

    /// A probe ended, with the device's yes or no.
    pub(crate) fn probe_ended(&mut self, now: Instant, index: usize, refused: bool) {
        let Some(gate) = &mut self.volumes[index].gate else { return };
        gate.probing = false;
        if refused {
            gate.last = now;
        } else if gate.from_flush {
            gate.proven = true;
        } else {
            self.open_gate(now, index);
        }
    }

    /// A run of an operator's walk was accepted: that is as good as a probe.
    pub(crate) fn pass_accepted(&mut self, now: Instant, index: usize) {
        if let Some(gate) = &mut self.volumes[index].gate
            && !gate.probing
        {
            (gate.proven, gate.forced) = (gate.from_flush, false);
            if !gate.from_flush {
                self.open_gate(now, index);
            }
        }
    }

    /// Sends a probe if one is due: a failed line, another each time; else any dirty line; else a device flush.
    pub(crate) fn send_probe(&mut self, now: Instant, index: usize, out: &mut Actions) {
        let volume = &self.volumes[index];
        let Some(gate) = volume.gate else { return };
        if gate.probing || gate.proven || volume.redirty || !self.probe_is_due(now, index, gate) {
            return;
        }
        let line = match self.next_probe_line(index, out) {
            NextProbe::Line(line) => line,
            NextProbe::Behind(_) => return,
            NextProbe::Nothing => return self.nothing_to_probe(now, index),
        };
        let manner = Manner { probe: true, ..Manner::default() };
        if self.start_write(now, index, line, 1, manner, out) > 0 {
            let volume = &mut self.volumes[index];
            volume.probe_cursor = line + 1;
            if let Some(gate) = &mut volume.gate {
                (gate.probing, gate.forced, gate.overwritten, gate.asked) = (true, false, false, false);
            }
        }
    }

    /// By the timer, for somebody who may ask at once, or, after the floor, for an overwrite of what was refused and for
    /// a write that waits for the device, or zeroes that wait for room, where no timer would ever ask for it.
    fn probe_is_due(&self, now: Instant, index: usize, gate: Gate) -> bool {
        let volume = &self.volumes[index];
        let retry = &volume.setup.rules.for_class(gate.class).retry;
        let waiting = self.waits.any_of(volume.id()) || !volume.zeroers.is_empty();
        let asked = (gate.overwritten && retry.on_overwrite) || (!retry.on_timer && waiting);
        gate.forced
            || volume.next_probe().is_some_and(|due| now >= due)
            || (asked && now >= gate.last.after_ms(retry.floor_ms()))
    }

    /// The device has accepted zeroes, or a write that went out before the gate was closed. If a probe could have been made of
    /// nothing else, the gate guards nothing any more, and where no timer asks, nobody would. A policy that writes through
    /// while the device refuses needs a better proof, unless somebody has asked for one.
    pub(crate) fn accepted(&mut self, index: usize) {
        if self.volumes[index].gate.is_none() || !self.nothing_left(index) {
            return;
        }
        let volume = &mut self.volumes[index];
        let Some(gate) = &mut volume.gate else { return };
        let policy = volume.setup.rules.for_class(gate.class).policy;
        gate.forced |= !gate.from_flush && (gate.asked || !policy.write_through_while_refused());
    }

    /// Asks a gate that guards nothing, as an operator would: whether there is one.
    pub(crate) fn ask_idle_gate(&mut self, index: usize) -> bool {
        let idle =
            self.volumes[index].gate.is_some() && self.nothing_left(index) && !mutant!(DrainAsksNoGate);
        if let Some(gate) = self.volumes[index].gate.as_mut().filter(|_| idle) {
            gate.forced = true;
        }
        idle
    }

    /// Whether there is nothing to write to the device, nor on its way there.
    fn nothing_left(&self, index: usize) -> bool {
        let volume = &self.volumes[index];
        let writes = |op: &Op| op.volume == volume.id() && op.purpose != Purpose::Fill;
        !volume.holds_gating_failures()
            && volume.index.dirty.count() == volume.index.failed.count()
            && !self.ops.iter().any(|(_, op)| writes(op))
    }

    /// No line can tell whether the device still refuses.
    fn nothing_to_probe(&mut self, now: Instant, index: usize) {
        let nothing_left = self.nothing_left(index);
        let volume = &mut self.volumes[index];
        match &mut volume.gate {
            Some(gate) if gate.from_flush => (gate.proven, gate.forced) = (true, false),
            _ if nothing_left => self.open_gate(now, index),
            Some(gate) => (gate.asked, gate.forced) = (gate.asked || gate.forced, false),
            None => {}
        }
    }

    /// The next line to probe with: a failed one, but none whose refusal speaks of itself alone: a bad block would keep
    /// the gate closed for ever.
    fn next_probe_line(&mut self, index: usize, out: &mut Actions) -> NextProbe {
        let volume = &self.volumes[index];
        let mut from = volume.probe_cursor;
        if volume.holds_gating_failures() {
            for _ in 0..self.limits.steps_a_turn {
                out.count(1);
                match volume.index.search(Want::Retry, from, 1, PROBE_WORDS) {
                    Search::Found(run) if self.is_gating_failure(index, run.first) => {
                        return NextProbe::Line(run.first);
                    }
                    Search::Found(run) => from = run.first + 1,
                    Search::Paused { from: next } => from = next,
                    Search::End if from == 0 => break,
                    Search::End => from = 0,
                }
            }
        }
        let untried = volume.index.dirty.count() > volume.index.failed.count();
        let mut next = NextProbe::Nothing;
        // From the cursor on, then from the start. A million bad blocks may lie before the line that can be tried.
        for begin in [from, 0].into_iter().filter(|_| untried) {
            out.count(1);
            next = match volume.index.search(Want::Writable, begin, 1, PROBE_WORDS) {
                Search::Found(run) if self.is_dirty(index, run.first) => return NextProbe::Line(run.first),
                Search::Found(run) => NextProbe::Behind(run.first + 1),
                Search::Paused { from } => NextProbe::Behind(from),
                Search::End => continue,
            };
            break;
        }
        self.volumes[index].probe_cursor = if let NextProbe::Behind(line) = next { line } else { from };
        next
    }

    fn is_dirty(&self, index: usize, line: u64) -> bool {
        let newest = self.cache.newest(self.volumes[index].id(), line);
        newest.is_some_and(|slot| self.cache.header(slot).state() == State::Dirty)
    }

    fn is_gating_failure(&self, index: usize, line: u64) -> bool {
        let newest = self.cache.newest(self.volumes[index].id(), line);
        newest.is_some_and(|slot| {
            let status = self.cache.header(slot).status();
            status.state == State::Failed && ErrorClass::from_u8(status.class).is_some_and(ErrorClass::gates)
        })
    }

    /// Begins, goes on with and ends walks over the failed lines.
    pub(crate) fn advance_passes(&mut self, now: Instant, index: usize, out: &mut Actions) {
        if self.volumes[index].pass.is_none() {
            self.begin_pass(now, index);
        }
        for _ in 0..self.limits.steps_a_turn {
            let Some(pass) = self.volumes[index].pass else { return };
            if pass.walked {
                break;
            }
            if !out.has_room(&self.limits) {
                return;
            }
            out.count(1);
            if !self.walk(now, index, pass, out) {
                return;
            }
        }
        let Some(pass) = self.volumes[index].pass else { return };
        let operator = matches!(pass.kind, PassKind::Operator { .. });
        if pass.walked && pass.in_flight == 0 && !(operator && self.is_probing(index)) {
            self.end_pass(index, pass);
        }
    }

    fn is_probing(&self, index: usize) -> bool {
        self.volumes[index].gate.is_some_and(|gate| gate.probing)
    }

    /// An operator's walk does not begin or end while a probe is out: its line is not among the failed ones then, and would
    /// neither be tried since the operator asked nor be told of.
    fn begin_pass(&mut self, now: Instant, index: usize) {
        let probing = self.is_probing(index);
        let volume = &mut self.volumes[index];
        // The youngest flush wants the latest walk.
        let flush = volume.flushes.back().is_some_and(|flush| flush.pass > volume.flush_passes_begun);
        let failed = volume.failed_lines() > 0;
        let retry = if probing { None } else { volume.take_retry() };
        let kind = if let Some(kind) = retry {
            kind
        } else if volume.reopened {
            volume.reopened = false;
            PassKind::Reopened
        } else if flush {
            PassKind::Flush
        } else if failed && now >= volume.next_timer_pass {
            PassKind::Timer
        } else {
            return;
        };
        let from = if let PassKind::Operator { first, .. } = kind { first } else { 0 };
        volume.flush_passes_begun += u64::from(kind == PassKind::Flush);
        volume.next_timer_pass = now.after_ms(TIMER_PASS_MS);
        volume.pass = Some(Pass { kind, cursor: from, walked: !failed, in_flight: 0, tried: 0 });
    }

    fn end_pass(&mut self, index: usize, pass: Pass) {
        let volume = &mut self.volumes[index];
        volume.pass = None;
        if pass.kind == PassKind::Flush {
            volume.flush_passes_done = volume.flush_passes_begun;
        }
        if let PassKind::Operator { token, .. } = pass.kind {
            let (sweeps, doubts) = (volume.sweeps, volume.doubts);
            let confirm = Task::Confirm { token, tried: pass.tried, sweeps, position: None, doubts };
            volume.tasks.push_front(confirm);
        }
    }

    /// One step: the next run of failed lines, if it is to be tried. `false` if nothing more can be done this turn.
    fn walk(&mut self, now: Instant, index: usize, pass: Pass, out: &mut Actions) -> bool {
        let volume = &self.volumes[index];
        let end =
            if let PassKind::Operator { end, .. } = pass.kind { end } else { volume.index.dirty.lines() };
        // Through a closed gate an operator's walk goes run by run: the first that the device accepts opens the gate, one
        // that it refuses ends the walk, and the gate's probes go on from there.
        if volume.gate.is_some() && pass.in_flight > 0 {
            return false;
        }
        let refused_again = volume.gate.is_some() && pass.tried > 0;
        let run = match volume.index.search(Want::Retry, pass.cursor, 64, 256) {
            Search::Found(run) if run.first < end && !refused_again => run,
            Search::Paused { from } if from < end && !refused_again => {
                self.set_pass(index, Pass { cursor: from, ..pass });
                return false;
            }
            _ => {
                self.set_pass(index, Pass { walked: true, ..pass });
                return true;
            }
        };
        let count = self.eligible(now, index, pass.kind, run.first, run.count.min(end - run.first));
        out.count(usize::try_from(count).expect("a run is short"));
        if count == 0 {
            self.set_pass(index, Pass { cursor: run.first + 1, ..pass });
            return true;
        }
        if !self.ledger.has_room(128) {
            return false;
        }
        let manner = Manner { pass: true, ..Manner::default() };
        let count = self.start_write(now, index, run.first, count, manner, out);
        if count == 0 {
            return false;
        }
        let (cursor, in_flight, tried) = (run.first + count, pass.in_flight + 1, pass.tried + count);
        self.set_pass(index, Pass { cursor, in_flight, tried, ..pass });
        true
    }

    fn set_pass(&mut self, index: usize, pass: Pass) {
        self.volumes[index].pass = Some(pass);
    }

    /// How many of the failed lines from `line` on may be tried now.
    fn eligible(&self, now: Instant, index: usize, kind: PassKind, line: u64, max: u64) -> u64 {
        let volume = &self.volumes[index];
        let eligible = (line..line + max).take_while(|&line| {
            let newest = self.cache.newest(volume.id(), line);
            newest.is_some_and(|slot| self.may_retry(now, index, kind, slot))
        });
        eligible.count() as u64
    }

    fn may_retry(&self, now: Instant, index: usize, kind: PassKind, slot: SlotId) -> bool {
        let volume = &self.volumes[index];
        let status = self.cache.header(slot).status();
        let Some(class) = ErrorClass::from_u8(status.class).filter(|_| status.state == State::Failed) else {
            return false;
        };
        if let PassKind::Operator { classes, .. } = kind {
            return classes.contains(class);
        }
        if volume.gate.is_some() && class.gates() {
            return false;
        }
        let retry = &volume.setup.rules.for_class(class).retry;
        let last = self.failures.last(slot);
        let backoff = retry.backoff_ms(u32::from(status.attempts), self.cache.header(slot).line());
        let rested = now >= last.after_ms(backoff.max(retry.floor_ms())) || mutant!(BackoffIsIgnored);
        let timer = retry.on_timer && rested;
        match kind {
            PassKind::Reopened => class.gates() || timer,
            PassKind::Flush => timer || (retry.on_flush && now >= last.after_ms(retry.floor_ms())),
            PassKind::Timer => timer || self.was_overwritten(now, index, slot),
            PassKind::Operator { .. } => true,
        }
    }

    /// Whether somebody may ask for the slot's data, and the floor between attempts is over: who has overwritten what was
    /// refused; and a write that waits for the device, which would have to wait for the longest backoff otherwise. That its data
    /// is newer than the refusal need not be asked: the refusal would have answered it. After a restart nobody could say.
    fn was_overwritten(&self, now: Instant, index: usize, slot: SlotId) -> bool {
        let status = self.cache.header(slot).status();
        let Some(class) = ErrorClass::from_u8(status.class) else { return false };
        let volume = &self.volumes[index];
        let retry = &volume.setup.rules.for_class(class).retry;
        let floor = retry.floor_ms();
        let asked = (retry.on_overwrite && self.failures.is_heir(slot))
            || self.waits.any_on(volume.id(), self.cache.header(slot).line());
        asked && now >= self.failures.last(slot).after_ms(floor)
    }
}
