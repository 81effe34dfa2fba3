//! What the rest of the daemon shows to the admin server: plain values, read at one moment.

use crate::config::Difference;
use crate::events::EventCounts;
use crate::latency::{Counts, Kind};
use holdfast_ctl::api::{FaultOperation, VolumeMode, VolumeState};
use holdfast_engine::{ByteRange, CacheStats, Extent, FlushOnFailure, VolumeId, VolumeStats};
use holdfast_policy::{ErrorClass, Rules};

/// The daemon as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonView {
    /// When it started, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// For how long it runs, in milliseconds.
    pub uptime_ms: u64,
    /// Names the contents of the arena.
    pub incarnation: u64,
    /// Bytes of a cache line.
    pub line_bytes: u32,
    /// One for each reactor, in the order of their numbers.
    pub reactors: Vec<ReactorView>,
    /// The socket that clients connect to.
    pub socket: String,
    /// Clients that are connected.
    pub sessions: u32,
    /// How many may be.
    pub sessions_max: u32,
    /// The cache's memory.
    pub arena: ArenaView,
    /// The record of failures.
    pub ledger: LedgerView,
    /// What works but could work better, each with its remedy: fall-backs found at start.
    pub warnings: Vec<String>,
}

/// One reactor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReactorView {
    /// The CPU it is pinned to; none if it could not be pinned.
    pub core: Option<u32>,
    /// Its engine's cache.
    pub cache: CacheStats,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Turns that found nothing.
    pub idle_turns: u64,
    /// The longest turn in nanoseconds.
    pub longest_turn_ns: u64,
    /// Milliseconds since it last turned, or 0 while it sleeps because there is nothing to do.
    pub silent_ms: u64,
}

/// The cache's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaView {
    /// Where its files are.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it is made of huge pages.
    pub huge_pages: bool,
}

/// The record of failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerView {
    /// Its file.
    pub path: String,
    /// Why it cannot be written; none while it can.
    pub stuck: Option<StuckView>,
}

/// Why the ledger cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StuckView {
    /// What its file system said.
    pub errno: u16,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Transitions that wait to be recorded.
    pub waiting_entries: u64,
}

/// One volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeView {
    /// Its name in the configuration.
    pub name: String,
    /// Its number.
    pub id: VolumeId,
    /// Its size; what the configuration or the ledger says if it is not open, 0 if neither does.
    pub size_bytes: u64,
    /// When writes are acknowledged.
    pub mode: VolumeMode,
    /// Whether clients can use it.
    pub state: VolumeState,
    /// Why it is not serving, one sentence; none if it is.
    pub why: Option<String>,
    /// Its device was let go of and not opened again.
    pub released: bool,
    /// Operations of an earlier daemon are in flight on its device for longer than a kill explains.
    pub haunted: bool,
    /// Its device has not been opened yet: it does not answer.
    pub unopened: bool,
    /// The path of the file or block device.
    pub path: String,
    /// Whether I/O bypasses the page cache.
    pub direct: bool,
    /// What it is known by.
    pub identity: String,
    /// Its failure policy in one line.
    pub policy: String,
    /// Its counters, summed over reactors; of `gate_*` and `next_probe_ms` those of a reactor whose gate is closed,
    /// the soonest probe first.
    pub stats: VolumeStats,
    /// Its thin limit, if it has one.
    pub thin: Option<ThinView>,
    /// Injected faults that are in force.
    pub faults: u32,
}

/// What was measured and counted since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// One for each volume, in the order of the configuration.
    pub volumes: Vec<VolumeMeasures>,
    /// How long the busy turns were, one for each reactor.
    pub turns: Vec<Counts>,
    /// Of what somebody was to be told.
    pub events: EventCounts,
}

/// What was measured of a volume, summed over reactors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeMeasures {
    /// How long clients waited for an answer, by [`Kind`].
    pub requests: [Counts; Kind::ALL.len()],
    /// How long its device took, by [`Kind`].
    pub device: [Counts; Kind::ALL.len()],
    /// Operations that its device refused, by error class in the order of their numbers.
    pub refused: [u64; ErrorClass::ALL.len()],
}

