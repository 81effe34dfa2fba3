//! What the admin server needs from the rest of the daemon.

use super::snapshot::{
    AddedView, AuditPage, DaemonView, EventsPage, ExplanationPage, FaultView, LossPage, Measures, PolicyView,
    ReloadView, RemovedView, ReportView, SessionView, ThinView, VolumeView,
};
use holdfast_engine::{Answer, Command, Instant, VolumeId};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The answers to one command: each reactor's number with its answer, in any order, one from each.
///
/// If the channel closes before every reactor has answered, the daemon is stopping.
pub type Answers = mpsc::Receiver<(u32, Answer)>;

/// Who asks: what the kernel says of the process at the other end when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its process, if the kernel can tell from here.
    pub pid: Option<i32>,
}

/// The rest of the daemon, as the admin server sees it.
///
/// A method returns at once: it reads what was published, or posts a message, and waits for no disk and no reactor. Those
/// that say otherwise are called on threads of their own, so that a disk that hangs keeps nobody else waiting.
pub trait Backend: Send + Sync {
    /// The daemon as it is now.
    fn daemon(&self) -> DaemonView;

    /// All volumes as they are now, in the order of the configuration.
    fn volumes(&self) -> Vec<VolumeView>;

    /// What was measured and counted of these volumes, in their order, and of the daemon since it started, beside what the
    /// other views have.
    fn measures(&self, of: &[VolumeView]) -> Measures;

    /// Milliseconds since 1970 at a point of the engine's clock.
    fn unix_ms(&self, at: Instant) -> u64;

    /// Posts `command` to every reactor, on behalf of `by`.
    ///
    /// # Errors
    /// [`BackendError`] if the volume is not served or a mailbox is full; then no reactor does anything.
    fn command(&self, volume: VolumeId, command: Command, by: Peer) -> Result<Answers, BackendError>;

    /// A volume cut into cells of `cell_bytes`, whole lines, with the worst state of what the cache has of each: a letter
    /// of [`ExtentMap`](holdfast_ctl::api::ExtentMap), of which `l` is not known here.
    fn map(&self, volume: VolumeId, cell_bytes: u64) -> Vec<u8>;

    /// A page of the ledger's losses of a volume that no reactor serves, from byte `from` on, at most `limit`. Waits for the
    /// ledger's disk if a commit is under way.
    fn recorded_losses(&self, volume: VolumeId, from: u64, limit: usize) -> LossPage;

    /// What the failed flush with this id reported: a page of its extents from byte `from` on, at most `limit`.
    /// `None` if there is no such report. Waits for the ledger's disk if a commit is under way.
    fn explain(&self, id: u64, from: u64, limit: usize) -> Option<ExplanationPage>;

    /// The failed flushes that were reported last, at most `limit`, the oldest of them first. Waits for the ledger's disk if a
    /// commit is under way.
    fn reports(&self, limit: usize) -> Vec<ReportView>;

    /// Events with a number above `since`, or the newest, the oldest first, at most `limit`. Waits for the ledger's disk if a
    /// commit is under way.
    fn events(&self, since: Option<u64>, limit: usize) -> EventsPage;

    /// The faults that are in force on a volume.
    ///
    /// # Errors
    /// [`BackendError`] if the configuration does not allow fault injection.
    fn faults(&self, volume: VolumeId) -> Result<Vec<FaultView>, BackendError>;

    /// Adds a fault after those that are in force.
    ///
    /// # Errors
    /// [`BackendError`] if the configuration does not allow it, or too many are in force.
    fn set_fault(&self, volume: VolumeId, fault: FaultView, by: Peer) -> Result<(), BackendError>;

    /// Takes all faults of a volume away; operations that hang by one of them end.
    ///
    /// # Errors
    /// [`BackendError`] if the configuration does not allow fault injection.
    fn clear_faults(&self, volume: VolumeId, by: Peer) -> Result<(), BackendError>;

    /// Lets a volume with a thin limit allocate `add_bytes` more.
    ///
    /// # Errors
    /// [`BackendError`] if it has no thin limit, or the limit would exceed what a number holds.
    fn grow_thin(&self, volume: VolumeId, add_bytes: u64, by: Peer) -> Result<ThinView, BackendError>;

    /// What happens to refused data of a volume, as it is in force.
    ///
    /// # Errors
    /// [`BackendError`] if there is no such volume any more.
    fn policy(&self, volume: VolumeId) -> Result<PolicyView, BackendError>;

