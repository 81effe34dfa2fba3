//! One volume, as one reactor has it.

use crate::allowance::Allowance;
use crate::cache::Counts;
use crate::epochs::{Epochs, Stage};
use crate::failures::FailedList;
use crate::hit::Calm;
use crate::losses::Losses;
use crate::requests::RequestId;
use crate::torn::Torn;
use crate::written::Written;
use crate::{ByteRange, Geometry, Instant, LedgerSeq, Mode, SlotId, Token, VolumeSetup, VolumeStats};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use holdfast_policy::{ClassSet, DirtyIndex, ErrorClass};

/// Lines between two device flushes at most: 128 MiB of 4 KiB lines. Beyond, write-back pauses for a flush.
const WRITTEN_MAX: usize = 1 << 15;
/// Zeroed ranges between two device flushes at most.
pub(crate) const ZEROED_MAX: usize = 64;
/// Retries that operators may have waiting.
pub(crate) const COMMANDS_MAX: usize = 16;

/// The device refuses: only probes go out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub(crate) class: ErrorClass,
    pub(crate) errno: u16,
    /// Refusals in a row.
    pub(crate) attempts: u32,
    pub(crate) last: Instant,
    /// It was a device flush that failed: a probe has to survive one, too.
    pub(crate) from_flush: bool,
    pub(crate) probing: bool,
    /// An operator's retry or drain, or a flush, asked for a probe now.
    pub(crate) forced: bool,
    /// Refused data was overwritten since the last probe.
    pub(crate) overwritten: bool,
    /// A probe was accepted; a device flush is to show that all is well.
    pub(crate) proven: bool,
    /// Somebody asked for a probe when there was nothing to make one of, but something on its way to the device.
    pub(crate) asked: bool,
}

/// Why failed lines are tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PassKind {
    /// Their backoff is over.
    Timer,
    /// A flush wants to know; the floor between attempts holds.
    Flush,
    /// The device accepts again.
    Reopened,
    /// An operator says so.
    Operator { token: Token, first: u64, end: u64, classes: ClassSet },
}

/// A walk over the failed lines in LBA order, once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) kind: PassKind,
    pub(crate) cursor: u64,
    pub(crate) walked: bool,
    pub(crate) in_flight: u32,
    pub(crate) tried: u64,
}

/// How far a flush that cannot succeed has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FlushStage {
    /// Waiting for its epoch.
    Waiting,
    /// Parked until this time: the operator is given a chance.
    Parked { until: Instant },
    /// Entries for the ledger are being pushed: of lines in flight, from this line on. What begins to be written from
    /// now on is recorded then.
    RecordingBusy { cursor: u64 },
    /// The same, of what is written and waits for a device flush.
    RecordingWritten { position: u64 },
    /// The same, of what is dirty, from this line of the index on.
    Recording { cursor: u64 },
    /// The ledger was asked for the id.
    Asked { token: Token },
}

/// A flush that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushWait {
    pub(crate) request: RequestId,
    pub(crate) epoch: u32,
    /// The pass that must be over, if any line is failed.
    pub(crate) pass: u64,
    /// It has had its probe.
    pub(crate) probed: bool,
    pub(crate) stage: FlushStage,
    /// What it will be answered, once it is recorded.
    pub(crate) errno: u16,
}

/// Lines that the device zeroed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zeroed {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) epoch: u32,
    /// They were discarded: a device that can do that may not be able to write zeroes.
    pub(crate) discard: bool,
    /// The device flush that was asked for covers it.
    pub(crate) covered: bool,
    /// The device may have forgotten it: it is to be done again, and until then nobody touches the lines.
    pub(crate) redo: bool,
    /// A redo is in flight.
    pub(crate) busy: bool,
    /// A redo was refused at this time.
    pub(crate) refused: Option<Instant>,
    /// What the device said then.
    pub(crate) errno: u16,
    /// A device flush has covered it.
    pub(crate) stable: bool,
    /// How far what it heals has been told to the ledger.
    pub(crate) heal_cursor: u64,
    /// The same of the ledger's marks, which come off after.
    pub(crate) report_cursor: u64,
    /// When it was issued, in generations.
    pub(crate) generation: u64,
    /// Its place in the notes for a later life.
    pub(crate) note: usize,
}

impl Zeroed {
    /// Whether it waits for a device flush that covers this line.
    pub(crate) const fn is_unstable_over(&self, line: u64) -> bool {
        !self.stable && self.first <= line && line < self.end
    }
}

/// A slot on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CondemnedSlot {
    pub(crate) slot: SlotId,
    pub(crate) line: u64,
    pub(crate) generation: u64,
    pub(crate) seq: LedgerSeq,
}

