//! Verbs that change nothing.

use super::{Outcome, Run};
use crate::api::{
    Audit, Explanation, Extents, Faults, Operations, Reports, Sessions, Started, Status, Versioned, Volume,
    VolumePolicy, VolumeShown, Volumes,
};
use crate::cli::{AuditArgs, ExplainArgs, ExtentsArgs};
use crate::client::segment;
use crate::error::Error;
use crate::{Exit, text};
use serde::de::DeserializeOwned;

/// As many as the daemon gives at a time.
const REPORTS_MAX: u64 = 100;

impl Run<'_, '_> {
    pub(super) fn status(&mut self) -> Outcome {
        let answer = self.client.get("/v1/status")?;
        let status: Status = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::status(&status, invocation));
        Ok(Exit::of_health(status.health))
    }

    pub(super) fn volumes(&mut self) -> Outcome {
        self.show("/v1/volumes", |volumes: &Volumes| text::volumes(volumes))
    }

    pub(super) fn policy(&mut self, volume: &str) -> Outcome {
        self.show(&format!("/v1/volumes/{}/policy", segment(volume)), |policy: &VolumePolicy| {
            text::policy(policy)
        })
    }

    pub(super) fn sessions(&mut self) -> Outcome {
        self.show("/v1/sessions", |sessions: &Sessions| text::sessions(sessions))
    }

    pub(super) fn audit(&mut self, args: &AuditArgs) -> Outcome {
        let answer = self.client.get(&super::watch::page("/v1/audit", args.since, args.limit))?;
        let audit: Audit = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::audit(&audit, invocation));
        Ok(Exit::Ok)
    }

    /// One volume with its policy and its clients.
    pub(super) fn volume(&mut self, name: &str) -> Outcome {
        let policy: VolumePolicy =
            self.client.read(&self.client.get(&format!("/v1/volumes/{}/policy", segment(name)))?)?;
        let volume = self.named_volume(name)?;
        let Sessions { mut sessions, .. } = self.client.read(&self.client.get("/v1/sessions")?)?;
        sessions.retain(|session| session.volume == name);
        let shown = VolumeShown { volume, policy: policy.policy, sessions };
        self.print(&Versioned::of(&shown), |_| text::volume(&shown));
        Ok(Exit::Ok)
    }

    /// The volume with this name, which the daemon knows.
    pub(super) fn named_volume(&self, name: &str) -> Result<Volume, Error> {
        let Volumes { volumes } = self.client.read(&self.client.get("/v1/volumes")?)?;
        let known: Vec<String> = volumes.iter().map(|volume| volume.name.clone()).collect();
        volumes.into_iter().find(|volume| volume.name == name).ok_or_else(|| {
            Error::usage(format!("There is no volume '{name}'."), format!("There are: {}.", known.join(", ")))
        })
    }

    pub(super) fn faults(&mut self, volume: &str) -> Outcome {
        self.show(&format!("/v1/volumes/{}/fault", segment(volume)), |faults: &Faults| text::faults(faults))
    }

    /// Whoever is woken does not know the numbers that somebody else was told.
    pub(super) fn operations(&mut self) -> Outcome {
        let answer = self.client.get("/v1/operations")?;
        let list: Operations = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::operations(&list, invocation));
        Ok(Exit::Ok)
    }

    /// Exits as the verb that started the operation would have.
    pub(super) fn operation(&mut self, id: u64) -> Outcome {
        let answer = self.client.get(&format!("/v1/operations/{id}"))?;
        let Started { operation } = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::operation(&operation, invocation));
        Ok(if operation.complete() { Exit::Ok } else { Exit::Incomplete })
    }

    pub(super) fn extents(&mut self, args: &ExtentsArgs) -> Outcome {
        let (volume, state) = (segment(&args.volume), args.state);
        let (mut page, rest): (Extents, _) = self.pages(
            &args.page,
            &format!("/v1/volumes/{volume}/extents?state={state}&"),
            |page: &mut Extents| (&mut page.extents, &mut page.next),
        )?;
        page.extents = rest.extents;
        page.next = rest.next;
        self.print(&Versioned::of(&page), |invocation| text::extents(&page, invocation));
        Ok(Exit::Ok)
    }

    pub(super) fn explain(&mut self, args: &ExplainArgs) -> Outcome {
        let Some(id) = args.id else { return self.reports(args) };
        let path = format!("/v1/explain/{id}?");
        let (mut page, rest): (Explanation, _) =
            self.pages(&args.page, &path, |page: &mut Explanation| (&mut page.extents, &mut page.next))?;
        page.extents = rest.extents;
        page.next = rest.next;
        self.print(&Versioned::of(&page), |invocation| text::explanation(&page, invocation));
        Ok(Exit::Ok)
    }

    fn reports(&mut self, args: &ExplainArgs) -> Outcome {
        if args.page.from != 0 {
            let message = "'--from' is a byte of what an id stands for, and there is no id.";
            return Err(Error::usage(message, "Add the id, or leave '--from' out."));
        }
        let path = format!("/v1/explain?limit={}", args.page.limit.min(REPORTS_MAX));
        let answer = self.client.get(&path)?;
        let reports: Reports = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::reports(&reports, invocation));
        Ok(Exit::Ok)
    }

    pub(super) fn show<T: DeserializeOwned>(
        &mut self,
        path: &str,
        text: impl FnOnce(&T) -> String,
    ) -> Outcome {
        let answer = self.client.get(path)?;
        let body: T = self.client.read(&answer)?;
        self.print(&answer, |_| text(&body));
        Ok(Exit::Ok)
    }
}
