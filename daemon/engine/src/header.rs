//! The header of a slot: 32 bytes in the arena that outlive the process.
//!
//! ```text
//! word 0   line (48 bits) | volume (16 bits)
//! word 1   generation
//! word 2   dirty mask (32) | checksum of words 0, 1 and the mask (32)
//! word 3   valid mask (32) | check (8) | errno (8) | attempts (8) | class (4) | state (4)
//! ```
//! Words 0 to 2 are written while word 3 says [`State::Free`] and do not change until it says so again. Word 3 is
//! published last and every transition is one store of it: a crash sees the header before or after, never between.
//! The engine is the only writer of its reactor's headers.

use crate::SlotId;
use core::sync::atomic::{AtomicU64, Ordering};
use holdfast_policy::State;

/// One slot's header. The shell builds a slice of them over the arena; a simulator gives a `Vec`.
#[repr(C, align(32))]
#[derive(Debug, Default)]
pub struct Header([AtomicU64; 4]);

/// What never changes while a slot has content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The volume's number.
    pub volume: u16,
    /// The local line, below 2^48.
    pub line: u64,
    /// The age of the content; unique in the reactor's arena.
    pub generation: u64,
    /// The sectors that were not on stable media when the slot was filled.
    pub dirty: u32,
}

/// What word 3 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The sectors that hold the newest acknowledged data.
    pub valid: u32,
    /// The number of the error class, 0 if never refused.
    pub class: u8,
    /// Refusals so far, at most 255.
    pub attempts: u8,
    /// The last errno; Linux has none above 133.
    pub errno: u8,
}

impl Status {
    /// A slot without content.
    pub const FREE: Status = Status::new(State::Free, 0);

    /// A status that has seen no refusal.
    pub const fn new(state: State, valid: u32) -> Status {
        Status { state, valid, class: 0, attempts: 0, errno: 0 }
    }

    /// The same with another state.
    pub const fn with_state(self, state: State) -> Status {
        Status { state, ..self }
    }
}

/// Why a header in an arena cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderDamage {
    /// Word 3 does not match its check.
    Status {
        /// The word.
        found: u64,
    },
    /// Words 0 to 2 do not match their checksum.
    Identity {
        /// The checksum found.
        found: u32,
        /// What it should be.
        expected: u32,
    },
}

const GENERATION: usize = 1;
const DIRTY: usize = 2;
const STATUS: usize = 3;
const LINE_BITS: u32 = 48;
/// No life gives out generations from here on: a header that has one is damaged.
pub(crate) const GENERATIONS: u64 = 1 << 62;
/// Of the status: the state.
const STATE: u64 = 15;
/// Of the status: the check.
const CHECK: u64 = 0xff << 24;
/// Of the status: state, class, attempts and errno.
const FACTS: u64 = 0xff_ffff;

impl Header {
    /// A header over words as an arena holds them, for whoever inspects a copy of one.
    pub const fn from_words(words: [AtomicU64; 4]) -> Header {
        Header(words)
    }

    /// A copy of the four words.
    pub fn words(&self) -> [u64; 4] {
        [0, 1, 2, 3].map(|word: usize| self.0[word].load(Ordering::Acquire))
    }

    /// Writes the identity. The status must say free; nobody looks at the identity until [`Header::publish`].
    #[inline(always)]
    pub fn assign(&self, identity: Identity) {
        if identity.line >> LINE_BITS != 0 {
            does_not_fit(identity.line);
        }
        let place = place(identity.volume, identity.line);
        let sum = checksum(place, identity.generation, identity.dirty);
        self.0[0].store(place, Ordering::Relaxed);
        self.0[GENERATION].store(identity.generation, Ordering::Relaxed);
        self.0[DIRTY].store(u64::from(identity.dirty) | u64::from(sum) << 32, Ordering::Relaxed);
    }

