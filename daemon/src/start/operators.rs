//! What operators may have done: the hub as the admin server sees it.

use super::hub::{End, Hub, Served};
use super::registry::session_of;
use super::{map, reload, typed, views};
use crate::admin::{
    Answers, AuditPage, Backend, BackendError, DaemonView, EventsPage, ExplanationPage, FaultView, LossPage,
    Measures, Peer, PolicyView, ReloadView, SessionView, ThinView, VolumeView,
};
use crate::config::{Settings, VolumeSettings};
use crate::device::{Faults, Sequence};
use crate::reactor::{Link, Word};
use holdfast_ctl::api::FaultOperation;
use holdfast_engine::{Command, Instant, VolumeId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Hub {
    fn served(&self, volume: VolumeId) -> &Served {
        &self.volumes[usize::from(volume.0)]
    }

    fn faults_of(&self, volume: VolumeId) -> Result<&Arc<Faults>, BackendError> {
        self.served(volume).faults.as_ref().ok_or_else(|| BackendError::Refused {
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
        (0..self.volumes.len()).map(|index| views::volume(self, index)).collect()
    }

    fn measures(&self) -> Measures {
        views::measures(self)
    }

    fn map(&self, volume: VolumeId, cell_bytes: u64) -> Vec<u8> {
        let bytes = self.served(volume).bytes.load(Ordering::Acquire);
        map::cells(&self.sheets[usize::from(volume.0)], bytes, cell_bytes)
    }

    fn unix_ms(&self, at: Instant) -> u64 {
        self.clock.unix_ms(at)
    }

    fn command(&self, volume: VolumeId, command: Command, by: Peer) -> Result<Answers, BackendError> {
        self.refuse_if_crowded()?;
        if let Some(words) = typed::command(&self.served(volume).settings.name, &command) {
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

    fn events(&self, since: u64, limit: usize) -> EventsPage {
        views::events(self, since, limit)
    }

    fn faults(&self, volume: VolumeId) -> Result<Vec<FaultView>, BackendError> {
        Ok(self.faults_of(volume)?.list().iter().map(|status| views::fault(&status.spec)).collect())
    }

    fn set_fault(&self, volume: VolumeId, fault: FaultView, by: Peer) -> Result<(), BackendError> {
        let faults = self.faults_of(volume)?;
        let words = typed::fault(&self.served(volume).settings.name, &fault);
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
        self.record(by, &format!("fault {} clear", self.served(volume).settings.name));
        Ok(())
    }

    fn grow_thin(&self, volume: VolumeId, add_bytes: u64, by: Peer) -> Result<ThinView, BackendError> {
        let served = self.served(volume);
        let name = &served.settings.name;
        let thin = served.thin.as_ref().ok_or_else(|| BackendError::Refused {
            what: format!("volume '{name}' has no thin limit"),
            remedy: "make room on its own file system or device".to_owned(),
        })?;
        let limit_bytes = thin.grow(add_bytes);
        self.record(by, &format!("volume grow-thin {name} {add_bytes}"));
        Ok(ThinView { limit_bytes, allocated_bytes: thin.used() })
    }

    fn policy(&self, volume: VolumeId) -> PolicyView {
        let settings = self.in_force();
        let VolumeSettings { rules, flush_on_failure, .. } = settings.volumes[usize::from(volume.0)];
        PolicyView { rules, flush_on_failure }
    }

    fn set_policy(&self, volume: VolumeId, policy: PolicyView, by: Peer) -> Result<Answers, BackendError> {
        self.refuse_if_crowded()?;
        let _changing = self.changing();
        let mut settings = Settings::clone(&self.in_force());
        let changed = &mut settings.volumes[usize::from(volume.0)];
        (changed.rules, changed.flush_on_failure) = (policy.rules, policy.flush_on_failure);
        let command = Command::SetPolicy { tuning: Box::new(reload::tuning(changed)) };
        self.record(by, &typed::policy(&changed.name, &policy));
        let answers = self.ask(volume, &command)?;
        self.put_in_force(settings);
        Ok(answers)
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
            self.record(by, &format!("volume resize {} {bytes}", self.served(volume).settings.name));
        }
        Ok(grown)
    }

    fn release(&self, volume: VolumeId, by: Peer) -> Result<(), BackendError> {
        self.refuse_if_crowded()?;
        self.release_device(volume)?;
        self.record(by, &format!("volume release {}", self.served(volume).settings.name));
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
            let name = &self.served(volume).settings.name;
            self.record(by, &format!("volume reopen {name} --path {}", path.display()));
        }
        Ok(path)
    }

    fn sessions(&self) -> Vec<SessionView> {
        self.sessions.list(None, |volume| self.volumes[volume].settings.name.clone())
    }

    fn end_session(&self, id: u64, by: Peer) -> Option<SessionView> {
        let session = session_of(id)?;
        let found =
            self.sessions.list(Some(id), |volume| self.volumes[volume].settings.name.clone()).pop()?;
        self.record(by, &format!("sessions kill {id} (volume {}, pid {})", found.volume, found.pid));
        let mut word = Word::Over { session, fault: None };
        // The keeper empties its box all the time.
        while let Err(back) = self.words.push(word) {
            word = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(found)
    }

    fn audit(&self, since: u64, limit: usize) -> AuditPage {
        views::audit(self, since, limit)
    }

    fn shutdown(&self, abandon: bool, by: Peer) {
        self.record(by, if abandon { "shutdown --abandon --yes-lose-data" } else { "shutdown" });
        self.request_end(if abandon { End::Abandon } else { End::Drain });
    }
}
