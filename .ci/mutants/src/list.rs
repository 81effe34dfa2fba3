//! All deliberate bugs, each with the rule that it breaks and a sentence.

/// The part of the code that a bug is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The engine and the policies, which the simulator runs.
    Engine,
    /// The rings and the client library.
    Rings,
    /// The daemon around the engine.
    Daemon,
}

/// Writes the enumeration and its tables from one list.
macro_rules! mutants {
    ($($rule:literal $place:ident $name:ident $says:literal)*) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $says] $name,)*
        }

        impl Mutant {
            /// All of them: rules in their order, then slips of the hand.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),*];

            /// What `HOLDFAST_MUTANT` says to choose it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Mutant::$name => stringify!($name),)*
                }
            }

            /// The mechanism that it takes out, `M1` to `M13`; or `slip`.
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Mutant::$name => $rule,)*
                }
            }

            /// Where it is, and with it who can see it.
            pub const fn place(self) -> Place {
                match self {
                    $(Mutant::$name => Place::$place,)*
                }
            }

            /// What goes wrong, in a sentence.
            pub const fn says(self) -> &'static str {
                match self {
                    $(Mutant::$name => $says,)*
                }
            }
        }
    };
}

mutants! {
    "M1" Engine NeighboursFlushIsNoFence "A device is flushed while a flush of a dead daemon may still fail there."
    "M1" Engine NoFence "The device is used before the operations of a killed daemon have ended."
    "M1" Engine FillingIsFreeAtOnce "A slot into which a killed daemon's read may still land is given to others."
    "M1" Engine WritingIsDirtyAtOnce "A slot that a killed daemon's write still reads from is written and freed as any other."
    "M1" Daemon LockIsBelieved "The lock of a file counts as taken whoever has it."

    "M2" Engine BusyLineIsWritten "Write-back does not look whether an operation is in flight for the line."
    "M2" Engine ZeroesPassWrites "Zeroes do not wait for the operations in flight in their range."
    "M2" Engine LineIsFilledTwice "A read of a line that is being filled reads it from the device once more."

    "M3" Engine MergeCopiesNothing "A new slot does not take over the bytes of its predecessor."
    "M3" Engine MergeForgetsDirty "A new slot's dirty mask lacks what its predecessor had not yet written."
    "M3" Engine OverwriteForgetsDirty "The same, on the short way of a hit over dirty data."
    "M3" Engine FreedInFlight "A slot that the device still reads from is freed when it is superseded."
    "M3" Engine IncomingIsBelieved "After a crash, half a write that was never published counts as written."

    "M4" Engine FillCoversNewer "A fill copies all it has read over a line that was written meanwhile."
    "M4" Engine FillShowsLost "A fill makes the sectors of a lost line readable."

    "M5" Engine FlushIsJoined "A request for a device flush joins one that has begun."
    "M5" Engine FailedFlushIsForgotten "A failed device flush leaves what was written as it was."
    "M5" Engine ResetIsForgotten "A device that was reset or replaced is taken for the one before."
    "M5" Engine VerifierIsIgnored "A flush succeeds though the domain's verifier has moved since the writes it covers."
    "M5" Engine WrittenIsStable "What the device has accepted is clean, flushed or not."

    "M6" Engine OverwriteEndsTheWait "A line that is overwritten leaves the epoch of the flush that waits for it."
    "M6" Engine HandOverForgetsEpoch "When a superseded slot's write is refused, its successor does not take over its epoch."
    "M6" Engine NeighbourHoldsFlush "A volume whose disk is well waits with its flush for a neighbour whose probe hangs."

    "M7" Engine ToldBeforeRecorded "A client hears of a failure before the ledger holds it."
    "M7" Engine OnlyTriedIsRecorded "A failed flush records what is in flight or written, and not what was never sent."
    "M7" Engine InFlightIsNotRecorded "A failed flush does not record what is in flight."

    "M8" Engine LostBeforeRecorded "Data is given up before the ledger holds the loss."
    "M8" Engine RecordIsNotRescinded "The record of a loss stays though newer data has taken the line."
    "M8" Engine OldDataHeals "A loss is healed by a write that is older than what was lost."
    "M8" Engine HealedBeforeDurable "A flush succeeds before the end of a loss is durable."
    "M8" Engine FlushIgnoresLosses "A flush succeeds though something is lost."

    "M9" Engine ReplayDoesAllAgain "A replayed write applies also the lines that were published."
    "M9" Engine ReplayBelievesAll "A replayed write is answered as if all of it had been published."
    "M9" Engine BegunIsWithdrawn "A write that was taken in is answered with a timeout."
    "M9" Engine StalledHasNoRecord "A write that had to wait is taken in without a record of its generation."
    "M9" Engine LifeIsNotNoted "A new life forgets which generations the one before had not published."

    "M10" Engine RefusedZeroesCount "Zeroes that the device refused supersede the cached data."
    "M10" Engine ZeroesAreStable "Zeroes that the device accepted count as stable at once."
    "M10" Engine FuaDoesNotWait "A write with FUA is answered like any other."
    "M10" Engine ThroughDoesNotWait "A write to a volume that is written through is answered like any other."
    "M10" Engine RefusedZeroesLeaveNoDoubt "After refused zeroes, what was written there before still counts as written."

    "M11" Engine BudgetIsNotAsked "A write is admitted whatever its volume's budget says."
    "M11" Engine RequestTakesSome "A request begins when all but one of its slots are there."
    "M11" Engine OverdueGivesItsLineUp "An operation that is overdue leaves its lines to others."

    "M12" Engine RunIsOneVerdict "A line is judged by the refusal of a run that it was part of."
    "M12" Engine GateIsOpen "Write-back goes on as ever while the disk refuses."
    "M12" Engine MediumGates "One bad block holds up all others."
    "M12" Engine BackoffIsIgnored "What was refused is tried again without a pause."
    "M12" Engine WalkKeepsNoDistance "After an operator's attempt was refused, the next probe does not wait for the floor."
    "M12" Engine DrainAsksNoGate "A drain takes the word of a gate that guards nothing."
    "M12" Engine ShortIsWhole "A short write counts as a whole one."

    "M13" Daemon OpenMarkIsIgnored "An arena is taken whatever the ledger says of the last one."
    "M13" Daemon OtherDeviceIsTaken "Another device is taken for the one on record, with data outstanding."
    "M13" Rings IncarnationIsIgnored "A client does not notice that the cache which held its writes has died."

    "slip" Engine AnsweredBeforeTakenIn "A write that waits for room is acknowledged before its bytes are copied."
    "slip" Engine HeaderIsEarly "Headers are published before the turn's copies."
    "slip" Engine PublishedIsEarly "The note of the newest published generation is one too high."
    "slip" Engine HeirIsExpected "A refused write takes it for granted that its line has a newer slot."
    "slip" Engine MaskIsShort "The mask of a request's part lacks its last sector."
    "slip" Engine SpanIsShort "The last dirty sector of a slot is not written."
    "slip" Engine RunIsLong "A run goes one line beyond its stripe."
    "slip" Engine FillStaysBusy "A fill leaves its lines marked as busy."
    "slip" Engine PendingSleeps "A reactor with nothing but requests that wait sleeps on."
    "slip" Engine TornIsKept "A line of which the device may take sectors back is kept in the cache."
    "slip" Engine UnstableIsEvicted "The hand takes lines that no device flush has covered."
    "slip" Engine HoldGivesUp "The policy that holds for ever gives up what is oldest."
    "slip" Engine ListSkipsALine "The next page of a list begins one line too late."
    "slip" Engine RetriedIsNotFailed "A failed line is not listed as failed while it is being tried again."
    "slip" Engine SummaryIsNotRaised "A mark in an empty word of the dirty index does not reach the summaries."
    "slip" Engine PaceIsIgnored "What nobody waits for is written back as fast as the device takes it."
    "slip" Engine PaceForAll "What somebody waits for is written back at the pace of what nobody waits for."
    "slip" Rings WakeUpIsLost "Who publishes does not look whether the other side sleeps."
    "slip" Rings EntryIsEarly "A ring shows an entry before it is filled."
    "slip" Rings RingHoldsOneMore "A full ring takes one more entry."
    "slip" Rings IndexIsBelieved "The peer's index is taken as it is."
    "slip" Rings PublishedRelaxed "A ring's tail is published without a barrier."
    "slip" Rings ReleasedRelaxed "A ring's head is published without a barrier."
    "slip" Rings DoorbellHasNoFence "The sleeper's flag is read without a fence after the publication."
    "slip" Engine MarkIsRelaxed "A mark in the dirty index is published without a barrier."
}
