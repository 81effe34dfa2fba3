//! Trouble by its stable name: what a code means, what is safe under it, what it costs to act.

use super::Health;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of trouble, with a name that stays the same between releases and an entry in the runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum HealthCode {
    /// Acknowledged data was given up.
    LostExtents,
    /// A volume is not open.
    VolumeNotServed,
    /// A reactor does not turn.
    ReactorStall,
    /// The ledger cannot be written.
    LedgerStuck,
    /// The device, or the right to write to it, is gone.
    DeviceGone,
    /// The device does not answer.
    DeviceHangs,
    /// The device refused data, which is held.
    FailedExtents,
    /// The device refuses, and no data is held for it (a flush failed, say).
    DeviceRefuses,
    /// Data that is not on stable media takes four fifths of a volume's budget.
    Budget80,
    /// Flushes wait for the cause of a failure to go away.
    FlushesParked,
    /// No more clients are let in.
    SessionsFull,
    /// The daemon is about to end.
    Stopping,
    /// A volume may allocate little more.
    Thin80,
    /// A volume goes through the page cache.
    BufferedBacking,
    /// Faults are injected on purpose.
    FaultInjection,
    /// Something works, but not as well as it could.
    Fallback,
}

/// What is always true of a code, wherever it appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeFacts {
    /// The stable name.
    pub name: &'static str,
    /// How bad it is at its worst.
    pub worst: Health,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// What is safe meanwhile, and what is not.
    pub safe: &'static str,
    /// What it costs to do what is advised.
    pub cost: &'static str,
}

impl HealthCode {
    /// Every code, the gravest first.
    pub const ALL: [HealthCode; 16] = [
        HealthCode::LostExtents,
        HealthCode::VolumeNotServed,
        HealthCode::ReactorStall,
        HealthCode::LedgerStuck,
        HealthCode::DeviceGone,
        HealthCode::DeviceHangs,
        HealthCode::FailedExtents,
        HealthCode::DeviceRefuses,
        HealthCode::Budget80,
        HealthCode::FlushesParked,
        HealthCode::SessionsFull,
        HealthCode::Stopping,
        HealthCode::Thin80,
        HealthCode::BufferedBacking,
        HealthCode::FaultInjection,
        HealthCode::Fallback,
    ];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The code with this name, exactly as written.
    pub fn from_name(name: &str) -> Option<HealthCode> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// What is always true of it.
    pub const fn facts(self) -> CodeFacts {
        let (name, worst, meaning, safe, cost) = match self {
            HealthCode::LostExtents => (
                "HF_LOST_EXTENTS",
                Health::Faulted,
                "Acknowledged data was given up and is in no place any more.",
                "All other data of the volume is safe. What is lost reads as EIO and makes every flush fail, so that \
                 nobody mistakes it for good.",
                "An overwrite from a copy costs nothing more. 'ack-loss' makes the loss final: the ranges then read \
                 whatever the device has there.",
            ),
            HealthCode::VolumeNotServed => (
                "HF_VOLUME_NOT_SERVED",
                Health::Faulted,
                "A volume was not opened, so no client can use it.",
                "Nothing was changed on its device. What the ledger knows of it is kept.",
                "Looking costs nothing. The volume's clients wait until it is mended.",
            ),
            HealthCode::ReactorStall => (
                "HF_REACTOR_STALL",
                Health::Faulted,
                "A reactor has stopped turning: its part of every volume answers nobody.",
                "What was acknowledged stays in memory, and the next daemon serves it.",
                "Looking costs nothing. A killed daemon leaves its data in the arena.",
            ),
            HealthCode::LedgerStuck => (
                "HF_LEDGER_STUCK",
                Health::Degraded,
                "The record of failures cannot be written to its own disk.",
                "Everything is: while it lasts no held data is freed and no failed flush is answered.",
                "Making room costs nothing here; the daemon goes on by itself within 5 s.",
            ),
            HealthCode::DeviceGone => (
                "HF_DEVICE_GONE",
                Health::Degraded,
                "The device of a volume is gone, or takes no writes any more.",
                "What was acknowledged and not written is held in memory, unless the policy gives it up; it does not \
                 survive the host.",
                "A retry costs one probe. An export needs room for what is held.",
            ),
            HealthCode::DeviceHangs => (
                "HF_DEVICE_HANGS",
                Health::Degraded,
                "The device of a volume does not answer within its timeout.",
                "What was acknowledged is held in memory. Memory that is in flight is kept until the kernel gives it \
                 back.",
                "Nothing. What hangs cannot be taken back from the kernel: mend the device or its path.",
            ),
            HealthCode::FailedExtents => (
                "HF_FAILED_EXTENTS",
                Health::Degraded,
                "The device has refused data, which is held in memory.",
                "It is readable and not lost, unless the policy gives it up under pressure; it does not survive the \
                 host.",
                "A retry costs one attempt for each extent. 'drop' loses the data for good: export it before.",
            ),
            HealthCode::DeviceRefuses => (
                "HF_DEVICE_REFUSES",
                Health::Degraded,
                "The device refuses (a flush, say), though no data has failed.",
                "What is not on stable media stays in memory, and flushes of it fail.",
                "A retry costs one probe.",
            ),
            HealthCode::Budget80 => (
                "HF_BUDGET_80",
                Health::Degraded,
                "Data that is not on stable media takes four fifths or more of a volume's budget.",
                "What is held stays held. When the budget is full, new writes wait, and then what the policy says \
                 happens.",
                "Mending the device costs nothing. A larger budget takes memory from clean data.",
            ),
            HealthCode::FlushesParked => (
                "HF_FLUSHES_PARKED",
                Health::Degraded,
                "Flushes wait for the cause of a failure to go away, as 'flush_on_failure' says: clients pause.",
                "What they wait for is held in memory.",
                "Nothing, while they wait. After the timeout they are answered with the error.",
            ),
            HealthCode::SessionsFull => (
                "HF_SESSIONS_FULL",
                Health::Degraded,
                "As many clients are connected as may be: the next one is turned away.",
                "Clients that are connected notice nothing.",
                "'sessions kill' ends a session; its client may come back if there is room. 'reload' costs nothing.",
            ),
            HealthCode::Stopping => (
                "HF_STOPPING",
                Health::Degraded,
                "The daemon writes back what it can and ends.",
                "What cannot be written stays in the arena and on record.",
                "Waiting costs nothing. '--abandon' loses what cannot be written.",
            ),
            HealthCode::Thin80 => (
                "HF_THIN_80",
                Health::Healthy,
                "A volume with a thin limit has allocated four fifths or more of it.",
                "Everything. When the limit is reached, writes that allocate are refused and held.",
                "'grow-thin' costs space on the file system under it.",
            ),
            HealthCode::BufferedBacking => (
                "HF_BUFFERED_BACKING",
                Health::Healthy,
                "A volume goes through the page cache, which forgets data whose write-back fails.",
                "Nothing that only the kernel has: no promise of durability holds for this volume.",
                "Another file system or a block device, and a copy of the data.",
            ),
            HealthCode::FaultInjection => (
                "HF_FAULT_INJECTION",
                Health::Healthy,
                "Somebody makes a healthy disk fail on purpose.",
                "Data is held as with a real failure, and given up as with a real one, too.",
                "Nothing.",
            ),
            HealthCode::Fallback => (
                "HF_FALLBACK",
                Health::Healthy,
                "Something works, but not as well as it could, or is set as it may not be meant.",
                "Everything that the note does not name. Most cost speed, or memory that may be swapped.",
                "What the note says, and a restart.",
            ),
        };
        CodeFacts { name, worst, meaning, safe, cost }
    }
}

