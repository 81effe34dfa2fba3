//! Requests that were accepted and not yet answered.

use crate::places::Places;
use crate::{Instant, Request, SessionId, VolumeId};
use alloc::vec::Vec;
use holdfast_mutants::mutant;

/// The index of an accepted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(pub(crate) u32);

/// An accepted request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) request: Request,
    /// When it was accepted.
    pub(crate) since: Instant,
    /// Read: the next line to look up. Zeroes: the next line to zero.
    pub(crate) cursor: u64,
    /// Zeroes: the first whole line.
    pub(crate) first_zeroed: u64,
    /// The line after the last.
    pub(crate) end: u64,
    /// Lines or pieces that it waits for.
    pub(crate) remaining: u32,
    /// The first error, 0 if none.
    pub(crate) errno: u16,
    /// Zeroes: device operations of it that are in flight.
    pub(crate) chunks: u32,
    /// Zeroes: the device cannot, so they are written through the cache.
    pub(crate) fallback: bool,
    /// Writes: lines at the beginning that an earlier life has taken in.
    pub(crate) taken_before: u32,
    /// Its session is over, or it was answered with a timeout: nobody waits for the answer.
    pub(crate) orphan: bool,
    /// Something of it has happened, or is on its way: it cannot be withdrawn.
    pub(crate) begun: bool,
}

/// A fixed table of them.
pub(crate) struct Requests {
    entries: Vec<Option<Pending>>,
    /// Whose each of them is, or was: to find those of a session is a look at one word of each.
    sessions: Vec<SessionId>,
    free: Vec<u32>,
    /// Which of them the volumes have.
    places: Places,
    /// Those that have a timeout.
    timed: usize,
    /// Where the next look for those whose time is over begins.
    cursor: usize,
}

impl Requests {
    pub(crate) fn new(max: usize) -> Requests {
        let count = u32::try_from(max).expect("few requests");
        Requests {
            entries: alloc::vec![None; max],
            sessions: alloc::vec![SessionId(0); max],
            free: (0..count).rev().collect(),
            places: Places::new(max, 1),
            timed: 0,
            cursor: 0,
        }
    }

    pub(crate) fn add_volume(&mut self) {
        self.places.add_volume(0);
    }

    /// A volume goes, of which nothing is pending: its part is the others'.
    pub(crate) fn remove_volume(&mut self, volume: usize) {
        self.places.remove_volume(volume);
    }

    /// A volume comes under the number of one that went.
    pub(crate) fn replace_volume(&mut self, volume: usize) {
        self.places.replace_volume(volume);
    }

    /// Makes sure that so many volumes in all can be added without an allocation.
    pub(crate) fn reserve_volumes(&mut self, volumes: usize) {
        self.places.reserve_volumes(volumes);
    }

    /// How many volumes there are.
    #[inline]
    pub(crate) fn volumes(&self) -> usize {
        self.places.volumes()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.total()
    }

    /// Whether one more of a volume fits.
    #[inline]
    pub(crate) fn has_room(&self, volume: usize) -> bool {
        self.places.has_room(volume, 1)
    }

    /// # Panics
    /// If the table is full.
    pub(crate) fn insert(&mut self, pending: Pending) -> RequestId {
        let index = self.free.pop().expect("the shell asked whether there is room");
        self.sessions[index as usize] = pending.request.session;
        self.places.take(usize::from(pending.request.volume.0), 1);
        self.timed += usize::from(pending.request.timeout_ms > 0);
        self.entries[index as usize] = Some(pending);
        RequestId(index)
    }

    pub(crate) fn get(&self, id: RequestId) -> &Pending {
        self.entries[id.0 as usize].as_ref().expect("a request is named only while it is pending")
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> &mut Pending {
        self.entries[id.0 as usize].as_mut().expect("a request is named only while it is pending")
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Pending {
        let pending = self.entries[id.0 as usize].take().expect("a request is answered once");
        self.free.push(id.0);
        self.places.give_back(usize::from(pending.request.volume.0));
        self.timed -= usize::from(pending.request.timeout_ms > 0);
        pending
    }

    /// The next request whose time is over and that can be withdrawn. Looks at `left` requests at most, in turns at all.
    pub(crate) fn next_late(&mut self, now: Instant, left: &mut usize) -> Option<RequestId> {
        while *left > 0 && self.timed > 0 {
            *left -= 1;
            let at = self.cursor;
            self.cursor = if at + 1 < self.entries.len() { at + 1 } else { 0 };
            let late = |pending: &Pending| {
                let timeout_ms = u64::from(pending.request.timeout_ms);
                let withdrawable =
                    timeout_ms > 0 && !pending.orphan && (!pending.begun || mutant!(BegunIsWithdrawn));
                withdrawable && now >= pending.since.after_ms(timeout_ms)
            };
            if self.entries[at].as_ref().is_some_and(late) {
                return Some(RequestId(u32::try_from(at).expect("few requests")));
            }
        }
        None
    }

    /// Whether any is of this volume.
    pub(crate) fn any_of(&self, volume: VolumeId) -> bool {
        self.places.of(usize::from(volume.0)) > 0
    }

    /// Marks what a session that is over has pending.
    pub(crate) fn orphan(&mut self, session: SessionId) {
        for (at, _) in self.sessions.iter().enumerate().filter(|&(_, &other)| other == session) {
            if let Some(pending) = &mut self.entries[at] {
                pending.orphan = true;
            }
        }
    }
}
