//! The life of a slot as a table of edges.

/// What a slot holds and what may be done with it. The numbers are stored in slot headers and never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Nothing; may be taken.
    Free = 0,
    /// A client's write is being copied in; not acknowledged, not yet the newest of its line.
    Incoming = 1,
    /// A device read into it is in flight.
    Filling = 2,
    /// Acknowledged data that the device has not got.
    Dirty = 3,
    /// A device write from it is in flight.
    Writing = 4,
    /// The device accepted the write; no device flush that began later has succeeded yet.
    Unstable = 5,
    /// The same as on stable media; may be evicted.
    Clean = 6,
    /// Acknowledged data that the device refused; held.
    Failed = 7,
    /// To be given up; waits for the durable loss record.
    Condemned = 8,
}

impl State {
    /// Every state, in the order of its number.
    pub const ALL: [State; 9] = [
        State::Free,
        State::Incoming,
        State::Filling,
        State::Dirty,
        State::Writing,
        State::Unstable,
        State::Clean,
        State::Failed,
        State::Condemned,
    ];

    /// The state with this number; `None` for a number that is no state (a header that was tampered with).
    #[inline]
    pub const fn from_u8(number: u8) -> Option<State> {
        // Spelled out, it is a comparison; as a look into `ALL` it would be a load behind two.
        Some(match number {
            0 => State::Free,
            1 => State::Incoming,
            2 => State::Filling,
            3 => State::Dirty,
            4 => State::Writing,
            5 => State::Unstable,
            6 => State::Clean,
            7 => State::Failed,
            8 => State::Condemned,
            _ => return None,
        })
    }

    /// The name in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Incoming => "incoming",
            State::Filling => "filling",
            State::Dirty => "dirty",
            State::Writing => "writing",
            State::Unstable => "unstable",
            State::Clean => "clean",
            State::Failed => "failed",
            State::Condemned => "condemned",
        }
    }

    /// Whether the slot counts against nobody: free, or evictable at any time.
    pub const fn is_clean_or_free(self) -> bool {
        matches!(self, State::Clean | State::Free)
    }

    /// Whether dropping the slot's memory now would lose a write that was, or is about to be, acknowledged.
    #[inline]
    pub const fn holds_unstable_data(self) -> bool {
        match self {
            State::Incoming
            | State::Dirty
            | State::Writing
            | State::Unstable
            | State::Failed
            | State::Condemned => true,
            State::Free | State::Filling | State::Clean => false,
        }
    }

    /// The state that follows when `cause` happens; `None` if it cannot happen in this state, which is a bug
    /// of the caller, never of a peer.
    ///
    /// One edge asks more of the caller than the table can see: a `Writing` slot that was superseded goes to
    /// `Free` only when its own device write has completed, since the device reads the slot until then.
    #[inline]
    pub const fn after(self, cause: Cause) -> Option<State> {
        let next = match (self, cause) {
            (State::Free, Cause::Accepted) => State::Incoming,
            (State::Incoming, Cause::Published) => State::Dirty,

            (State::Free, Cause::FillStarted) => State::Filling,
            (State::Filling, Cause::Filled) => State::Clean,
            (State::Filling, Cause::FillRefused | Cause::Superseded) => State::Free,

            (State::Dirty | State::Failed, Cause::WriteBackStarted) => State::Writing,
            (State::Writing, Cause::WriteBackDone) => State::Unstable,
            (State::Writing, Cause::WriteBackRefused) => State::Failed,
            (State::Writing, Cause::WriteBackDeferred) => State::Dirty,
            (State::Dirty, Cause::Inherited) => State::Failed,

            (State::Unstable, Cause::Stable) => State::Clean,
            // A flush that failed says nothing about which writes are down: all of them are dirty again.
            (State::Unstable, Cause::VerifierChanged) => State::Dirty,

            (State::Failed | State::Dirty, Cause::Condemned) => State::Condemned,
            (State::Condemned, Cause::LossRecorded) => State::Free,

            (
                State::Incoming
                | State::Dirty
                | State::Writing
                | State::Unstable
                | State::Clean
                | State::Failed
                | State::Condemned,
                Cause::Superseded,
            ) => State::Free,
            (State::Clean, Cause::Evicted) => State::Free,
            (State::Writing | State::Unstable | State::Condemned, Cause::Restarted) => State::Dirty,
            (
                State::Clean | State::Dirty | State::Failed | State::Unstable | State::Condemned,
                Cause::Dropped,
            ) => State::Free,
            _ => return None,
        };
        Some(next)
    }
}

/// Why a slot changes its state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// A client's write took the slot.
    Accepted,
    /// The write's bytes are in and its header is the newest of the line: from here on it is acknowledged.
    Published,
    /// A device read into the slot was submitted.
    FillStarted,
    /// The device read completed.
    Filled,
    /// The device read failed.
    FillRefused,
    /// A device write from the slot was submitted.
    WriteBackStarted,
    /// The device accepted the write.
    WriteBackDone,
    /// The device refused the write of this very line.
    WriteBackRefused,
    /// The line that it holds the newest data of was refused before: an overwrite does not make it untried.
    Inherited,
    /// The write was refused as part of a larger run, cut short or cancelled: no verdict on this line.
    WriteBackDeferred,
    /// A device flush that began after the write completed succeeded, under the same verifier.
    Stable,
    /// A device flush failed, or the device was reopened, reset or replaced: what it had accepted since its
    /// last good flush is in doubt.
    VerifierChanged,
    /// A policy or an operator gave the data up.
    Condemned,
    /// The ledger durably holds the loss, and the generation is still the condemned one.
    LossRecorded,
    /// A newer slot of the line holds all that this one held.
    Superseded,
    /// The memory is wanted for another line.
    Evicted,
    /// The device accepted a discard or zeroes over the line: they take the place of the data.
    Dropped,
    /// The daemon that was about something with the slot died, and its device operations are over: no verdict, and nobody
    /// knows what is on the medium.
    Restarted,
}

impl Cause {
    /// Every cause, in the order of its declaration.
    pub const ALL: [Cause; 18] = [
        Cause::Accepted,
        Cause::Published,
        Cause::FillStarted,
        Cause::Filled,
        Cause::FillRefused,
        Cause::WriteBackStarted,
        Cause::WriteBackDone,
        Cause::WriteBackRefused,
        Cause::Inherited,
        Cause::WriteBackDeferred,
        Cause::Stable,
        Cause::VerifierChanged,
        Cause::Condemned,
        Cause::LossRecorded,
        Cause::Superseded,
        Cause::Evicted,
        Cause::Dropped,
        Cause::Restarted,
    ];
}
