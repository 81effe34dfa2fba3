//! The volumes of a reactor's disk, and the way of their operations that the ring would have to wait for.

use super::faults::FaultGate;
use super::grow::Kept;
use super::lane::{Job, Lane};
use super::{Backing, Disk, DiskError, Faults, Thin};
use holdfast_engine::{IoKind, OpId, VolumeId};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Writes one after the other that the ring would have had to wait for, after which the next ones are not tried there: on a file
/// that is sparse, all of them allocate.
const REFUSALS: u32 = 4;
/// How many are not tried.
const DETOURS: u32 = 64;

/// What a lane is made with.
pub(super) struct LaneOptions {
    pub(super) operations: usize,
    pub(super) threads_max: u32,
    /// Where its threads run; anywhere, if there are none.
    pub(super) cores: Vec<usize>,
}

/// A volume's device, as a reactor has it.
pub(super) struct Attached {
    /// None while it is let go of.
    pub(super) backing: Option<Kept>,
    pub(super) thin: Option<Arc<Thin>>,
    pub(super) faults: Option<FaultGate>,
    way: Option<Detour>,
}

/// The way round the ring.
struct Detour {
    lane: Lane,
    /// It has something to do that it was not told of.
    waits: bool,
    /// Writes since the last one that the ring has done.
    refusals: u32,
    /// Writes that are not tried there.
    left: u32,
}

impl Attached {
    /// The device, if the ring is to be tried; an operation that may wait, or probably would, is not for it.
    pub(super) fn file_for_ring(&mut self, kind: IoKind) -> Option<Arc<OwnedFd>> {
        let backing = self.backing.as_ref().filter(|backing| !backing.may_wait)?;
        match kind {
            IoKind::Flush | IoKind::Zero | IoKind::Discard => return None,
            IoKind::Read => {}
            IoKind::Write => {
                if let Some(way) = self.way.as_mut().filter(|way| way.left > 0) {
                    way.left -= 1;
                    return None;
                }
            }
        }
        Some(backing.file())
    }
}

impl Disk {
    /// Takes a volume's backing, and the faults that may be injected, if any may.
    ///
    /// # Errors
    /// [`DiskError::Attach`].
    ///
    /// # Panics
    /// If the volume has one already, or is not below `volumes_max`.
    pub fn attach(
        &mut self,
        volume: VolumeId,
        backing: &Backing,
        faults: Option<Arc<Faults>>,
    ) -> Result<(), DiskError> {
        let way = Some(self.way_round(volume, backing)?);
        let (thin, faults) = (backing.thin().cloned(), faults.map(FaultGate::new));
        self.place(volume, Attached { backing: Some(Kept::of(backing)), thin, faults, way });
        Ok(())
    }

    /// The same for a volume whose backing comes with [`Disk::exchange`], and has no limit of space. Until then every operation
    /// ends with ENODEV.
    ///
    /// # Panics
    /// As [`Disk::attach`].
    pub fn attach_later(&mut self, volume: VolumeId, faults: Option<Arc<Faults>>) {
        let faults = faults.map(FaultGate::new);
        self.place(volume, Attached { backing: None, thin: None, faults, way: None });
    }

    fn place(&mut self, volume: VolumeId, attached: Attached) {
        let before = self.volumes[usize::from(volume.0)].replace(attached);
        assert!(before.is_none(), "volume {} is attached twice", volume.0);
    }

    /// Ends what [`Disk::attach`] began: the disk does not keep the backing any more.
    ///
    /// # Panics
    /// If the volume is not attached, or has an operation in flight.
    pub fn detach(&mut self, volume: VolumeId) {
        let busy = self.ops.iter().flatten().any(|op| op.volume == volume);
        assert!(!busy, "volume {} is detached with operations in flight", volume.0);
        let attached = self.volumes[usize::from(volume.0)].take();
        let attached = attached.unwrap_or_else(|| panic!("volume {} is not attached", volume.0));
        if let Some(way) = attached.way {
            way.lane.close();
        }
    }

