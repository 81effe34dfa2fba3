//! How a queue sends: windows, checks, splitting, descriptors.

use super::{Error, Queue};
use crate::request::{Descriptor, FLAG_FUA, Opcode};

/// One request of a queue, or of the blocking client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) opcode: Opcode,
    pub(super) fua: bool,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Queue {
    /// Copies `data` into the window of an idle tag, for a later `submit_filled`.
    ///
    /// # Errors
    /// If the tag is in flight or the data longer than a window.
    pub fn fill(&mut self, tag: u32, data: &[u8]) -> Result<(), Error> {
        self.check_idle(tag)?;
        self.check_window(data.len())?;
        self.connection.fill(tag, data);
        Ok(())
    }

    /// Copies the beginning of an idle tag's window to `data`: what its last read returned.
    ///
    /// # Errors
    /// If the tag is in flight or `data` is longer than a window.
    pub fn take(&self, tag: u32, data: &mut [u8]) -> Result<(), Error> {
        self.check_idle(tag)?;
        self.check_window(data.len())?;
        self.connection.take(tag, data);
        Ok(())
    }

    #[inline]
    fn check_idle(&self, tag: u32) -> Result<(), Error> {
        let slot = self.slots.get(tag as usize).ok_or(Error::Tag { tag, depth: self.depth() })?;
        if slot.idle() { Ok(()) } else { Err(Error::TagInUse { tag }) }
    }

    fn check_window(&self, length: usize) -> Result<(), Error> {
        let (length, length_max) = (length as u64, u64::from(self.window_bytes()));
        if length <= length_max { Ok(()) } else { Err(Error::Length { length, length_max }) }
    }

    /// Reads `length` bytes at `offset` into the tag's window.
    ///
    /// # Errors
    /// If the range, length or tag is wrong (nothing is sent), or the session is over.
    pub fn submit_read(&mut self, tag: u32, offset: u64, length: u32) -> Result<(), Error> {
        self.submit(tag, Ask { opcode: Opcode::Read, fua: false, offset, length: u64::from(length) })
    }

    /// Writes `data` at `offset`, through the tag's window.
    ///
    /// # Errors
    /// As [`Queue::submit_read`].
    pub fn submit_write(&mut self, tag: u32, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.fill(tag, data)?;
        self.submit(tag, Ask { opcode: Opcode::Write, fua: false, offset, length: data.len() as u64 })
    }

    /// Writes the first `length` bytes of the tag's window at `offset`; with `fua` answered only when they are on
    /// stable media.
    ///
    /// # Errors
    /// As [`Queue::submit_read`].
    pub fn submit_filled(&mut self, tag: u32, offset: u64, length: u32, fua: bool) -> Result<(), Error> {
        self.submit(tag, Ask { opcode: Opcode::Write, fua, offset, length: u64::from(length) })
    }

    /// Makes durable what was acknowledged before; requests still in flight may or may not be covered.
    ///
    /// # Errors
    /// As [`Queue::submit_read`].
    pub fn submit_flush(&mut self, tag: u32) -> Result<(), Error> {
        self.submit(tag, Ask { opcode: Opcode::Flush, fua: false, offset: 0, length: 0 })
    }

    /// Discards a range of any length.
    ///
    /// # Errors
    /// As [`Queue::submit_read`].
    pub fn submit_discard(&mut self, tag: u32, offset: u64, length: u64) -> Result<(), Error> {
        self.submit(tag, Ask { opcode: Opcode::Discard, fua: false, offset, length })
    }

    /// Zeroes a range of any length.
    ///
    /// # Errors
    /// As [`Queue::submit_read`].
    pub fn submit_write_zeroes(
        &mut self,
        tag: u32,
        offset: u64,
        length: u64,
        fua: bool,
    ) -> Result<(), Error> {
        self.submit(tag, Ask { opcode: Opcode::WriteZeroes, fua, offset, length })
    }

    #[inline]
    pub(super) fn submit(&mut self, tag: u32, ask: Ask) -> Result<(), Error> {
        self.check_idle(tag)?;
        self.connection.check_range(ask)?;
        self.sequence += 1;
        self.slots[tag as usize].begin(self.sequence);
        self.lives.asked(tag, ask);
        match ask.opcode {
            Opcode::Read | Opcode::Write => self.send_transfer(tag, ask)?,
            Opcode::Flush | Opcode::Discard | Opcode::WriteZeroes => {
                for reactor in 0..self.submissions.len() {
                    self.send_part(tag, ask, reactor, 0, 0)?;
                }
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    /// A window is no longer than a stripe, so a transfer has at most two parts, and they go to different reactors.
    #[inline]
    fn send_transfer(&mut self, tag: u32, ask: Ask) -> Result<(), Error> {
        let length_max = u64::from(self.window_bytes());
        if ask.length > length_max {
            return Err(Error::Length { length: ask.length, length_max });
        }
        let payload = self.connection.window_start(tag);
        if self.submissions.len() == 1 {
            return self.send_part(tag, ask, 0, payload, 0);
        }
        for part in self.connection.stripes.parts(ask.offset, ask.length, length_max) {
            let part_ask = Ask { offset: part.offset, length: part.length, ..ask };
            let reactor = part.reactor as usize;
            self.send_part(tag, part_ask, reactor, payload + (part.offset - ask.offset), 0)?;
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn send_part(
        &mut self,
        tag: u32,
        ask: Ask,
        reactor: usize,
        payload: u64,
        replay: u64,
    ) -> Result<(), Error> {
        if self.lives.is_lost() {
            // Nobody takes it from the old ring: it goes out with all that is in flight when there is a new one.
            self.slots[tag as usize].sent(reactor);
            return Ok(());
        }
        let ring = &self.connection.rings[reactor];
        let place = self.submissions[reactor].claim(ring.sq_head());
        let place = place.map_err(|_| Error::Protocol("the submission ring's index jumped"))?;
        // A tag has one part a ring, and a completion comes after its descriptor's entry was given back.
        let place = place.ok_or(Error::Protocol("the submission ring is full"))?;
        let descriptor = Descriptor {
            opcode: ask.opcode as u8,
            flags: if ask.fua { FLAG_FUA } else { 0 },
            reserved_0: 0,
            tag,
            sequence: self.sequence,
            offset: ask.offset,
            length: ask.length,
            payload,
            timeout_ms: self.timeout_ms,
            reserved_1: 0,
            replay,
            reserved_2: [0; 2],
        };
        if replay != 0 {
            // What an earlier daemon said is what the next one is told, if this one dies, too, before it says anything.
            ring.write_record(tag, self.sequence, replay);
        }
        ring.write_descriptor(place, descriptor);
        self.slots[tag as usize].sent(reactor);
        self.flying[reactor] += 1;
        Ok(())
    }
}
