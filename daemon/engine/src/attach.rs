//! Volumes that come while the engine runs, and places without a volume.
//!
//! A volume is made where allocating is allowed, and moved into its place between two turns: to attach it allocates
//! nothing. Places are never closed up, because headers, operations and sessions know a volume by the number of its place.

use crate::domain::Domain;
use crate::engine::Engine;
use crate::volume::Volume;
use crate::{DomainId, Instant, Limits, Share, VolumeId, VolumeSetup};
use alloc::boxed::Box;
use core::mem;
use core::sync::atomic::AtomicU64;

/// The domain of a place without a volume.
pub(crate) const NO_DOMAIN: DomainId = DomainId(u16::MAX);

/// A volume that no engine has: on its way in, or left over.
pub struct LooseVolume<'a> {
    volume: Box<Volume<'a>>,
    /// For the case that the engine does not know the volume's domain.
    domain: Option<Domain>,
}

impl<'a> LooseVolume<'a> {
    /// A volume for [`Engine::attach`], with all the memory that it will need. Its room on the reactor begins at none and
    /// becomes [`VolumeSetup::room_slots`] as soon as the others leave so much.
    ///
    /// # Panics
    /// If its budget holds less than one request, or the index's storage is too small.
    pub fn new(setup: VolumeSetup<'a>, limits: &Limits) -> LooseVolume<'a> {
        let (budget, request) = (setup.budget_slots, limits.request_lines_max as u64);
        assert!(budget >= request, "a budget of {budget} slots does not hold a request of {request}");
        let domain = Some(Domain::new(setup.domain_owner, limits.reactors, Instant(0)));
        let mut volume = Volume::roomless(setup, limits.requests_max);
        volume.settled = false;
        LooseVolume { volume: Box::new(volume), domain }
    }

    /// Which place it is for.
    pub fn id(&self) -> VolumeId {
        self.volume.setup.id
    }
}

impl core::fmt::Debug for LooseVolume<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "LooseVolume({})", self.volume.setup.id.0)
    }
}

impl<'a> Engine<'a> {
    /// Makes sure that [`Engine::attach`] finds memory for so many places, and for a domain for each.
    pub fn reserve_places(&mut self, places: usize) {
        self.volumes.reserve_exact(places.saturating_sub(self.volumes.len()));
        self.domains.reserve_exact(places.saturating_sub(self.domains.len()));
        self.requests.reserve_volumes(places);
        self.waits.reserve_volumes(places);
        self.settled.reserve(self.waits.max() + places * self.limits.waits_least());
    }

    /// Adds a place without a volume, so that the volumes behind it keep their numbers. `share` and `index` are of no
    /// volume, and may be used for several such places.
    pub fn add_vacancy(&mut self, setup: VolumeSetup<'a>) {
        let id = self.volumes.len();
        assert_eq!(usize::from(setup.id.0), id, "places are numbered in order");
        self.requests.add_volume();
        self.waits.add_volume();
        self.volumes.push(Volume::roomless(setup, 0));
        self.vacate(id);
    }

    /// Puts a volume into its place: a vacant one, or the next. From then on the ledger's records of it may be restored
    /// ([`crate::Command::RestoreLoss`], [`crate::Command::RestoreReport`]); [`crate::Event::Settled`] ends that, and
    /// requests may come after. What was in the place comes back, to be freed where that may take its time.
    ///
    /// # Panics
    /// If the place is taken, or neither it nor the domain is known or next.
    pub fn attach(&mut self, now: Instant, loose: LooseVolume<'a>) -> Option<LooseVolume<'a>> {
        let LooseVolume { mut volume, mut domain } = loose;
        self.now = now;
        self.facts += 1;
        let (id, of) = (usize::from(volume.setup.id.0), usize::from(volume.setup.domain.0));
        assert!(of <= self.domains.len(), "domains are numbered in order");
        match self.domains.get_mut(of) {
            // Its count of requests and its verifier go on: words of other reactors may speak of them.
            Some(_) => {}
            None => self.domains.push(domain.take().expect("a loose volume has one")),
        }
        // Until the volume is settled no flush of the domain is asked for: what waits for one has waited since now.
        let state = &mut self.domains[of];
        if !state.outstanding {
            state.asked = now;
        }
        // What refused operations of an earlier life left on the device may go away until a flush.
        volume.torn.add(0, volume.setup.geometry.local_lines(), now);
        volume.recheck = Some(0);
        self.rooms_settled = false;
        if id == self.volumes.len() {
            self.requests.add_volume();
            self.waits.add_volume();
            self.volumes.push(*volume);
            return None;
        }
        assert!(self.volumes[id].vacant, "place {id} has a volume");
        self.requests.replace_volume(id);
        self.waits.replace_volume(id);
        mem::swap(&mut self.volumes[id], &mut *volume);
        Some(LooseVolume { volume, domain })
    }

    /// Takes a volume out of its place, of which nothing is left: what remains is a husk that nothing looks at.
    pub(crate) fn vacate(&mut self, index: usize) {
        self.facts += 1;
        self.rooms_settled = false;
        self.requests.remove_volume(index);
        self.waits.remove_volume(index);
        let volume = &mut self.volumes[index];
        (volume.vacant, volume.closing, volume.settled) = (true, true, false);
        volume.setup.domain = NO_DOMAIN;
        (volume.redirty, volume.gate, volume.recheck) = (false, None, None);
        (volume.pass, volume.judging, volume.dirty_since) = (None, None, None);
        volume.torn.forget();
        volume.losses = crate::losses::Losses::default();
        volume.stats = crate::VolumeStats::default();
        volume.allowance.leave();
    }
}

/// What stands in a vacant place: no budget, one line, no domain.
pub const fn vacancy<'a>(
    id: VolumeId,
    geometry: crate::Geometry,
    rules: holdfast_policy::Rules,
    share: &'a Share,
    index: &'a [AtomicU64],
) -> VolumeSetup<'a> {
    VolumeSetup {
        id,
        geometry,
        domain: NO_DOMAIN,
        domain_owner: 0,
        mode: crate::Mode::WriteBack,
        budget_slots: 0,
        room_slots: 0,
        share,
        rules,
        flush_on_failure: crate::FlushOnFailure::Report,
        parked_flushes_max: 0,
        io_timeout_ms: 1_000,
        write_back_from: 1000,
        write_back_after_ms: 1_000,
        index_lines: geometry.local_lines(),
        index,
    }
}