    /// Makes a status, and with it the identity, visible.
    ///
    /// SYNC POINT header-published: Release, pairs with the Acquire in [`Header::recover`] of whoever maps the arena
    /// later, and keeps the identity words before it.
    #[inline]
    pub fn publish(&self, status: Status) {
        self.0[STATUS].store(pack(status), Ordering::Release);
    }

    /// [`Header::publish`] of the same status with another state; a slot that becomes free forgets the rest.
    #[inline]
    pub(crate) fn advance(&self, to: State) {
        let word = match to {
            State::Free => FREE,
            _ => sealed(self.0[STATUS].load(Ordering::Relaxed) & !(CHECK | STATE) | to as u64),
        };
        self.0[STATUS].store(word, Ordering::Release);
    }

    /// [`Header::advance`] from a state that the caller knows.
    ///
    /// # Panics
    /// If the header says another.
    #[inline(always)]
    pub(crate) fn advance_from(&self, from: State, to: State) {
        let word = self.0[STATUS].load(Ordering::Relaxed);
        if word & STATE != from as u64 {
            says_otherwise(word, from);
        }
        let next = match to {
            State::Free => FREE,
            _ => sealed(word & !(CHECK | STATE) | to as u64),
        };
        self.0[STATUS].store(next, Ordering::Release);
    }

    /// [`Header::publish`], from a state that the caller knows.
    ///
    /// # Panics
    /// If the header says another.
    #[inline(always)]
    pub(crate) fn exchange(&self, from: State, status: Status) {
        let word = self.0[STATUS].load(Ordering::Relaxed);
        if word & STATE != from as u64 {
            says_otherwise(word, from);
        }
        self.publish(status);
    }

    /// The valid mask of a slot that is dirty and was never refused; `None` for every other.
    #[inline]
    pub(crate) fn plain_dirty(&self) -> Option<u32> {
        let word = self.0[STATUS].load(Ordering::Relaxed);
        (word & FACTS == State::Dirty as u64).then_some((word >> 32) as u32)
    }

    /// The status, as its writer knows it.
    #[inline]
    pub fn status(&self) -> Status {
        fields(self.0[STATUS].load(Ordering::Relaxed)).unwrap_or(Status::FREE)
    }

    /// The state, without the rest.
    #[inline]
    pub fn state(&self) -> State {
        State::from_u8((self.0[STATUS].load(Ordering::Relaxed) & 15) as u8).unwrap_or(State::Free)
    }

    /// How often the device refused it, without the rest.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the field is cut out of the word at its width")]
    pub(crate) fn attempts(&self) -> u8 {
        (self.0[STATUS].load(Ordering::Relaxed) >> 8) as u8
    }

    /// The valid mask, without the rest.
    #[inline]
    pub fn valid(&self) -> u32 {
        (self.0[STATUS].load(Ordering::Relaxed) >> 32) as u32
    }

    /// The local line.
    #[inline]
    pub fn line(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed) & ((1 << LINE_BITS) - 1)
    }

    /// The volume's number.
    #[inline]
    pub fn volume(&self) -> u16 {
        (self.0[0].load(Ordering::Relaxed) >> LINE_BITS) as u16
    }

    /// Volume and line in one word, as the map compares them.
    #[inline]
    pub fn place(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    /// The generation.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.0[GENERATION].load(Ordering::Relaxed)
    }

    /// The dirty mask.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the mask is the low half of the word")]
    pub fn dirty(&self) -> u32 {
        self.0[DIRTY].load(Ordering::Relaxed) as u32
    }

    /// The identity, if its checksum says that it is one, whatever the status says: that of a free slot is what it held
    /// last.
    pub fn sound_identity(&self) -> Option<Identity> {
        let (volume, line, generation, dirty) = (self.volume(), self.line(), self.generation(), self.dirty());
        let found = self.0[DIRTY].load(Ordering::Relaxed) >> 32;
        let sound = generation < GENERATIONS && found == u64::from(checksum(self.place(), generation, dirty));
        sound.then_some(Identity { volume, line, generation, dirty })
    }

    /// Reads a header that an earlier process left behind, believing nothing.
    ///
    /// # Errors
    /// [`HeaderDamage`] if a check does not match. A header of zeroes is a free slot.
    pub fn recover(&self) -> Result<(Identity, Status), HeaderDamage> {
        let word = self.0[STATUS].load(Ordering::Acquire);
        let status = unpack(word).ok_or(HeaderDamage::Status { found: word })?;
        let identity = Identity {
            volume: self.volume(),
            line: self.line(),
            generation: self.generation(),
            dirty: self.dirty(),
        };
        #[allow(clippy::cast_possible_truncation, reason = "the checksum is the high half of the word")]
        let found = (self.0[DIRTY].load(Ordering::Relaxed) >> 32) as u32;
        let expected = checksum(self.place(), identity.generation, identity.dirty);
        if status.state != State::Free && (found != expected || identity.generation >= GENERATIONS) {
            return Err(HeaderDamage::Identity { found, expected });
        }
        Ok((identity, status))
    }
}

