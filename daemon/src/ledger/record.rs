//! What the ledger keeps, as its readers see it.

use holdfast_engine::{ByteRange, Instant, Token};

/// One moment on both clocks: the engine's, and the one that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On the engine's clock.
    pub instant: Instant,
    /// Milliseconds since 1970-01-01 00:00 UTC. May jump when somebody sets the clock; nothing is decided by it.
    pub wall_ms: u64,
}

impl Now {
    /// The wall-clock time of another moment of the engine's clock, before or after this one; saturates.
    pub fn wall_ms_of(&self, instant: Instant) -> u64 {
        let before = self.wall_ms.saturating_sub(self.instant.since_ms(instant));
        before.saturating_add(instant.since_ms(self.instant))
    }
}

/// Why the device did not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of a [`holdfast_policy::ErrorClass`]; 0 if the device never refused it.
    pub class: u8,
    /// The device's last word, a Linux errno; 0 if none.
    pub errno: u16,
    /// How often it was tried.
    pub attempts: u32,
    /// When it failed first, in milliseconds of the wall clock; 0 if it was never tried.
    pub first_ms: u64,
    /// When it failed last; 0 if it was never tried.
    pub last_ms: u64,
}

impl Failure {
    /// What makes one set of failures differ from another; attempts and times do not.
    pub(super) fn key(&self) -> (u8, u16) {
        (self.class, self.errno)
    }
}

/// A range that a client was told is not on stable media, and that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStableRecord {
    /// Where.
    pub range: ByteRange,
    /// Why.
    pub failure: Failure,
    /// The first failure id whose set has it.
    pub since_id: u64,
}

/// How data came to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// A policy or an operator gave it up.
    GivenUp = 1,
    /// It had failed, was held in memory, and the host went down.
    HostRestart = 2,
    /// Its header in the arena was damaged when a daemon took it over.
    DamagedHeader = 3,
}

impl Cause {
    /// One sentence for operators.
    pub const fn text(self) -> &'static str {
        match self {
            Cause::GivenUp => "the device refused it and it was given up",
            Cause::HostRestart => "the device refused it and the host restarted while it was held in memory",
            Cause::DamagedHeader => "its record in the cache's memory was damaged: nobody knows what it held",
        }
    }

    pub(super) const fn from_u8(number: u8) -> Option<Cause> {
        match number {
            1 => Some(Cause::GivenUp),
            2 => Some(Cause::HostRestart),
            3 => Some(Cause::DamagedHeader),
            _ => None,
        }
    }
}

/// The reactor of a [`LostRecord`] that no reactor of this boot made.
pub const NO_REACTOR: u32 = u32::MAX;

/// A range whose acknowledged data is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRecord {
    /// Where.
    pub range: ByteRange,
    /// Why.
    pub failure: Failure,
    /// The generation that was given up; 0 if the host went down with it.
    pub generation: u64,
    /// Whose generation it is; [`NO_REACTOR`] if the host went down with it.
    pub reactor: u32,
    /// How it came about.
    pub cause: Cause,
    /// The first failure id whose set has it.
    pub since_id: u64,
}

/// Which of the two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Held, and not on stable media.
    NotStable = 1,
    /// Given up.
    Lost = 2,
}

/// How a record came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// The data is on stable media, or was discarded.
    Healed = 1,
    /// What was held was given up; a record of the loss follows it.
    GivenUp = 2,
    /// The loss did not happen after all.
    Rescinded = 3,
    /// A loss was superseded by newer stable data or a discard.
    LossHealed = 4,
    /// An operator acknowledged the loss.
    Acknowledged = 5,
    /// It goes on with another class or errno, in a newer record.
    Changed = 6,
}

impl Ending {
    pub(super) const fn from_u8(number: u8) -> Option<Ending> {
        match number {
            1 => Some(Ending::Healed),
            2 => Some(Ending::GivenUp),
            3 => Some(Ending::Rescinded),
            4 => Some(Ending::LossHealed),
            5 => Some(Ending::Acknowledged),
            6 => Some(Ending::Changed),
            _ => None,
        }
    }

    /// A word for operators.
    pub const fn text(self) -> &'static str {
        match self {
            Ending::Healed => "healed",
            Ending::GivenUp => "given up",
            Ending::Rescinded => "rescinded",
            Ending::LossHealed => "loss healed",
            Ending::Acknowledged => "loss acknowledged",
            Ending::Changed => "failed otherwise",
        }
    }
}

/// The durable mark of a volume that took writes and was not drained yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMark {
    /// The kernel's boot id.
    pub boot: u128,
    /// The id of the arena that holds its data.
    pub arena: u128,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Counts from 1.
    pub number: u64,
    /// When, in milliseconds of the wall clock.
    pub at_ms: u64,
    /// Who, for example `uid 0, pid 4711`.
    pub who: String,
    /// What, as it would be typed.
    pub verb: String,
}

/// A flush that failed and whose record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who asked.
    pub reactor: u32,
    /// What for.
    pub token: Token,
    /// The id for the client.
    pub failure_id: u64,
}