    /// Lets go of a volume's backing, or takes another one in its place: the same device, opened again. Without one, every
    /// operation ends with ENODEV. What is in flight goes on and keeps the old description, with its lock, until it ends.
    ///
    /// # Errors
    /// [`DiskError::Attach`]; then it is let go of.
    ///
    /// # Panics
    /// If the volume was never attached.
    pub fn exchange(&mut self, volume: VolumeId, backing: Option<&Backing>) -> Result<(), DiskError> {
        let way = backing.map(|backing| self.way_round(volume, backing)).transpose();
        let (way, exchanged) = match way {
            Ok(way) => (way, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let place = self.volumes[usize::from(volume.0)].as_mut().expect("the volume is attached");
        place.backing = backing.filter(|_| exchanged.is_ok()).map(Kept::of);
        if let Some(before) = std::mem::replace(&mut place.way, way) {
            before.lane.end();
        }
        exchanged
    }

    fn way_round(&self, volume: VolumeId, backing: &Backing) -> Result<Detour, DiskError> {
        let LaneOptions { operations, threads_max, cores } = &self.lanes;
        let lane = Lane::start(&backing.fd, &self.results, *operations, *threads_max, cores);
        let lane = lane.map_err(|source| DiskError::Attach { volume: volume.0, source })?;
        Ok(Detour { lane, waits: false, refusals: 0, left: 0 })
    }

    /// Whether the ring has given an operation back because it would have had to wait; what is learned from it.
    pub(super) fn would_wait(&mut self, op: OpId, result: i32) -> bool {
        let tried = self.ops[op.0 as usize].as_mut().expect("only what was submitted completes, once");
        let attached = self.volumes[usize::from(tried.volume.0)].as_mut().expect("it was attached at submit");
        let writes = tried.kind == IoKind::Write;
        let Some(way) = attached.way.as_mut() else { return false };
        if result >= 0 {
            way.refusals = if writes { 0 } else { way.refusals };
            return false;
        }
        let unknown = match Errno::from_raw_os_error(-result) {
            Errno::AGAIN => false,
            // Its file system does not know how not to wait.
            Errno::OPNOTSUPP => true,
            _ => return false,
        };
        if let Some(backing) = attached.backing.as_mut().filter(|_| unknown) {
            backing.may_wait = true;
        }
        tried.in_ring = None;
        if writes {
            way.refusals += 1;
            if way.refusals >= REFUSALS {
                // One more refusal, and the next ones are not tried either.
                (way.refusals, way.left) = (REFUSALS - 1, DETOURS);
            }
        }
        true
    }

    /// Sends an operation round the ring.
    pub(super) fn detour(&mut self, op: OpId) {
        let asked = self.ops[op.0 as usize].as_ref().expect("it is in flight");
        let volume = asked.volume;
        let attached = self.volumes[usize::from(volume.0)].as_mut().expect("it was attached at submit");
        let Some(way) = &mut attached.way else {
            // Its device was let go of meanwhile.
            return self.end(op, -Errno::NODEV.raw_os_error());
        };
        let (vector, parts) = self.vectors.of(op);
        let (kind, offset, length) = (asked.kind, asked.offset, asked.length);
        way.lane.push(Job { op, kind, offset, length, vector, parts });
        if !std::mem::replace(&mut way.waits, true) {
            self.uncalled.push(volume);
        }
    }

    /// Tells lanes of what was left with them: a system call for each that has something.
    pub(super) fn call_lanes(&mut self) {
        for volume in self.uncalled.drain(..) {
            let attached = self.volumes[usize::from(volume.0)].as_mut();
            if let Some(way) = attached.and_then(|attached| attached.way.as_mut()) {
                way.waits = false;
                way.lane.call();
            }
        }
    }
}

impl Drop for Disk {
    /// What is in flight goes on: its memory stays, and its device is locked until it has ended.
    fn drop(&mut self) {
        let idle = self.in_flight() == 0;
        if !idle {
            self.vectors.leave_behind();
        }
        for attached in self.volumes.iter_mut().flatten() {
            match attached.way.take() {
                Some(way) if idle => way.lane.close(),
                Some(way) => way.lane.end(),
                None => {}
            }
        }
    }
}