/// A walk over what has failed, to ask the policy once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judging {
    /// The line to go on from.
    pub(crate) cursor: u64,
    /// Something that lies before it is to be judged, too.
    pub(crate) again: bool,
}

/// An operator's command that takes more than one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Retry {
        token: Token,
        first: u64,
        end: u64,
        classes: ClassSet,
    },
    /// Of the failed lines, or with `all` of all that are dirty.
    Drop {
        token: Token,
        cursor: u64,
        end: u64,
        bytes: u64,
        seq: LedgerSeq,
        all: bool,
    },
    /// A retry is over, but for the sweep over what waited behind a closed gate, and then for the device flush that covers
    /// the writes before `position`.
    Confirm {
        token: Token,
        tried: u64,
        sweeps: u64,
        position: Option<u64>,
        doubts: u64,
    },
    AckLoss {
        token: Token,
        cursor: u64,
        range: ByteRange,
        bytes: u64,
        seq: LedgerSeq,
    },
    Drain {
        token: Token,
        /// The gate was closed when nothing was left, and was asked to open.
        asked: bool,
    },
    Close(Closing),
    Detach {
        token: Token,
    },
}

/// A volume that is being closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) token: Token,
    /// Zeroes that the device refuses are given up.
    pub(crate) give_up: bool,
    /// The slot with which the next look for clean lines begins.
    pub(crate) cursor: usize,
    /// What the ledger must hold before it is over, if that is known.
    pub(crate) seq: Option<LedgerSeq>,
}

/// One volume.
pub(crate) struct Volume<'a> {
    pub(crate) setup: VolumeSetup<'a>,
    /// No operation of an earlier life is in flight: the device may be used.
    pub(crate) settled: bool,
    /// It takes no more requests: it is about to go, or gone.
    pub(crate) closing: bool,
    /// Since this entry of the ledger is pushed, its zeroes are on their way to be lost: none is done again.
    pub(crate) zeroes_given_up: Option<LedgerSeq>,
    /// There is no volume in this place.
    pub(crate) vacant: bool,
    /// Lines from here on may carry the ledger's mark of an earlier life although they are stable.
    pub(crate) recheck: Option<u64>,
    pub(crate) index: DirtyIndex<'a>,
    pub(crate) counts: Counts,
    /// What it may have of the budget, and what is known of it on other reactors.
    pub(crate) allowance: Allowance<'a>,
    pub(crate) epochs: Epochs,
    pub(crate) written: Written,
    /// When the oldest entry of `written` was pushed, as far as the age of unstable data matters.
    pub(crate) written_since: Option<Instant>,
    /// Entries before this position are stable.
    pub(crate) stable_before: u64,
    /// Entries before this position are covered by the device flush that was asked for.
    pub(crate) covered_before: u64,
    /// The verifier changed: what is written and not known to be stable is to be written again.
    pub(crate) redirty: bool,
    /// How often that happened.
    pub(crate) doubts: u64,
    pub(crate) zeroed: Vec<Zeroed>,
    pub(crate) torn: Torn,
    /// Zero operations in flight plus ranges to be redone: while 0, no request has to look for an overlap.
    pub(crate) fences: u32,
    pub(crate) zeroers: VecDeque<RequestId>,
    /// The zeroing request that waits for operations to end, with the lines that it wants next: nothing newer begins there.
    pub(crate) bar: Option<(RequestId, u64, u64)>,
    /// The zeroing request that waits for room, and since when: newer writes come after it.
    pub(crate) short_zeroes: Option<(RequestId, Instant)>,
    pub(crate) flushes: VecDeque<FlushWait>,
    /// Flushes that are being recorded.
    pub(crate) recordings: u32,
    /// The flush with which the next look at those that cannot succeed begins.
    pub(crate) flush_cursor: usize,
    pub(crate) stalled: VecDeque<RequestId>,
    pub(crate) gate: Option<Gate>,
    pub(crate) pass: Option<Pass>,
    /// Passes of kind [`PassKind::Flush`]: no other one tries all that a flush may try.
    pub(crate) flush_passes_begun: u64,
    pub(crate) flush_passes_done: u64,
    pub(crate) next_timer_pass: Instant,
    pub(crate) reopened: bool,
    pub(crate) failed: FailedList,
    /// Lines on the failed list by error class.
    pub(crate) failing: [u64; 8],
    pub(crate) losses: Losses,
    /// The last ledger entry that removed a loss or a report: a flush success waits until it is durable.
    pub(crate) healed: LedgerSeq,
    pub(crate) condemned: VecDeque<CondemnedSlot>,
    pub(crate) judging: Option<Judging>,
    pub(crate) tasks: VecDeque<Task>,
    pub(crate) sweep_cursor: u64,
    /// When the sweep was last at the first line.
    pub(crate) sweep_began: Instant,
    /// When the sweep may send its next run, if nobody waits for it.
    pub(crate) next_run: Instant,
    /// How often the sweep came round.
    pub(crate) sweeps: u64,
    pub(crate) probe_cursor: u64,
    pub(crate) dirty_since: Option<Instant>,
    pub(crate) next_overdue_check: Instant,
    pub(crate) ops: u32,
    pub(crate) stats: VolumeStats,
    pub(crate) calm: Calm,
    pub(crate) block_mask: u64,
    pub(crate) line_shift: u32,
    pub(crate) stripe_shift: u32,
}

