//! What operators may have done: the hub as the admin server sees it.

use super::added;
use super::attach::{refused, senseless};
use super::hub::{End, Hub};
use super::registry::session_of;
use super::remove::Farewell;
use super::table::Served;
use super::{history, map, reload, typed, views};
use crate::admin::{
    AddedView, Answers, AuditPage, Backend, BackendError, DaemonView, EventsPage, ExplanationPage, FaultView,
    LossPage, Measures, Peer, PolicyView, ReloadView, RemovedView, ReportView, SessionView, ThinView,
    VolumeView,
};
use crate::config::{self, Settings, VolumeSettings};
use crate::device::{Faults, Sequence};
use crate::reactor::{Link, Word};
use holdfast_ctl::api::FaultOperation;
use holdfast_engine::{Command, Instant, VolumeId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Hub {
    /// A volume, if it is still there.
    pub(super) fn served(&self, volume: VolumeId) -> Result<Arc<Served>, BackendError> {
        self.table().get(volume).cloned().ok_or_else(|| BackendError::Refused {
            what: "The volume was removed meanwhile.".to_owned(),
            remedy: "Nothing was done. 'holdfastctl volumes' lists those that are there.".to_owned(),
        })
    }

    fn name_of(&self, volume: VolumeId) -> String {
        self.table().get(volume).map_or_else(|| "?".to_owned(), |served| served.name().to_owned())
    }

    fn faults_of(&self, volume: VolumeId) -> Result<Arc<Faults>, BackendError> {
        self.served(volume)?.faults.clone().ok_or_else(|| BackendError::Refused {
            what: "fault injection is off".to_owned(),
            remedy: "set 'debug.fault_injection = true' and start the daemon again".to_owned(),
        })
    }

    /// The operators' thread must not wait for a reactor that does not turn.
    fn refuse_if_crowded(&self) -> Result<(), BackendError> {
        let Some(number) = self.links.iter().position(Link::is_crowded) else { return Ok(()) };
        Err(BackendError::Busy {
            what: format!("Reactor {number} does not take its letters."),
            remedy: "Nothing was done. See 'holdfastctl status' for a reactor that does not turn.".to_owned(),
        })
    }

    /// Keeps who did what.
    fn record(&self, by: Peer, verb: &str) {
        let pid = by.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        let who = format!("uid {}, gid {}, pid {pid}", by.uid, by.gid);
        tracing::info!(%who, %verb, "an operator's command");
        self.book.audit(who, verb.to_owned());
    }
}

impl Backend for Hub {
    fn daemon(&self) -> DaemonView {
        views::daemon(self)
    }

    fn volumes(&self) -> Vec<VolumeView> {
        self.table().iter().map(|served| views::volume(self, served)).collect()
    }

    fn measures(&self, of: &[VolumeView]) -> Measures {
        views::measures(self, of)
    }

    fn map(&self, volume: VolumeId, cell_bytes: u64) -> Vec<u8> {
        let Ok(served) = self.served(volume) else { return Vec::new() };
        map::cells(&served.sheets, served.bytes.load(Ordering::Acquire), cell_bytes)
    }

    fn unix_ms(&self, at: Instant) -> u64 {
        self.clock.unix_ms(at)
    }

    fn command(&self, volume: VolumeId, command: Command, by: Peer) -> Result<Answers, BackendError> {
        self.refuse_if_crowded()?;
        if let Some(words) = typed::command(self.served(volume)?.name(), &command) {
            self.record(by, &words);
        }
        self.ask(volume, &command)
    }

    fn recorded_losses(&self, volume: VolumeId, from: u64, limit: usize) -> LossPage {
        views::losses(self, volume, from, limit)
    }

    fn explain(&self, id: u64, from: u64, limit: usize) -> Option<ExplanationPage> {
        views::explain(self, id, from, limit)
    }

    fn reports(&self, limit: usize) -> Vec<ReportView> {
        views::reports(self, limit)
    }

    fn events(&self, since: Option<u64>, limit: usize) -> EventsPage {
        history::events(self, since, limit)
    }

    fn faults(&self, volume: VolumeId) -> Result<Vec<FaultView>, BackendError> {
        Ok(self.faults_of(volume)?.list().iter().map(|status| views::fault(&status.spec)).collect())
    }

    fn set_fault(&self, volume: VolumeId, fault: FaultView, by: Peer) -> Result<(), BackendError> {
        let faults = self.faults_of(volume)?;
        let words = typed::fault(self.served(volume)?.name(), &fault);
        let sequence: Sequence = fault.sequence.parse().map_err(|error| BackendError::Refused {
            what: format!("{error}"),
            remedy: "write a sequence such as 'xxwX'".to_owned(),
        })?;
        let operation = match fault.operation {
            FaultOperation::Read => crate::device::FaultOperation::Read,
            FaultOperation::Write => crate::device::FaultOperation::Write,
            FaultOperation::Flush => crate::device::FaultOperation::Flush,
        };
        let range = (operation != crate::device::FaultOperation::Flush).then_some(fault.range);
        faults.add(crate::device::FaultSpec { operation, errno: fault.errno, range, sequence });
        self.record(by, &words);
        Ok(())
    }

    fn clear_faults(&self, volume: VolumeId, by: Peer) -> Result<(), BackendError> {
        self.faults_of(volume)?.clear();
        for link in self.links.iter() {
            link.inbox.ring();
        }
        self.record(by, &format!("fault {} clear", self.name_of(volume)));
        Ok(())
    }

    fn grow_thin(&self, volume: VolumeId, add_bytes: u64, by: Peer) -> Result<ThinView, BackendError> {
        let served = self.served(volume)?;
        let name = served.name();
        let thin = served.thin.as_ref().ok_or_else(|| BackendError::Refused {
            what: format!("volume '{name}' has no thin limit"),
            remedy: "make room on its own file system or device".to_owned(),
        })?;
        let limit_bytes = thin.grow(add_bytes);
        self.record(by, &format!("volume grow-thin {name} {add_bytes}"));
        Ok(ThinView { limit_bytes, allocated_bytes: thin.used() })
    }

    fn policy(&self, volume: VolumeId) -> Result<PolicyView, BackendError> {
        let VolumeSettings { rules, flush_on_failure, .. } = self.settings_of(&*self.served(volume)?);
        Ok(PolicyView { rules, flush_on_failure })
    }

    fn set_policy(&self, volume: VolumeId, policy: PolicyView, by: Peer) -> Result<Answers, BackendError> {
        self.refuse_if_crowded()?;
        let _changing = self.changing()?;
        let served = self.served(volume)?;
        let mut settings = Settings::clone(&self.in_force());
        let changed = settings.volumes.iter_mut().find(|volume| volume.name == served.name());
        let changed = changed.expect("a volume that is served has settings");
        (changed.rules, changed.flush_on_failure) = (policy.rules, policy.flush_on_failure);
        let command = Command::SetPolicy { tuning: Box::new(reload::tuning(changed)) };
        self.record(by, &typed::policy(&changed.name, &policy));
        let answers = self.ask(volume, &command)?;
        self.put_in_force(settings);
        Ok(answers)
    }

    fn add_volume(&self, toml: &str, dry_run: bool, by: Peer) -> Result<AddedView, BackendError> {
        self.refuse_if_crowded()?;
        let _changing = self.changing()?;
        let before = self.in_force();
        let cannot = |why: String| {
            senseless(format!("The volume cannot be added: {why}."), "Correct that, and do it again.")
        };
        let after = config::with_volume(&before, toml).map_err(cannot)?;
        let volume = after.volumes.last().expect("it was added").clone();
        let name = volume.name.clone();
        let mut lost_bytes = 0;
        if !dry_run {
            let state_dir = &self.settings.daemon.state_dir;
            // A daemon that is killed from here on knows whose the data in its arena is.
            added::remember(state_dir, &volume).map_err(|error| {
                let what = format!("It cannot be remembered in '{}': {error}.", state_dir.display());
                refused(what, "Give the state directory room.")
            })?;
            self.change_over(after, false).inspect_err(|_| added::forget_one(state_dir, &name))?;
            self.record(by, &format!("volume add {name} on {}", volume.backing.path().display()));
            lost_bytes = self.table().named(&name).map_or(0, |served| self.lost_bytes(served));
        }
        let config = self.config.as_ref().map(|path| path.display().to_string());
        Ok(AddedView { name, config, toml: toml.to_owned(), lost_bytes })
    }

    fn remove_volume(
        &self,
        volume: VolumeId,
        abandon: bool,
        dry_run: bool,
        by: Peer,
    ) -> Result<RemovedView, BackendError> {
        self.refuse_if_crowded()?;
        let _changing = self.changing()?;
        let served = self.served(volume)?;
        let name = served.name().to_owned();
        let before = self.in_force();
        if before.volumes.len() == 1 {
            let what = format!("Volume '{name}' is the only one: a daemon without volumes serves nobody.");
            return Err(refused(
                what,
                "Add another one first; or end the daemon with 'holdfastctl shutdown'.",
            ));
        }
        if before.frontends.iter().any(|frontend| frontend.volumes().contains(&name)) {
            let what = format!("A [[frontend]] of the configuration names volume '{name}'.");
            return Err(refused(what, "Take it out there, and start the daemon again without it."));
        }
        let config = self.config.as_ref().filter(|path| {
            let settings = config::load(path);
            settings.is_ok_and(|settings| settings.volumes.iter().any(|volume| volume.name == name))
        });
        let config = config.map(|path| path.display().to_string());
        if dry_run {
            if !abandon {
                self.refuse_if_held(&served)?;
            }
            let sessions = u64::try_from(self.sessions.count_of(volume)).expect("few seats");
            let (given_up_bytes, lost_bytes) = (0, self.lost_bytes(&served));
            return Ok(RemovedView { name, sessions, given_up_bytes, lost_bytes, config });
        }
        // Before anything is given up: who did it is on record in any case.
        let flags = if abandon { " --abandon --yes-lose-data" } else { "" };
        self.record(by, &format!("volume remove {name}{flags}"));
        let farewell = self.change_over(config::without_volume(&before, &name), abandon)?;
        let Farewell { sessions, given_up_bytes } = farewell.first().copied().unwrap_or_default();
        let lost_bytes = self.book.ledger().lost_of(&name);
        Ok(RemovedView { name, sessions, given_up_bytes, lost_bytes, config })
    }

    fn set_budget(
        &self,
        volume: VolumeId,
        budget: &str,
        dry_run: bool,
        by: Peer,
    ) -> Result<ReloadView, BackendError> {
        self.refuse_if_crowded()?;
        let _changing = self.changing()?;
        let served = self.served(volume)?;
        let before = self.in_force();
        let cannot = |why: String| {
            senseless(format!("The budget cannot be '{budget}': {why}."), "Write one that fits.")
        };
        let after = config::with_budget(&before, served.name(), budget).map_err(cannot)?;
        let differences = self.differences(&before, &after);
        if !dry_run && !differences.is_empty() {
            self.change_over(after, false)?;
            self.record(by, &format!("volume budget {} {budget}", served.name()));
        }
        let config = self.config.as_ref().map_or_else(String::new, |path| path.display().to_string());
        Ok(ReloadView { config, differences })
    }

    fn reload(&self, dry_run: bool, by: Peer) -> Result<ReloadView, BackendError> {
        let reloaded = self.reload_configuration(dry_run)?;
        if !dry_run {
            self.record(by, "reload");
        }
        Ok(reloaded)
    }

    fn resize(
        &self,
        volume: VolumeId,
        bytes: u64,
        dry_run: bool,
        by: Peer,
    ) -> Result<(u64, Option<Answers>), BackendError> {
        let grown = self.grow_volume(volume, bytes, dry_run)?;
        if !dry_run {
            self.record(by, &format!("volume resize {} {bytes}", self.name_of(volume)));
        }
        Ok(grown)
    }

    fn release(&self, volume: VolumeId, by: Peer) -> Result<(), BackendError> {
        self.refuse_if_crowded()?;
        self.release_device(volume)?;
        self.record(by, &format!("volume release {}", self.name_of(volume)));
        Ok(())
    }

    fn reopen(
        &self,
        volume: VolumeId,
        path: Option<PathBuf>,
        dry_run: bool,
        by: Peer,
    ) -> Result<PathBuf, BackendError> {
        self.refuse_if_crowded()?;
        let path = self.reopen_device(volume, path, dry_run)?;
        if !dry_run {
            let name = self.name_of(volume);
            self.record(by, &format!("volume reopen {name} --path {}", path.display()));
        }
        Ok(path)
    }

    fn sessions(&self) -> Vec<SessionView> {
        self.sessions.list(None, |volume| self.name_of(volume))
    }

    fn end_session(&self, id: u64, by: Peer) -> Option<SessionView> {
        let session = session_of(id)?;
        let found = self.sessions.list(Some(id), |volume| self.name_of(volume)).pop()?;
        self.record(by, &format!("sessions kill {id} (volume {}, pid {})", found.volume, found.pid));
        let mut word = Word::Over { session, fault: None };
        // The keeper empties its box all the time.
        while let Err(back) = self.words.push(word) {
            word = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(found)
    }

    fn audit(&self, since: Option<u64>, limit: usize) -> AuditPage {
        history::audit(self, since, limit)
    }

    fn shutdown(&self, abandon: bool, by: Peer) {
        self.record(by, if abandon { "shutdown --abandon --yes-lose-data" } else { "shutdown" });
        self.request_end(if abandon { End::Abandon } else { End::Drain });
    }
}
