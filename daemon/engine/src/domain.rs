//! Flush domains: one device flush covers all volumes of a device or file system, on all reactors.

use crate::engine::Engine;
use crate::ops::{Op, Purpose};
use crate::{Actions, DomainId, Instant, Io, IoKind, PeerMessage, VolumeId};
use alloc::vec::Vec;
use holdfast_mutants::mutant;
use holdfast_policy::class_of_errno;

/// A domain, as one reactor has it: what it asked for; and, if it is the owner, what it does for all.
pub(crate) struct Domain {
    pub(crate) owner: u32,
    /// Advances whenever something that was written may not be there any more.
    pub(crate) verifier: u64,
    /// This reactor's last request.
    number: u64,
    /// It is not answered yet.
    pub(crate) outstanding: bool,
    /// Since when; before the first one, when this life began.
    pub(crate) asked: Instant,
    /// Owner: a flush is in flight.
    in_flight: bool,
    /// Owner: who waits for the next one.
    waiting: Vec<(u32, u64)>,
    /// Owner: who gets the answer of the one in flight.
    serving: Vec<(u32, u64)>,
}

impl Domain {
    pub(crate) fn new(owner: u32, reactors: u32, now: Instant) -> Domain {
        Domain {
            owner,
            verifier: 1,
            number: 0,
            outstanding: false,
            asked: now,
            in_flight: false,
            waiting: Vec::with_capacity(reactors as usize + 1),
            serving: Vec::with_capacity(reactors as usize + 1),
        }
    }

    /// Whether nothing is asked for here, and nothing in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.outstanding && !self.in_flight && self.waiting.is_empty()
    }
}