impl<'a> Volume<'a> {
    pub(crate) fn new(setup: VolumeSetup<'a>, requests_max: usize) -> Volume<'a> {
        let room = setup.room_slots;
        Volume::with_room(setup, room, requests_max)
    }

    /// A volume that has no room yet.
    pub(crate) fn roomless(setup: VolumeSetup<'a>, requests_max: usize) -> Volume<'a> {
        Volume::with_room(setup, 0, requests_max)
    }

    fn with_room(setup: VolumeSetup<'a>, room: u64, requests_max: usize) -> Volume<'a> {
        let geometry = &setup.geometry;
        assert_eq!(setup.share.reactors(), geometry.reactors, "all reactors share a volume");
        let budget = setup.budget_slots;
        let allowance = Allowance::new(setup.share, geometry.reactor, budget, room);
        let most = setup.room_slots.min(budget);
        let written = usize::try_from(most).unwrap_or(WRITTEN_MAX).clamp(64, WRITTEN_MAX);
        Volume {
            settled: true,
            closing: false,
            zeroes_given_up: None,
            vacant: false,
            recheck: None,
            index: DirtyIndex::new(setup.index_lines, setup.index),
            counts: Counts::default(),
            allowance,
            epochs: Epochs::new(requests_max + 2),
            written: Written::new(written),
            written_since: None,
            stable_before: 0,
            covered_before: 0,
            redirty: false,
            doubts: 0,
            zeroed: Vec::with_capacity(ZEROED_MAX),
            torn: Torn::new(),
            fences: 0,
            zeroers: VecDeque::with_capacity(requests_max),
            bar: None,
            short_zeroes: None,
            flushes: VecDeque::with_capacity(requests_max),
            recordings: 0,
            flush_cursor: 0,
            stalled: VecDeque::with_capacity(requests_max),
            gate: None,
            pass: None,
            flush_passes_begun: 0,
            flush_passes_done: 0,
            next_timer_pass: Instant(0),
            reopened: false,
            failed: FailedList::default(),
            failing: [0; 8],
            losses: Losses::default(),
            healed: LedgerSeq(0),
            condemned: VecDeque::with_capacity(crate::condemn::CONDEMNED_MAX),
            judging: None,
            tasks: VecDeque::with_capacity(COMMANDS_MAX),
            sweep_cursor: 0,
            sweep_began: Instant(0),
            next_run: Instant(0),
            sweeps: 0,
            probe_cursor: 0,
            dirty_since: None,
            next_overdue_check: Instant(0),
            ops: 0,
            stats: VolumeStats::default(),
            calm: Calm::default(),
            block_mask: u64::from(geometry.block_bytes) - 1,
            line_shift: geometry.line_bytes.trailing_zeros(),
            stripe_shift: geometry.stripe_bytes.trailing_zeros(),
            setup,
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> u16 {
        self.setup.id.0
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.setup.geometry
    }

    /// Whether writes are answered only once the device has them.
    pub(crate) fn writes_through(&self) -> bool {
        use holdfast_policy::FailurePolicy;
        let policy = |gate: Gate| self.setup.rules.for_class(gate.class).policy;
        self.setup.mode == Mode::WriteThrough
            || self.allowance.through
            || self.gate.is_some_and(|gate| policy(gate).write_through_while_refused())
    }

    /// Lines on the failed list.
    pub(crate) fn failed_lines(&self) -> u64 {
        self.failing.iter().sum()
    }

    /// Whether lines have failed whose refusal speaks of the whole device.
    pub(crate) fn holds_gating_failures(&self) -> bool {
        ErrorClass::ALL.iter().any(|&class| class.gates() && self.failing[class as usize] > 0)
    }

    /// What the volume fails with, if it fails: the gate's class, else that of a failed line; a device that takes longer
    /// than its timeout fails like one that says so.
    pub(crate) fn failure_class(&self) -> Option<ErrorClass> {
        let failing = || ErrorClass::ALL.iter().copied().find(|&class| self.failing[class as usize] > 0);
        let hanging = || (self.stats.overdue > 0).then_some(ErrorClass::Transient);
        self.gate.map(|gate| gate.class).or_else(failing).or_else(hanging)
    }

    /// Whether everything that fails is out of space and held.
    pub(crate) fn only_space(&self) -> bool {
        let others = |class: &&ErrorClass| **class != ErrorClass::Space && self.failing[**class as usize] > 0;
        self.losses.is_empty()
            && !ErrorClass::ALL.iter().any(|class| others(&class))
            && self.gate.is_none_or(|gate| gate.class == ErrorClass::Space)
            && self.stats.overdue == 0
            && (self.gate.is_some() || self.failing[ErrorClass::Space as usize] > 0)
    }

    /// Everything that the device accepted since the last good flush, or is about to, is to be done again.
    pub(crate) fn doubt(&mut self) {
        self.redirty = true;
        self.covered_before = self.stable_before;
        self.doubts += 1;
        self.torn.doubt();
        for range in self.zeroed.iter_mut().filter(|range| !range.redo && !range.stable) {
            (range.redo, range.covered) = (true, false);
            self.epochs.moved(range.epoch, Stage::Written, Stage::Waiting);
            self.fences += 1;
        }
    }

    /// Whether zeroes that the device forgot may be done again: a refusal is waited out, if a flush waits no longer than
    /// the shortest floor between attempts.
    pub(crate) fn may_redo(&self, now: Instant, range: &Zeroed, pause_ms: u64) -> bool {
        let floors = self.setup.rules.as_slice().iter().map(|rule| rule.retry.floor_ms());
        let pause_ms = if self.flushes.is_empty() { pause_ms } else { floors.min().unwrap_or(pause_ms) };
        self.zeroes_given_up.is_none()
            && range.refused.is_none_or(|refused| now >= refused.after_ms(pause_ms))
    }

    /// Whether a fence lies over any of the lines.
    pub(crate) fn redo_overlaps(&self, first: u64, end: u64) -> bool {
        self.zeroed.iter().any(|range| range.redo && range.first < end && first < range.end)
    }

    /// What the device said when it refused to zero any of the lines again.
    pub(crate) fn refusal_over(&self, first: u64, end: u64) -> Option<u16> {
        let refused = |range: &&Zeroed| range.redo && range.refused.is_some();
        let mut refused = self.zeroed.iter().filter(refused);
        refused.find(|range| range.first < end && first < range.end).map(|range| range.errno)
    }

    /// Whether zeroes wait for their turn over any of the lines.
    pub(crate) fn is_barred(&self, first: u64, end: u64) -> bool {
        self.bar.is_some_and(|(_, from, to)| from < end && first < to)
    }

    /// A zeroing request does not wait, or not for this any more.
    pub(crate) fn lift_bar(&mut self, id: RequestId) {
        self.bar = self.bar.filter(|&(holder, ..)| holder != id);
    }

    /// Whether the device was to zero any of the lines and may still forget it.
    pub(crate) fn zeroed_overlaps(&self, first: u64, end: u64) -> bool {
        self.zeroed.iter().any(|range| !range.stable && range.first < end && first < range.end)
    }

    pub(crate) fn snapshot(&self, now: Instant) -> VolumeStats {
        use holdfast_policy::State;
        let gate = self.gate;
        VolumeStats {
            dirty: self.counts.of(State::Dirty) + self.counts.of(State::Incoming),
            writing: self.counts.of(State::Writing),
            unstable: self.counts.of(State::Unstable),
            failed: self.failed_lines(),
            lost: self.losses.len(),
            reported: self.index.reader().reported.count(),
            not_clean: self.counts.not_clean(),
            budget: self.setup.budget_slots,
            stalled_writes: self.stalled.len() as u64,
            waiting_flushes: self.flushes.len() as u64,
            parked_flushes: self
                .flushes
                .iter()
                .filter(|flush| matches!(flush.stage, FlushStage::Parked { .. }))
                .count() as u64,
            gate_class: gate.map_or(0, |gate| gate.class as u8),
            gate_errno: gate.map_or(0, |gate| gate.errno),
            next_probe_ms: self.next_probe().map_or(0, |due| due.since_ms(now)),
            ..self.stats
        }
    }

    /// When the gate's next probe is due by the timer.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        let gate = self.gate?;
        let retry = &self.setup.rules.for_class(gate.class).retry;
        if gate.probing || !retry.on_timer {
            return None;
        }
        // A backoff of a millisecond or two may round down to none.
        let backoff = retry.backoff_ms(gate.attempts, u64::from(self.id()) ^ gate.last.0);
        Some(gate.last.after_ms(backoff.max(retry.floor_ms())))
    }
}
