//! Trouble beside a load: another volume of the same daemon whose device refuses, hangs, holds on to much or is written
//! to, or a daemon that dies. Every round with it has one without it for a neighbour in time, in which everything else is
//! the same.

mod neighbour;
mod scene;

use serde::{Deserialize, Serialize};

use crate::job::Job;

pub(crate) use scene::{Round, Scene};

/// What the neighbour's volume is called.
pub(crate) const NEIGHBOUR: &str = "neighbour";
/// The volume of the neighbour's writes in rounds without write-back.
pub(crate) const LAZY: &str = "lazy";
/// Bytes that the neighbour writes, from the first to the last and again.
const NEIGHBOUR_SPAN: u64 = 64 << 20;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Between the first and the third quarter of a round, the neighbour's device refuses every write and flush.
    Refuse,
    /// In that time it answers none.
    Hang,
    /// At a quarter the neighbour's device is well again, and what failed before is tried again.
    Retry,
    /// All the round the neighbour holds data that was refused, in 95% of all lines.
    Hold,
    /// At a quarter the daemon is killed and started again.
    Restart,
    /// What the neighbour writes is written back; without it, it stays in the cache.
    WriteBack,
}

/// A volume beside the one that is measured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    /// For operators and clients.
    pub(crate) name: &'static str,
    /// Its size.
    pub(crate) bytes: u64,
    /// More lines of its configuration.
    pub(crate) settings: String,
}

impl Trouble {
    /// In the reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuse => "the neighbour's device refuses",
            Self::Hang => "the neighbour's device hangs",
            Self::Retry => "failed extents of the neighbour are tried again",
            Self::Hold => "the neighbour holds 95% of the lines",
            Self::Restart => "the daemon is killed and started again",
            Self::WriteBack => "the neighbour's writes are written back",
        }
    }

    /// Whether its cases need a rate of the neighbour's writes.
    #[must_use]
    pub fn has_writer(self) -> bool {
        matches!(self, Self::Refuse | Self::Hang | Self::WriteBack)
    }

    /// Lines of the neighbour that are refused before a round, of a cache with so many.
    fn lines(self, job: &Job, of: u64) -> u64 {
        match self {
            Self::Retry => u64::from(job.extents),
            Self::Hold => of * 95 / 100,
            _ => 0,
        }
    }

    /// Lines from one that is refused to the next: what has a gap behind it is an extent of its own.
    fn stride(self) -> u64 {
        if self == Self::Retry { 2 } else { 1 }
    }

    /// The volumes that it needs.
    pub(crate) fn beside(self, job: &Job, cache: u64) -> Vec<Beside> {
        let volume = |name, bytes: u64, settings: String| Beside {
            name,
            bytes: bytes.next_multiple_of(1 << 20),
            settings,
        };
        let held = "[[volume.on_failure]]\nclass = \"any\"\npolicy = { kind = \"hold-forever\" }\n";
        let by_hand = format!("{held}retry = {{ on = [] }}\n");
        // No more than there can be: headers and tables need memory, too.
        let lines = self.lines(job, cache / 4096);
        match self {
            Self::Restart => Vec::new(),
            Self::Refuse | Self::Hang => {
                vec![volume(NEIGHBOUR, NEIGHBOUR_SPAN, format!("budget = \"40%\"\n{held}"))]
            }
            Self::Retry => {
                // Some room: budgets are rounded, and the disk is told of many at a time.
                let budget = lines * 4096 + (4 << 20);
                vec![volume(NEIGHBOUR, lines * 2 * 4096, format!("budget = {budget}\n{by_hand}"))]
            }
            Self::Hold => vec![volume(NEIGHBOUR, lines * 4096, format!("budget = \"95.2%\"\n{by_hand}"))],
            Self::WriteBack => {
                let eager = "budget = \"30%\"\nwrite_back = { from = \"0%\", after = \"10ms\" }\n";
                let budget = NEIGHBOUR_SPAN + (4 << 20);
                let lazy = format!("budget = {budget}\nwrite_back = {{ from = \"100%\", after = \"1h\" }}\n");
                vec![volume(NEIGHBOUR, NEIGHBOUR_SPAN, eager.into()), volume(LAZY, NEIGHBOUR_SPAN, lazy)]
            }
        }
    }

    /// What the volume that is measured is told, and the cache's reserve, where others are to have nearly everything.
    pub(crate) fn shares(self) -> (&'static str, &'static str) {
        match self {
            Self::Hold => ("budget = \"2.6%\"\n", "reserve = \"2%\"\n"),
            _ => ("", ""),
        }
    }

    /// Why a job cannot have it.
    pub(crate) fn contradiction(self, job: &Job) -> Option<String> {
        let name = |case: &crate::job::Case| case.name.clone();
        let written = job.cases.iter().find(|case| case.neighbour.is_some() != self.has_writer()).map(name);
        match written {
            Some(case) if self.has_writer() => Some(format!(
                "case {case:?} does not say how many bytes a second the neighbour writes: neighbour = \"16MiB\""
            )),
            Some(case) => Some(format!(
                "case {case:?} has a neighbour that writes, and with this trouble there is none: leave it out"
            )),
            None => None,
        }
    }
}

/// A moment of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Since the round's beginning, in seconds.
    pub at_s: f64,
    /// What happened.
    pub what: String,
}
