//! Wakes others by their eventfds without ever waiting for them.
//!
//! The descriptor is one that a peer shares, who can fill its counter and make it blocking: a plain `write` would then
//! hold the reactor up for good (C12). So the kernel's ring writes: at once where the descriptor does not block, and
//! otherwise on a worker thread of the kernel's. Each bell has one write under way at most, however often it is rung.

use super::Disk;
use super::uring::{KIND_BELL, KIND_IGNORED, KIND_SHIFT};
use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

static ONE: [u8; 8] = 1u64.to_ne_bytes();

/// The bells of a reactor. A place is used again once the kernel has let go of its descriptor.
#[derive(Default)]
pub(super) struct Bells {
    places: Vec<Option<Bell>>,
}

struct Bell {
    file: Arc<OwnedFd>,
    ringing: bool,
    /// It was rung while it was ringing.
    again: bool,
    /// Nobody wants it any more.
    gone: bool,
}

impl Disk {
    /// A bell that writes to an eventfd; its name. Not for the hot path.
    pub fn add_bell(&mut self, file: Arc<OwnedFd>) -> usize {
        let bell = Some(Bell { file, ringing: false, again: false, gone: false });
        let places = &mut self.bells.places;
        match places.iter().position(Option::is_none) {
            Some(free) => {
                places[free] = bell;
                free
            }
            None => {
                places.push(bell);
                places.len() - 1
            }
        }
    }

    /// Rings a bell with the next [`Disk::enter`].
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn ring_bell(&mut self, bell: usize) {
        let place = self.bells.places[bell].as_mut().expect("a bell that was added");
        if place.ringing {
            place.again = true;
            return;
        }
        place.ringing = true;
        let entry = write(bell, place.file.as_raw_fd());
        self.queue(entry);
    }

    /// Takes a bell away. What is under way is cancelled, and its descriptor closed when the kernel is done with it.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn remove_bell(&mut self, bell: usize) {
        let place = &mut self.bells.places[bell];
        let under_way = place.as_ref().expect("a bell that was added").ringing;
        if !under_way {
            *place = None;
            return;
        }
        place.as_mut().expect("looked at above").gone = true;
        let entry = opcode::AsyncCancel::new(KIND_BELL << KIND_SHIFT | bell as u64).build();
        self.queue(entry.user_data(KIND_IGNORED << KIND_SHIFT));
    }

    /// The kernel is done with a bell's write. Whether it worked is the peer's concern.
    pub(super) fn rung(&mut self, bell: u64) {
        let bell = usize::try_from(bell).expect("the name that was submitted");
        let place = &mut self.bells.places[bell];
        let known = place.as_mut().expect("a bell stays until its write is over");
        known.ringing = false;
        if known.gone {
            *place = None;
        } else if std::mem::take(&mut known.again) {
            self.ring_bell(bell);
        }
    }
}

fn write(bell: usize, file: i32) -> Entry {
    let length = u32::try_from(ONE.len()).expect("eight");
    let entry = opcode::Write::new(types::Fd(file), ONE.as_ptr(), length).build();
    entry.user_data(KIND_BELL << KIND_SHIFT | bell as u64)
}
