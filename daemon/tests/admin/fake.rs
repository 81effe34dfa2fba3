//! A made-up daemon: what it holds is set by the test, and it remembers what it was told.

use holdfast_ctl::api::{VolumeMode, VolumeState};
use holdfast_daemon::admin::{
    AddedView, Answers, ArenaView, AuditPage, AuditView, Backend, BackendError, DaemonView, EventView,
    EventsPage, ExplanationPage, FaultView, LedgerView, LossPage, Measures, Peer, PolicyView, ReactorView,
    ReloadView, RemovedView, ReportView, SessionView, ThinView, VolumeView,
};
use holdfast_daemon::config::Difference;
use holdfast_engine::{
    Answer, ByteRange, Command, Extent, FlushOnFailure, Instant, LIST_PAGE, ListState, VolumeId, VolumeStats,
};
use holdfast_policy::{ClassSet, HoldUntilPressure, Policy, Retry, Rule, Rules};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::mpsc;

/// Reactors of the fake.
pub(crate) const REACTORS: u32 = 3;
/// Its stripes.
pub(crate) const STRIPE: u64 = 1 << 20;
/// Its lines.
pub(crate) const LINE: u64 = 4096;
/// Its clock's zero on the wall clock: 2026-01-02T03:04:05Z.
pub(crate) const EPOCH_MS: u64 = 1_767_323_045_000;

/// How the reactors take commands other than listings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They do what they are told.
    #[default]
    Willing,
    /// Each retry leaves one line of each reactor refused, each drain one line behind.
    HalfHearted,
    /// They never answer.
    Hanging,
    /// They refuse.
    Refusing,
    /// The daemon stops meanwhile.
    Stopping,
}

/// What the test sets and looks at.
pub(crate) struct State {
    pub(crate) daemon: DaemonView,
    pub(crate) volumes: Vec<VolumeView>,
    /// Extents of volume 0 in any state that is listed, in order; cut at stripes.
    pub(crate) extents: Vec<Extent>,
    pub(crate) recorded_losses: Vec<Extent>,
    pub(crate) explanation: Option<(u64, ExplanationPage)>,
    pub(crate) events: Vec<EventView>,
    pub(crate) faults: Option<Vec<FaultView>>,
    pub(crate) mood: Mood,
    pub(crate) commands: Vec<(VolumeId, Command, Peer)>,
    pub(crate) shutdown: Option<bool>,
    pub(crate) policies: Vec<PolicyView>,
    pub(crate) sessions: Vec<SessionView>,
    /// Those that were cut off.
    pub(crate) killed: Vec<u64>,
    pub(crate) audit: Vec<AuditView>,
    /// What a reload finds, or why it refuses.
    pub(crate) reload: Result<Vec<Difference>, BackendError>,
    /// How often something was loaded for good.
    pub(crate) reloads: u32,
    pub(crate) measures: Measures,
    /// Volumes that were added and removed, and budgets.
    pub(crate) deeds: Vec<String>,
    /// What the cells of every map repeat.
    pub(crate) map: Vec<u8>,
    hanging: Vec<mpsc::Sender<(u32, Answer)>>,
}

/// The made-up daemon.
pub(crate) struct Fake {
    state: Mutex<State>,
}

/// A volume that serves and is well.
pub(crate) fn volume(name: &str, id: u16) -> VolumeView {
    VolumeView {
        name: name.to_owned(),
        id: VolumeId(id),
        size_bytes: 10 << 30,
        mode: VolumeMode::WriteBack,
        state: VolumeState::Serving,
        why: None,
        released: false,
        haunted: false,
        unopened: false,
        path: format!("/srv/{name}.img"),
        direct: true,
        identity: format!("ext4:{id}"),
        policy: "space, transient: hold-until-pressure; any: evict-immediately".to_owned(),
        stats: VolumeStats { budget: 1000, ..VolumeStats::default() },
        thin: None,
        faults: 0,
    }
}

/// One rule for everything: hold until pressure.
pub(crate) fn policy() -> PolicyView {
    let policy = Policy::HoldUntilPressure(HoldUntilPressure::default());
    let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
    let rules = Rules::new(&[rule]).expect("one rule for all");
    PolicyView { rules, flush_on_failure: FlushOnFailure::Report }
}