/// Space that a file volume may allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinView {
    /// What may be allocated.
    pub limit_bytes: u64,
    /// What is allocated.
    pub allocated_bytes: u64,
}

/// What happens to refused data of a volume.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyView {
    /// By error class.
    pub rules: Rules,
    /// What a flush does that cannot succeed.
    pub flush_on_failure: FlushOnFailure,
}

/// What a reload found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadView {
    /// The file.
    pub config: String,
    /// What differs from what was in force.
    pub differences: Vec<Difference>,
}

/// A volume that was added, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedView {
    /// Its name.
    pub name: String,
    /// The configuration of the daemon, if it has one.
    pub config: Option<String>,
    /// What that has to say for the volume to be there after a restart.
    pub toml: String,
    /// Bytes that are on record as lost from an earlier use.
    pub lost_bytes: u64,
}

/// A volume that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedView {
    /// Its name.
    pub name: String,
    /// Sessions that were ended.
    pub sessions: u64,
    /// Bytes that were given up.
    pub given_up_bytes: u64,
    /// Bytes that are on record as lost, those that were given up among them.
    pub lost_bytes: u64,
    /// The configuration that still names it: the next start or reload brings it back.
    pub config: Option<String>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its number, as its client knows it.
    pub id: u64,
    /// The volume's name.
    pub volume: String,
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// It is being let go.
    pub leaving: bool,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditView {
    /// Counts from 1 since the ledger began.
    pub number: u64,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// Who.
    pub who: String,
    /// What.
    pub verb: String,
}

/// A page of what operators did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The oldest first.
    pub rows: Vec<AuditView>,
    /// Rows after `since` that were forgotten before this page.
    pub missed: u64,
    /// Rows that are kept from before this page, if the newest were asked for.
    pub earlier: u64,
    /// Rows that came after this page.
    pub later: u64,
}

/// A page of losses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossPage {
    /// In the order of their offsets.
    pub extents: Vec<Extent>,
    /// Where the next page begins, if there is one; above every extent of this page.
    pub next: Option<u64>,
}

/// What a failed flush reported.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplanationPage {
    /// The volume's name; it may not be configured any more.
    pub volume: String,
    /// What the client got.
    pub errno: u16,
    /// When the set was reported first, milliseconds since 1970.
    pub reported_unix_ms: u64,
    /// Whether any of it is still not stable.
    pub unresolved: bool,
    /// In the order of their offsets.
    pub extents: Vec<Extent>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// A failed flush that was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportView {
    /// Its id.
    pub id: u64,
    /// The volume's name; it may not be configured any more.
    pub volume: String,
    /// When it was reported first, milliseconds since 1970.
    pub reported_unix_ms: u64,
    /// Whether any of what it named is still not stable.
    pub unresolved: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// A stable word, `first_failure`.
    pub kind: &'static str,
    /// The volume it is about, if it is about one.
    pub volume: Option<String>,
    /// What happened, one sentence.
    pub message: String,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsPage {
    /// The oldest first.
    pub events: Vec<EventView>,
    /// Events after `since` that were forgotten before this page.
    pub missed: u64,
    /// Events that are kept from before this page, if the newest were asked for.
    pub earlier: u64,
    /// Events that came after this page.
    pub later: u64,
}

/// An injected fault. The server has checked it: the errno is 1 to 4095, the range lies in the volume (and is
/// [`ByteRange::ALL`] for a flush), the sequence is 1 to 64 letters of `x w X W h`, `X` and `W` only at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultView {
    /// Which device operations it meets.
    pub operation: FaultOperation,
    /// What they fail with.
    pub errno: u16,
    /// Where.
    pub range: ByteRange,
    /// What happens to matching operations, in order.
    pub sequence: String,
}