impl Engine<'_> {
    /// Asks for a device flush that covers everything written by now; none may be outstanding.
    pub(crate) fn want_flush(&mut self, now: Instant, domain: DomainId, out: &mut Actions) {
        let id = usize::from(domain.0);
        for volume in self.volumes.iter_mut().filter(|volume| volume.setup.domain == domain) {
            volume.covered_before = volume.written.tail();
            volume.torn.cover(now);
            for range in volume.zeroed.iter_mut().filter(|range| !range.redo) {
                range.covered = true;
            }
        }
        let state = &mut self.domains[id];
        assert!(!state.outstanding, "a device flush is outstanding");
        state.outstanding = true;
        state.asked = now;
        state.number += 1;
        let (owner, number) = (state.owner, state.number);
        if owner == self.limits.reactor {
            self.flush_wanted(now, domain, owner, number, out);
        } else {
            out.peers.push((owner, PeerMessage::FlushWanted { domain, number }));
        }
    }

    /// Whether nothing of an earlier life is in flight for any volume of the domain. Until then no flush is asked for: a flush
    /// of the dead daemon acts on all of them, and if it fails, the device may lose what this life has written and say so to
    /// nobody.
    pub(crate) fn is_settled(&self, domain: DomainId) -> bool {
        let mut volumes = self.volumes.iter().filter(|volume| volume.setup.domain == domain);
        volumes.all(|volume| volume.settled) || mutant!(NeighboursFlushIsNoFence)
    }

    /// The owner's part: a request never joins a flush that has begun. One that arrives when the domain's last volume has been
    /// let go here comes from a reactor that has nothing left to be flushed, and is told that there was no flush.
    pub(crate) fn flush_wanted(
        &mut self,
        now: Instant,
        domain: DomainId,
        from: u32,
        number: u64,
        out: &mut Actions,
    ) {
        let here = self.volumes.iter().any(|volume| volume.setup.domain == domain);
        let state = &mut self.domains[usize::from(domain.0)];
        if !here {
            let (errno, verifier) = (holdfast_policy::errno::ENXIO, state.verifier);
            return out.peers.push((from, PeerMessage::Flushed { domain, number, errno, verifier }));
        }
        if mutant!(FlushIsJoined) && state.in_flight {
            return state.serving.push((from, number));
        }
        state.waiting.push((from, number));
        self.start_flush(now, domain, out);
    }

    /// Issues the domain's flush if somebody waits, none is in flight and an operation is free.
    pub(crate) fn start_flush(&mut self, now: Instant, domain: DomainId, out: &mut Actions) {
        let state = &mut self.domains[usize::from(domain.0)];
        if state.in_flight || state.waiting.is_empty() || self.ops.free() == 0 {
            return;
        }
        // Any volume of the domain whose device may be used; one that goes away only if there is no other.
        let usable = |volume: &&crate::volume::Volume<'_>| volume.setup.domain == domain && volume.settled;
        let usable = self.volumes.iter().filter(usable).min_by_key(|volume| volume.closing);
        let Some(volume) = usable.map(|volume| volume.id()) else { return };
        state.in_flight = true;
        core::mem::swap(&mut state.waiting, &mut state.serving);
        let op = self.ops.insert(Op::new(Purpose::Flush, volume, 0, 0, now));
        out.ios.push(Io {
            op,
            volume: VolumeId(volume),
            kind: IoKind::Flush,
            offset: 0,
            length: 0,
            first_segment: 0,
            segments: 0,
        });
    }

    /// A device flush ended.
    pub(crate) fn flush_completed(&mut self, now: Instant, op: Op, result: i32, out: &mut Actions) {
        let domain = self.volumes[usize::from(op.volume)].setup.domain;
        let errno = errno_of(result);
        let volume = &mut self.volumes[usize::from(op.volume)];
        match errno {
            0 => volume.stats.device_flushes += 1,
            _ => volume.stats.device_flushes_failed += 1,
        }
        let state = &mut self.domains[usize::from(domain.0)];
        state.in_flight = false;
        // The owner's own verifier advances with its own answer below, so that it takes the same road as the others'.
        let verifier = state.verifier + u64::from(errno != 0);
        let mut serving = core::mem::take(&mut state.serving);
        for &(from, number) in &serving {
            if from == self.limits.reactor {
                self.flushed(now, domain, number, errno, verifier, out);
            } else {
                out.peers.push((from, PeerMessage::Flushed { domain, number, errno, verifier }));
            }
        }
        if errno != 0 && !mutant!(FailedFlushIsForgotten) {
            self.domains[usize::from(domain.0)].verifier = verifier;
            self.doubt(domain);
        }
        serving.clear();
        self.domains[usize::from(domain.0)].serving = serving;
        self.start_flush(now, domain, out);
    }

    /// This reactor's request for a device flush is answered.
    pub(crate) fn flushed(
        &mut self,
        now: Instant,
        domain: DomainId,
        number: u64,
        errno: u16,
        verifier: u64,
        out: &mut Actions,
    ) {
        let id = usize::from(domain.0);
        if self.domains[id].number != number {
            return;
        }
        self.domains[id].outstanding = false;
        let unchanged = self.domains[id].verifier == verifier || mutant!(VerifierIsIgnored);
        if errno == 0 && unchanged {
            self.settle_domain(now, domain);
            return;
        }
        self.domains[id].verifier = verifier;
        if !mutant!(FailedFlushIsForgotten) {
            self.doubt(domain);
        }
        if errno != 0 {
            self.flush_refused(now, domain, errno, out);
        }
    }

    /// What the flush covered is stable. A gate that a failed flush had closed opens.
    fn settle_domain(&mut self, now: Instant, domain: DomainId) {
        for index in 0..self.volumes.len() {
            let volume = &mut self.volumes[index];
            if volume.setup.domain != domain {
                continue;
            }
            if !volume.redirty {
                volume.stable_before = volume.stable_before.max(volume.covered_before);
            }
            if volume.gate.is_some_and(|gate| gate.from_flush && !gate.probing) {
                self.open_gate(now, index);
            }
            self.volumes[index].torn.settle();
            self.settle_zeroed(index);
        }
    }

    /// Everything written since the last good flush is dirty again.
    pub(crate) fn doubt(&mut self, domain: DomainId) {
        for volume in self.volumes.iter_mut().filter(|volume| volume.setup.domain == domain) {
            volume.doubt();
        }
    }

    /// The device was reopened, reset or replaced. The owner counts it and tells the others; they may have heard of it
    /// before, so that only the owner's count moves and their next flush shows a difference.
    pub(crate) fn device_changed(&mut self, domain: DomainId, out: &mut Actions) {
        // A volume that is on its way in may have come to the other reactors first: what is written to it comes after this.
        let Some(state) = self.domains.get_mut(usize::from(domain.0)) else { return };
        if state.owner == self.limits.reactor {
            state.verifier += 1;
            let others = (0..self.limits.reactors).filter(|&other| other != self.limits.reactor);
            out.peers.extend(others.map(|other| (other, PeerMessage::DeviceChanged { domain })));
        }
        if !mutant!(ResetIsForgotten) {
            self.doubt(domain);
        }
    }

    fn flush_refused(&mut self, now: Instant, domain: DomainId, errno: u16, out: &mut Actions) {
        let class = class_of_errno(errno);
        for index in 0..self.volumes.len() {
            if self.volumes[index].setup.domain == domain {
                self.close_gate(now, index, class, errno, true);
                self.fail_waits(index, errno, out);
            }
        }
    }
}

/// The errno of an io_uring result, 0 if it is none.
pub(crate) fn errno_of(result: i32) -> u16 {
    if result >= 0 { 0 } else { u16::try_from(result.unsigned_abs()).unwrap_or(holdfast_policy::errno::EIO) }
}