impl Fake {
    pub(crate) fn new() -> Fake {
        let reactor = ReactorView { core: Some(2), busy_turns: 10, idle_turns: 90, ..ReactorView::default() };
        let daemon = DaemonView {
            started_unix_ms: EPOCH_MS,
            uptime_ms: 3_600_000,
            incarnation: 0xabc,
            line_bytes: LINE as u32,
            reactors: vec![reactor; REACTORS as usize],
            socket: "/nowhere/clients.sock".to_owned(),
            sessions: 0,
            sessions_max: 64,
            arena: ArenaView { path: "/dev/hugepages/holdfast".to_owned(), bytes: 8 << 30, huge_pages: true },
            ledger: LedgerView { path: "/var/lib/holdfast/ledger".to_owned(), stuck: None },
            warnings: Vec::new(),
        };
        let state = State {
            daemon,
            volumes: vec![volume("vm1", 0), volume("vm2", 1)],
            extents: Vec::new(),
            recorded_losses: Vec::new(),
            explanation: None,
            events: Vec::new(),
            faults: Some(Vec::new()),
            mood: Mood::default(),
            commands: Vec::new(),
            shutdown: None,
            policies: vec![policy(), policy()],
            sessions: Vec::new(),
            killed: Vec::new(),
            audit: Vec::new(),
            reload: Ok(Vec::new()),
            reloads: 0,
            measures: Measures::default(),
            deeds: Vec::new(),
            map: b".".to_vec(),
            hanging: Vec::new(),
        };
        Fake { state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the state in hand")
    }
}

/// An extent that the device refused with ENOSPC, 1 s and 2 s after the epoch.
pub(crate) fn failed(offset: u64, length: u64) -> Extent {
    let (first, last) = (Instant(1_000_000_000), Instant(2_000_000_000));
    let range = ByteRange { offset, length };
    Extent { range, state: ListState::Failed, class: 2, errno: 28, attempts: 3, first, last }
}

impl State {
    /// Lets the reactors that hang go on, and everything is done.
    pub(crate) fn release(&mut self) {
        for sender in self.hanging.drain(..) {
            for reactor in 0..REACTORS {
                sender
                    .try_send((reactor, Answer::Retried { tried: 2, failed: 0 }))
                    .expect("there is room for all");
            }
        }
    }

    /// Every reactor says at once that it is done.
    fn all_done(&mut self) -> Answers {
        let (sender, answers) = mpsc::channel(REACTORS as usize);
        for reactor in 0..REACTORS {
            sender.try_send((reactor, Answer::Done)).expect("there is room for all");
        }
        answers
    }

    fn list(&self, reactor: u32, state: ListState, from: u64) -> Answer {
        let own =
            |extent: &&Extent| (extent.range.offset / STRIPE) % u64::from(REACTORS) == u64::from(reactor);
        let begin = self.extents.partition_point(|extent| extent.range.end() <= from);
        let mut found = self.extents[begin..].iter().filter(own).filter(|extent| extent.state == state);
        let extents: Vec<Extent> = found.by_ref().take(LIST_PAGE).copied().collect();
        Answer::Listed { extents, next: found.next().map(|extent| extent.range.offset) }
    }

    fn obey(&mut self, reactor: u32, volume: VolumeId, command: Command) -> Answer {
        let left = u64::from(self.mood == Mood::HalfHearted);
        let mine = |lines: u64| lines / u64::from(REACTORS);
        let stats = &self.volumes[usize::from(volume.0)].stats;
        match command {
            _ if self.mood == Mood::Refusing => Answer::Refused { errno: 95 },
            Command::List { state, from } => self.list(reactor, state, from),
            Command::Retry { .. } => Answer::Retried { tried: mine(stats.failed), failed: left },
            Command::Drop { .. } | Command::Abandon => Answer::Dropped { bytes: mine(stats.failed) * LINE },
            Command::AckLoss { .. } => Answer::Acknowledged { bytes: mine(stats.lost) * LINE },
            Command::Drain => Answer::Drained { left },
            Command::CancelRetries => Answer::Done,
            Command::SetPolicy { .. }
            | Command::Grow { .. }
            | Command::SetBudget { .. }
            | Command::Close { .. }
            | Command::Reopen
            | Command::Detach
            | Command::RestoreLoss { .. }
            | Command::RestoreReport { .. } => Answer::Done,
        }
    }
}

impl Backend for Fake {
    fn daemon(&self) -> DaemonView {
        self.state().daemon.clone()
    }

    fn volumes(&self) -> Vec<VolumeView> {
        self.state().volumes.clone()
    }

