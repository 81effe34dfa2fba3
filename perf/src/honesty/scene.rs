//! What is played: a workload of the paper on a disk that is ill in one way.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The paper's `sleep`: the time in which timers write back, and journals commit. ext4 and btrfs are mounted with an
/// interval of one second.
pub(super) const SLEEP: Duration = Duration::from_secs(2);

/// The two workloads of "Can Applications Recover from fsync Failures?" (USENIX ATC'20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// `open, lseek(4K), write(4K), fsync, fsync, sleep, close`: block 1 of three becomes B.
    Update,
    /// `write(4K), fsync, sleep, write(4K), fsync, sleep, close`: block 0 is B, then block 1 is C.
    Append,
}

/// How the disk is ill, from before the first write until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// It refuses to write B, and takes everything else.
    Data,
    /// It refuses every write and every flush.
    Device,
    /// It takes writes into its cache, refuses every flush, and loses what was in the cache.
    Flush,
}

/// A workload under a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scene {
    /// What is done.
    pub workload: Workload,
    /// While the disk does this.
    pub fault: Fault,
}

/// All of them, in the order of the table.
pub const SCENES: [Scene; 6] = [
    Scene { workload: Workload::Update, fault: Fault::Data },
    Scene { workload: Workload::Update, fault: Fault::Device },
    Scene { workload: Workload::Update, fault: Fault::Flush },
    Scene { workload: Workload::Append, fault: Fault::Data },
    Scene { workload: Workload::Append, fault: Fault::Device },
    Scene { workload: Workload::Append, fault: Fault::Flush },
];

impl Scene {
    /// What `--scene` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.workload, self.fault) {
            (Workload::Update, Fault::Data) => "update-data",
            (Workload::Update, Fault::Device) => "update-device",
            (Workload::Update, Fault::Flush) => "update-flush",
            (Workload::Append, Fault::Data) => "append-data",
            (Workload::Append, Fault::Device) => "append-device",
            (Workload::Append, Fault::Flush) => "append-flush",
        }
    }

    /// The scene of a name.
    ///
    /// # Errors
    /// If there is none; the names that there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let names = || SCENES.map(Scene::name).join(", ");
        SCENES.into_iter().find(|scene| scene.name() == name).ok_or_else(|| format!("one of {}", names()))
    }

    /// What is written, in order: block and version.
    pub(super) fn writes(self) -> &'static [(u64, char)] {
        match self.workload {
            Workload::Update => &[(1, 'B')],
            Workload::Append => &[(0, 'B'), (1, 'C')],
        }
    }

    /// Blocks that a file holds before, as version A.
    pub(super) fn blocks_before(self) -> u64 {
        match self.workload {
            Workload::Update => 3,
            Workload::Append => 0,
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.workload {
            Workload::Update => "block A is overwritten with B",
            Workload::Append => "B is written, then C behind it",
        })?;
        f.write_str(match self.fault {
            Fault::Data => "; the disk refuses to write B",
            Fault::Device => "; the disk refuses every write and flush",
            Fault::Flush => "; the disk refuses to flush, and loses what it had in its cache",
        })
    }
}