// Assertions that write what they saw: by value and out of the way, so that on the hot path nothing goes to the stack.

#[cold]
fn does_not_fit(line: u64) -> ! {
    panic!("line {line} does not fit a header")
}

#[cold]
fn says_otherwise(word: u64, from: State) -> ! {
    panic!("a header says {word:#x}, not {from:?}")
}

/// Volume and line as [`Header::place`] has them.
pub(crate) const fn place(volume: u16, line: u64) -> u64 {
    line | (volume as u64) << LINE_BITS
}

/// A slot's index in the slices.
pub(crate) const fn at(slot: SlotId) -> usize {
    slot.0 as usize
}

const fn pack(status: Status) -> u64 {
    let low = status.state as u64
        | ((status.class & 15) as u64) << 4
        | (status.attempts as u64) << 8
        | (status.errno as u64) << 16;
    sealed(low | (status.valid as u64) << 32)
}

/// A word with the check that belongs to it.
const fn sealed(word: u64) -> u64 {
    word | (check(word) as u64) << 24
}

/// Word 3 of a free slot.
const FREE: u64 = pack(Status::FREE);

#[allow(clippy::cast_possible_truncation, reason = "the check is cut out of the word at its width")]
fn unpack(word: u64) -> Option<Status> {
    if word == 0 {
        return Some(Status::FREE);
    }
    if (word >> 24) as u8 != check(word & !(0xff << 24)) {
        return None;
    }
    fields(word)
}

/// What the word says, without a look at its check.
#[allow(clippy::cast_possible_truncation, reason = "each field is cut out of the word at its width")]
#[inline]
fn fields(word: u64) -> Option<Status> {
    Some(Status {
        state: State::from_u8((word & 15) as u8)?,
        valid: (word >> 32) as u32,
        class: (word >> 4 & 15) as u8,
        attempts: (word >> 8) as u8,
        errno: (word >> 16) as u8,
    })
}

/// A check that a stray word, all ones or a flipped bit does not pass: the top byte of a product with a constant of
/// Knuth's multiplicative hashing (TAOCP vol. 3, 6.4), in which each bit of the input reaches.
#[allow(clippy::cast_possible_truncation, reason = "a shift by 56 leaves a byte")]
const fn check(word: u64) -> u8 {
    ((word ^ word >> 29).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Two rounds of multiply and fold (the finaliser of MurmurHash3, by A. Appleby): memory that was never a header
/// passes once in 2^32. It guards against stray writes, not against an adversary.
#[allow(clippy::cast_possible_truncation, reason = "the upper half is folded in before it is cut off")]
pub(crate) fn checksum(place: u64, generation: u64, dirty: u32) -> u32 {
    let mut sum =
        place ^ generation.rotate_left(17) ^ u64::from(dirty).rotate_left(43) ^ 0x686f_6c64_6661_7374;
    sum = (sum ^ sum >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    sum = (sum ^ sum >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ generation;
    (sum ^ sum >> 32) as u32
}