    fn measures(&self, _: &[VolumeView]) -> Measures {
        self.state().measures.clone()
    }

    fn unix_ms(&self, at: Instant) -> u64 {
        // As the daemon's clock has it: no time is none.
        if at.0 == 0 { 0 } else { EPOCH_MS + at.0 / 1_000_000 }
    }

    fn command(&self, volume: VolumeId, command: Command, by: Peer) -> Result<Answers, BackendError> {
        let mut state = self.state();
        let (sender, answers) = mpsc::channel(REACTORS as usize);
        let listing = matches!(command, Command::List { .. });
        if !listing {
            state.commands.push((volume, command.clone(), by));
        }
        match state.mood {
            Mood::Hanging if !listing => state.hanging.push(sender),
            Mood::Stopping => drop(sender),
            // The last reactor answers first: the order must not matter.
            _ => {
                for reactor in (0..REACTORS).rev() {
                    let answer = state.obey(reactor, volume, command.clone());
                    sender.try_send((reactor, answer)).expect("there is room for all");
                }
            }
        }
        Ok(answers)
    }

    fn map(&self, _: VolumeId, cell_bytes: u64) -> Vec<u8> {
        self.state().map.iter().copied().cycle().take((10 << 30) / cell_bytes as usize).collect()
    }

    fn recorded_losses(&self, _: VolumeId, from: u64, limit: usize) -> LossPage {
        let state = self.state();
        let mut rest = state.recorded_losses.iter().filter(|extent| extent.range.offset >= from);
        let extents = rest.by_ref().take(limit).copied().collect();
        LossPage { extents, next: rest.next().map(|extent| extent.range.offset) }
    }

    fn explain(&self, id: u64, from: u64, limit: usize) -> Option<ExplanationPage> {
        let state = self.state();
        let (_, whole) = state.explanation.as_ref().filter(|(known, _)| *known == id)?;
        let mut rest = whole.extents.iter().filter(|extent| extent.range.offset >= from);
        let extents = rest.by_ref().take(limit).copied().collect();
        let next = rest.next().map(|extent| extent.range.offset);
        Some(ExplanationPage { extents, next, ..whole.clone() })
    }

    fn reports(&self, limit: usize) -> Vec<ReportView> {
        let state = self.state();
        let view = |(id, page): &(u64, ExplanationPage)| ReportView {
            id: *id,
            volume: page.volume.clone(),
            reported_unix_ms: page.reported_unix_ms,
            unresolved: page.unresolved,
        };
        state.explanation.iter().map(view).take(limit).collect()
    }

    fn events(&self, since: Option<u64>, limit: usize) -> EventsPage {
        let (events, missed, earlier, later) = page(&self.state().events, |event| event.number, since, limit);
        EventsPage { events, missed, earlier, later }
    }

    fn faults(&self, _: VolumeId) -> Result<Vec<FaultView>, BackendError> {
        self.state().faults.clone().ok_or_else(not_allowed)
    }

    fn set_fault(&self, _: VolumeId, fault: FaultView, _: Peer) -> Result<(), BackendError> {
        self.state().faults.as_mut().ok_or_else(not_allowed)?.push(fault);
        Ok(())
    }

    fn clear_faults(&self, _: VolumeId, _: Peer) -> Result<(), BackendError> {
        self.state().faults.as_mut().ok_or_else(not_allowed)?.clear();
        Ok(())
    }

    fn grow_thin(&self, volume: VolumeId, add_bytes: u64, _: Peer) -> Result<ThinView, BackendError> {
        let mut state = self.state();
        let volume = &mut state.volumes[usize::from(volume.0)];
        let Some(thin) = &mut volume.thin else {
            let what = format!("Volume '{}' has no thin limit.", volume.name);
            return Err(BackendError::Refused { what, remedy: "Make room on its device.".to_owned() });
        };
        thin.limit_bytes += add_bytes;
        Ok(*thin)
    }

    fn policy(&self, volume: VolumeId) -> Result<PolicyView, BackendError> {
        Ok(self.state().policies[usize::from(volume.0)])
    }

    fn add_volume(&self, toml: &str, dry_run: bool, _: Peer) -> Result<AddedView, BackendError> {
        self.state().deeds.push(format!("add {toml:?} dry_run={dry_run}"));
        let (name, config) = ("vm9".to_owned(), Some("/etc/holdfast.toml".to_owned()));
        Ok(AddedView { name, config, toml: toml.to_owned(), lost_bytes: 0 })
    }

