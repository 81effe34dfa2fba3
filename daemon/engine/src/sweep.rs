//! The sweep: dirty lines in LBA order, as runs.

use crate::engine::Engine;
use crate::ops::Purpose;
use crate::volume::Task;
use crate::writeback::Manner;
use crate::{Actions, Instant};
use holdfast_mutants::mutant;
use holdfast_policy::{Cause, Search, State, Want};

/// Runs that one volume sends a turn at most, so that others get theirs.
const RUNS_A_TURN: usize = 8;
/// Headers that the hand passes in the time of one step: they lie in a row.
const HEADERS_A_STEP: usize = 8;
/// Milliseconds between two looks for operations that take too long.
const OVERDUE_CHECK_MS: u64 = 10;

impl Engine<'_> {
    /// Sends dirty runs, if the volume has a reason to and its device takes them.
    pub(crate) fn sweep(&mut self, now: Instant, index: usize, out: &mut Actions) {
        let closed = self.volumes[index].gate.is_some() && !mutant!(GateIsOpen);
        let Some(spread_ms) = self.spread_ms(now, index).filter(|_| !closed) else { return };
        let mut wrapped = false;
        for _ in 0..RUNS_A_TURN {
            let volume = &mut self.volumes[index];
            if self.ops.free() <= 1 || !self.ledger.has_room(128) || !out.has_room(&self.limits) {
                return;
            }
            if volume.sweep_cursor == 0 {
                volume.sweep_began = now;
            }
            out.count(1);
            let max = self.limits.run_lines_max as u64;
            match volume.index.search(Want::Writable, volume.sweep_cursor, max, 256) {
                Search::Found(run) => {
                    let count = self.start_write(now, index, run.first, run.count, Manner::default(), out);
                    if count == 0 && !self.may_submit(index) {
                        return;
                    }
                    let volume = &mut self.volumes[index];
                    let barred = volume.bar.filter(|&(_, from, to)| (from..to).contains(&run.first));
                    let behind = barred.map_or(run.first + 1, |(.., to)| to);
                    volume.sweep_cursor = if count > 0 { run.first + count } else { behind };
                    if !volume.may_send_more(now, count, spread_ms) {
                        return;
                    }
                }
                Search::Paused { from } => volume.sweep_cursor = from,
                Search::End => {
                    volume.sweep_cursor = 0;
                    volume.sweeps += 1;
                    let left = volume.index.dirty.count() > volume.index.failed.count();
                    // What is left came behind the cursor.
                    volume.dirty_since = left.then_some(volume.sweep_began);
                    if wrapped || spread_ms > 0 {
                        return;
                    }
                    wrapped = true;
                }
            }
        }
    }

    /// Keeps slots free, by dropping clean lines that were not used lately.
    pub(crate) fn evict(&mut self, out: &mut Actions) {
        let target = u64::from(self.limits.reserve_slots);
        let headers = HEADERS_A_STEP * self.limits.steps_max();
        let mut left = headers;
        for _ in 0..self.limits.steps_max() {
            if self.cache.free() >= target {
                break;
            }
            let Some(slot) = self.cache.next_victim(&mut left) else { break };
            out.count(1);
            let volume = usize::from(self.cache.header(slot).volume());
            self.cache.evict(&mut self.volumes[volume].counts, slot);
        }
        out.count((headers - left) / HEADERS_A_STEP);
    }

    /// Marks operations that take longer than their volume's timeout: they count as failing from then on.
    pub(crate) fn mark_overdue(&mut self, now: Instant, index: usize) {
        let volume = &mut self.volumes[index];
        if now < volume.next_overdue_check {
            return;
        }
        volume.next_overdue_check = now.after_ms(OVERDUE_CHECK_MS);
        let (id, timeout) = (volume.id(), volume.setup.io_timeout_ms);
        let mut overdue = 0;
        for op in self.ops.iter_mut().filter(|op| op.volume == id) {
            op.overdue = now.since_ms(op.submitted) >= timeout;
            overdue += u64::from(op.overdue);
            if mutant!(OverdueGivesItsLineUp) && op.overdue {
                volume.index.busy.clear_range(op.first, op.count as u64);
            }
        }
        volume.stats.overdue = overdue;
    }

    /// Asks for device flushes that are due.
    pub(crate) fn tick_domains(&mut self, now: Instant, out: &mut Actions) {
        for id in 0..self.domains.len() {
            let domain = crate::DomainId(u16::try_from(id).expect("few domains"));
            if !self.domains[id].outstanding && self.wants_flush(now, domain) && self.is_settled(domain) {
                self.want_flush(now, domain, out);
            }
            self.start_flush(now, domain, out);
        }
    }

    fn wants_flush(&self, now: Instant, domain: crate::DomainId) -> bool {
        let of_domain = |volume: &&crate::volume::Volume<'_>| volume.setup.domain == domain;
        // After a refused flush, one volume of the domain whose device accepts again is proof enough for another; and one
        // that has no gate, because its device has accepted since, need not wait for one whose probe hangs (seed 3051).
        let gates = || self.volumes.iter().filter(of_domain).filter_map(|volume| volume.gate);
        let refused = gates().any(|gate| gate.from_flush) && !gates().any(|gate| gate.proven);
        let may_ask = |volume: &&crate::volume::Volume<'_>| {
            !refused || (volume.gate.is_none() && !mutant!(NeighbourHoldsFlush))
        };
        let mut volumes = self.volumes.iter().filter(of_domain).filter(may_ask);
        volumes.any(|volume| self.volume_wants_flush(now, volume))
    }

    fn volume_wants_flush(&self, now: Instant, volume: &crate::volume::Volume<'_>) -> bool {
        use crate::epochs::Stage;
        if volume.gate.is_some_and(|gate| gate.proven) {
            return true;
        }
        let fresh_zeroes = volume.zeroed.iter().filter(|range| !range.redo && !range.stable).count();
        if volume.redirty {
            return false;
        }
        if volume.torn.since().is_some_and(|since| now >= since.after_ms(self.limits.flush_after_ms)) {
            return true;
        }
        if volume.written.tail() <= volume.stable_before && fresh_zeroes == 0 {
            return false;
        }
        let bucket = volume.epochs.oldest();
        let moving = bucket.at(Stage::Writing) > 0 && volume.stats.overdue == 0;
        let waiting = bucket.at(Stage::Waiting) > 0 && volume.gate.is_none();
        let flush = !volume.flushes.is_empty() && bucket.at(Stage::Written) > 0 && !moving && !waiting;
        let old = volume.written_since.is_some_and(|since| now >= since.after_ms(self.limits.flush_after_ms));
        let large = volume.written.len() * 2 >= volume.written.capacity()
            || fresh_zeroes * 2 >= crate::volume::ZEROED_MAX;
        let idle = volume.counts.of(State::Writing) == 0;
        let wanted = !volume.stalled.is_empty()
            || volume.short_zeroes.is_some()
            || volume.allowance.short_elsewhere
            || !self.parked.is_empty()
            || self.waits.any_of(volume.id())
            || volume.tasks.iter().any(|task| matches!(task, Task::Drain { .. } | Task::Confirm { .. }));
        let zeroes_age = fresh_zeroes > 0
            && volume.written_since.is_none_or(|since| now >= since.after_ms(self.limits.flush_after_ms));
        flush || old || large || (idle && wanted) || zeroes_age
    }

    /// A device operation ended.
    pub(crate) fn completed(&mut self, now: Instant, op: crate::OpId, result: i32, out: &mut Actions) {
        let ended = self.ops.get(op);
        if ended.overdue {
            // It hangs no more. The next look may be far off, where there is nothing left to do.
            self.volumes[usize::from(ended.volume)].next_overdue_check = now;
        }
        match ended.purpose {
            Purpose::Fill => self.fill_completed(now, op, result, out),
            Purpose::WriteBack => self.write_completed(now, op, result, out),
            Purpose::Zero => self.zero_completed(now, op, result, out),
            Purpose::Flush => {
                let op = self.ops.remove(op);
                self.flush_completed(now, op, result, out);
            }
        }
    }

    /// Drops what a line holds, because zeroes have superseded it.
    pub(crate) fn drop_line(&mut self, index: usize, line: u64) -> Option<u32> {
        let volume = &mut self.volumes[index];
        let slot = self.cache.newest(volume.id(), line)?;
        let status = self.cache.header(slot).status();
        let epoch = self.cache.link(slot);
        let obligation = match status.state {
            State::Dirty | State::Failed | State::Condemned => {
                volume.epochs.remove(epoch, crate::write::stage_of(status));
                Some(epoch)
            }
            State::Unstable => Some(epoch),
            _ => None,
        };
        if status.attempts > 0 {
            self.failures.remove(&mut volume.failed, slot);
            volume.failing[usize::from(status.class)] -= 1;
        }
        volume.index.dirty.clear(line);
        volume.index.failed.clear(line);
        self.cache.unmap(slot);
        self.cache.pass(&mut volume.counts, slot, Cause::Dropped);
        obligation
    }
}