impl fmt::Display for HealthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<HealthCode> for String {
    fn from(code: HealthCode) -> String {
        code.name().to_owned()
    }
}

/// A name that no code has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no health code; 'holdfastctl health codes' lists them")]
pub struct UnknownCode(pub String);

impl TryFrom<String> for HealthCode {
    type Error = UnknownCode;

    fn try_from(name: String) -> Result<HealthCode, UnknownCode> {
        name.parse()
    }
}

impl std::str::FromStr for HealthCode {
    type Err = UnknownCode;

    /// In whichever case it was typed.
    fn from_str(name: &str) -> Result<HealthCode, UnknownCode> {
        HealthCode::from_name(&name.to_ascii_uppercase()).ok_or_else(|| UnknownCode(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_a_name_of_its_own_that_leads_back_to_it() {
        let names: BTreeSet<_> = HealthCode::ALL.map(HealthCode::name).into();
        assert_eq!(names.len(), HealthCode::ALL.len());
        for code in HealthCode::ALL {
            assert_eq!(HealthCode::from_name(code.name()), Some(code));
            assert_eq!(code.name().to_lowercase().parse(), Ok(code), "as somebody types it");
            assert!(code.name().starts_with("HF_"));
            let json = serde_json::to_string(&code).expect("plain data");
            assert_eq!(json, format!("\"{}\"", code.name()));
            assert_eq!(serde_json::from_str::<HealthCode>(&json).expect("what was written"), code);
        }
        assert!("HF_NOTHING".parse::<HealthCode>().is_err());
    }
}
