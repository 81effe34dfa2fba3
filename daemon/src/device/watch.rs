//! Descriptors that a sleeping reactor is woken by: sessions' sockets and its own eventfd.

use super::uring::{KIND_IGNORED, KIND_SHIFT, KIND_WATCH, RESULTS_KEY};
use super::{Disk, DiskError, Reaped};
use io_uring::squeue::Entry;
use io_uring::{cqueue, opcode, types};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The places of watched descriptors. A place is used again at once, so what the kernel still says of its earlier
/// tenant must not be taken for a word of the new one: each tenancy has its own number.
pub(super) struct Watches {
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    tenancy: u32,
    tenant: Option<Tenant>,
}

/// A watched descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) key: u64,
    pub(super) fd: i32,
}

const TENANCY_BITS: u32 = 24;

impl Watches {
    pub(super) fn new(count: usize) -> Watches {
        Watches { places: vec![Place::default(); count].into_boxed_slice() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A place for a descriptor; its name fits [`TENANCY_BITS`] + 32 bits.
    pub(super) fn take(&mut self, tenant: Tenant) -> Option<u64> {
        let index = self.places.iter().position(|place| place.tenant.is_none())?;
        let place = &mut self.places[index];
        place.tenancy = (place.tenancy + 1) & ((1 << TENANCY_BITS) - 1);
        place.tenant = Some(tenant);
        Some(name(place.tenancy, index))
    }

    /// Whether a key is watched.
    pub(super) fn has(&self, key: u64) -> bool {
        self.index_of(key).is_some()
    }

    /// Frees the place of a key and tells its name.
    pub(super) fn leave(&mut self, key: u64) -> Option<u64> {
        let index = self.index_of(key)?;
        self.places[index].tenant = None;
        Some(name(self.places[index].tenancy, index))
    }

    fn index_of(&self, key: u64) -> Option<usize> {
        self.places.iter().position(|place| place.tenant.is_some_and(|tenant| tenant.key == key))
    }

    /// Who is meant by a name, if it is still there.
    pub(super) fn tenant(&self, name_of: u64) -> Option<Tenant> {
        let index = usize::try_from(name_of & u64::from(u32::MAX)).ok()?;
        let place = self.places.get(index)?;
        place.tenant.filter(|_| name(place.tenancy, index) == name_of)
    }
}

impl Disk {
    /// Watches a descriptor for something to read and for its end; each change comes as [`Reaped::Wake`] with `key`,
    /// until [`Disk::unwatch`], which must come before the descriptor is closed. Enters the kernel.
    ///
    /// # Errors
    /// [`DiskError::Watches`] if there is no place left; as [`Disk::enter`].
    ///
    /// # Panics
    /// If the key is watched already.
    pub fn watch(&mut self, fd: BorrowedFd<'_>, key: u64) -> Result<(), DiskError> {
        assert!(!self.watches.has(key), "key {key} is watched already");
        let tenant = Tenant { key, fd: fd.as_raw_fd() };
        let Some(name) = self.watches.take(tenant) else {
            return Err(DiskError::Watches { watches_max: self.watches.len() });
        };
        self.queue(poll(tenant, name));
        self.enter()
    }

    /// Ends a watch; does nothing if there is none. Enters the kernel.
    ///
    /// # Errors
    /// As [`Disk::enter`].
    pub fn unwatch(&mut self, key: u64) -> Result<(), DiskError> {
        let Some(name) = self.watches.leave(key) else { return Ok(()) };
        let entry = opcode::PollRemove::new(KIND_WATCH << KIND_SHIFT | name).build();
        self.queue(entry.user_data(KIND_IGNORED << KIND_SHIFT));
        self.enter()
    }

    /// What a word about a watch means; nothing if the watch is no more.
    pub(super) fn woken(&mut self, name: u64, entry: &cqueue::Entry) -> Option<Reaped> {
        let tenant = self.watches.tenant(name)?;
        // The kernel ends a watch when its queue was full once: it is renewed. One that it refuses is not, as it would
        // be refused again and again; whoever is woken finds out why from the descriptor.
        if !cqueue::more(entry.flags()) && entry.result() >= 0 {
            self.queue(poll(tenant, name));
        }
        if tenant.key == RESULTS_KEY {
            self.results.hush();
            return None;
        }
        Some(Reaped::Wake { key: tenant.key })
    }
}

fn poll(tenant: Tenant, name: u64) -> Entry {
    let events = libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    let events = u32::from(events.cast_unsigned());
    let entry = opcode::PollAdd::new(types::Fd(tenant.fd), events).multi(true).build();
    entry.user_data(KIND_WATCH << KIND_SHIFT | name)
}

fn name(tenancy: u32, index: usize) -> u64 {
    u64::from(tenancy) << 32 | index as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_word_about_an_earlier_tenant_names_nobody() {
        let mut watches = Watches::new(1);
        let first = watches.take(Tenant { key: 7, fd: 3 }).expect("a place");
        assert_eq!(watches.take(Tenant { key: 8, fd: 4 }), None, "there is one place");
        assert_eq!(watches.leave(7), Some(first));
        let second = watches.take(Tenant { key: 8, fd: 4 }).expect("the place again");
        assert_eq!(watches.tenant(first), None);
        assert_eq!(watches.tenant(second), Some(Tenant { key: 8, fd: 4 }));
        assert!(watches.has(8) && !watches.has(7));
        assert!(second >> (32 + TENANCY_BITS) == 0, "the name fits beside the kind");
    }
}