    /// Puts another policy in force, on behalf of `by`. Each reactor answers that it holds.
    ///
    /// # Errors
    /// [`BackendError`] if the daemon is stopping; then nothing was changed.
    fn set_policy(&self, volume: VolumeId, policy: PolicyView, by: Peer) -> Result<Answers, BackendError>;

    /// Reads the configuration again and puts in force what differs; with `dry_run` only says what differs. All or
    /// nothing. Waits for the disk of the configuration.
    ///
    /// # Errors
    /// [`BackendError`] if the file makes no sense, or something differs that needs a restart; nothing was changed then.
    fn reload(&self, dry_run: bool, by: Peer) -> Result<ReloadView, BackendError>;

    /// Adds the volume that `toml` describes, one `[[volume]]` of a configuration; with `dry_run` only says whether that would
    /// work. Waits for its disk and the ledger's.
    ///
    /// # Errors
    /// [`BackendError`] if it makes no sense, does not fit beside the others, or cannot be opened; nothing was changed then.
    fn add_volume(&self, toml: &str, dry_run: bool, by: Peer) -> Result<AddedView, BackendError>;

    /// Ends a volume's sessions, writes back what it has, and lets its device go. With `abandon` what cannot be written is
    /// recorded as lost; without it, it is an obstacle. With `dry_run` only says what stands in the way now. Waits for the
    /// disks of the volume and of the ledger.
    ///
    /// # Errors
    /// [`BackendError`] if it holds what cannot be written, or the device does not answer: then the volume serves again.
    fn remove_volume(
        &self,
        volume: VolumeId,
        abandon: bool,
        dry_run: bool,
        by: Peer,
    ) -> Result<RemovedView, BackendError>;

    /// Gives a volume another budget, as a configuration would say it; with `dry_run` only says what would change.
    ///
    /// # Errors
    /// [`BackendError`] if it is none, or does not fit beside the others; nothing was changed then.
    fn set_budget(
        &self,
        volume: VolumeId,
        budget: &str,
        dry_run: bool,
        by: Peer,
    ) -> Result<ReloadView, BackendError>;

    /// Makes a volume's backing larger, and has each reactor answer that the volume is; with `dry_run` only says whether
    /// that would work, and nobody answers. Returns the size before. Waits for the volume's disk and the ledger's.
    ///
    /// # Errors
    /// [`BackendError`] if the device or the volume cannot grow to this size; nothing was changed then.
    fn resize(
        &self,
        volume: VolumeId,
        bytes: u64,
        dry_run: bool,
        by: Peer,
    ) -> Result<(u64, Option<Answers>), BackendError>;

    /// Who is connected, in the order of their numbers.
    fn sessions(&self) -> Vec<SessionView>;

    /// Cuts a client off. `None` if there is no such session.
    fn end_session(&self, id: u64, by: Peer) -> Option<SessionView>;

    /// What operators did, from the row after `since` on, or the newest, the oldest first, at most `limit`. Waits for the
    /// ledger's disk if a commit is under way.
    fn audit(&self, since: Option<u64>, limit: usize) -> AuditPage;

    /// Closes a volume's device: what needs it finds it gone until it is opened again. Waits for the reactors.
    ///
    /// # Errors
    /// [`BackendError`] if it cannot be closed without harm to others; nothing was changed then.
    fn release(&self, volume: VolumeId, by: Peer) -> Result<(), BackendError>;

    /// Opens a volume's device again, at `path` if one is given, and has tried what waits for it; with `dry_run` only looks
    /// whether it is the volume's device. Returns where it is. Waits for the device and the reactors.
    ///
    /// # Errors
    /// [`BackendError`], which says what was changed, if anything.
    fn reopen(
        &self,
        volume: VolumeId,
        path: Option<PathBuf>,
        dry_run: bool,
        by: Peer,
    ) -> Result<PathBuf, BackendError>;

    /// Begins the daemon's end: drain, and exit. With `abandon` what cannot be written is recorded as lost.
    fn shutdown(&self, abandon: bool, by: Peer);
}

/// Why the backend does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// It makes no sense in itself: a value that is none, or out of its range.
    #[error("{what}")]
    Senseless {
        /// The thing and the cause, one sentence.
        what: String,
        /// The way out, one sentence.
        remedy: String,
    },
    /// It makes no sense for this volume or configuration, and will not until somebody changes that.
    #[error("{what}")]
    Refused {
        /// The thing and the cause, one sentence.
        what: String,
        /// The way out, one sentence.
        remedy: String,
    },
    /// Not now; the same request can succeed later.
    #[error("{what}")]
    Busy {
        /// The thing and the cause, one sentence.
        what: String,
        /// The way out, one sentence.
        remedy: String,
    },
}