    fn remove_volume(
        &self,
        volume: VolumeId,
        abandon: bool,
        dry_run: bool,
        _: Peer,
    ) -> Result<RemovedView, BackendError> {
        self.state().deeds.push(format!("remove {} abandon={abandon} dry_run={dry_run}", volume.0));
        let name = self.state().volumes[usize::from(volume.0)].name.clone();
        let (given_up_bytes, lost_bytes) = if abandon { (4096, 8192) } else { (0, 0) };
        Ok(RemovedView { name, sessions: 2, given_up_bytes, lost_bytes, config: None })
    }

    fn set_budget(
        &self,
        volume: VolumeId,
        budget: &str,
        dry_run: bool,
        _: Peer,
    ) -> Result<ReloadView, BackendError> {
        self.state().deeds.push(format!("budget {} {budget} dry_run={dry_run}", volume.0));
        Ok(ReloadView { config: String::new(), differences: Vec::new() })
    }

    fn set_policy(&self, volume: VolumeId, policy: PolicyView, _: Peer) -> Result<Answers, BackendError> {
        let mut state = self.state();
        state.policies[usize::from(volume.0)] = policy;
        Ok(state.all_done())
    }

    fn reload(&self, dry_run: bool, _: Peer) -> Result<ReloadView, BackendError> {
        let mut state = self.state();
        let differences = state.reload.clone()?;
        state.reloads += u32::from(!dry_run);
        Ok(ReloadView { config: "/etc/holdfast/holdfast.toml".to_owned(), differences })
    }

    fn resize(
        &self,
        volume: VolumeId,
        bytes: u64,
        dry_run: bool,
        _: Peer,
    ) -> Result<(u64, Option<Answers>), BackendError> {
        let mut state = self.state();
        let before = state.volumes[usize::from(volume.0)].size_bytes;
        if dry_run {
            return Ok((before, None));
        }
        state.volumes[usize::from(volume.0)].size_bytes = bytes;
        let answers = state.all_done();
        Ok((before, Some(answers)))
    }

    fn release(&self, volume: VolumeId, _: Peer) -> Result<(), BackendError> {
        self.state().volumes[usize::from(volume.0)].released = true;
        Ok(())
    }

    fn reopen(
        &self,
        volume: VolumeId,
        path: Option<PathBuf>,
        dry_run: bool,
        _: Peer,
    ) -> Result<PathBuf, BackendError> {
        let mut state = self.state();
        let volume = &mut state.volumes[usize::from(volume.0)];
        let path = path.unwrap_or_else(|| PathBuf::from(&volume.path));
        if !dry_run {
            (volume.released, volume.path) = (false, path.display().to_string());
        }
        Ok(path)
    }

    fn sessions(&self) -> Vec<SessionView> {
        self.state().sessions.clone()
    }

    fn end_session(&self, id: u64, _: Peer) -> Option<SessionView> {
        let mut state = self.state();
        let found = state.sessions.iter().find(|session| session.id == id).cloned()?;
        state.killed.push(id);
        Some(found)
    }

    fn audit(&self, since: Option<u64>, limit: usize) -> AuditPage {
        let (rows, missed, earlier, later) = page(&self.state().audit, |row| row.number, since, limit);
        AuditPage { rows, missed, earlier, later }
    }

    fn shutdown(&self, abandon: bool, _: Peer) {
        self.state().shutdown = Some(abandon);
    }
}

/// Entries after a number, or the newest; how many were forgotten, are left out before them, and after them.
fn page<T: Clone>(
    all: &[T],
    number: impl Fn(&T) -> u64,
    since: Option<u64>,
    limit: usize,
) -> (Vec<T>, u64, u64, u64) {
    let after: Vec<T> = all.iter().filter(|one| number(one) > since.unwrap_or(0)).cloned().collect();
    let missed = after.first().map_or(0, |first| number(first) - since.unwrap_or(0) - 1);
    let earlier = if since.is_some() { 0 } else { after.len().saturating_sub(limit) };
    let shown: Vec<T> = after[earlier..].iter().take(limit).cloned().collect();
    let later = after.len() - earlier - shown.len();
    (shown, missed, earlier as u64, later as u64)
}

fn not_allowed() -> BackendError {
    BackendError::Refused {
        what: "Fault injection is off.".to_owned(),
        remedy: "Set 'fault_injection = true' under [debug] and restart.".to_owned(),
    }
}
