//! Verbs that change how the daemon works: policies, configuration, sessions, sizes.

use super::{Outcome, Run};
use crate::api::{
    Difference, PolicyChange, Released, ReloadRequest, Reloaded, ReopenRequest, Reopened, ResizeRequest,
    Resized, SessionEnded, VolumePolicy,
};
use crate::cli::{PolicySetArgs, ReloadArgs, ReopenArgs, ResizeArgs};
use crate::client::segment;
use crate::{Exit, text};

impl Run<'_, '_> {
    pub(super) fn set_policy(&mut self, args: &PolicySetArgs) -> Outcome {
        let change = PolicyChange {
            classes: args.classes.clone(),
            kind: args.kind,
            pressure_permille: args.pressure,
            stall_timeout_ms: args.stall_timeout,
            retry_on: args.retry_on.clone(),
            retry_first_ms: args.retry_first,
            retry_max_ms: args.retry_max,
            flush_on_failure: args.flush_on_failure,
            flush_timeout_ms: args.flush_timeout,
            dry_run: args.dry_run,
            yes_lose_data: args.yes_lose_data,
        };
        let answer = self.client.post(&format!("/v1/volumes/{}/policy", segment(&args.volume)), &change)?;
        let changed: VolumePolicy = self.client.read(&answer)?;
        self.print(&answer, |_| text::policy(&changed));
        // A trial exits as what it tries would.
        Ok(if changed.unconfirmed.is_some() { Exit::Usage } else { Exit::Ok })
    }

    /// A trial that finds what needs a restart exits like the reload that would be refused.
    pub(super) fn reload(&mut self, args: &ReloadArgs) -> Outcome {
        let answer = self.client.post("/v1/reload", &ReloadRequest { dry_run: args.dry_run })?;
        let reloaded: Reloaded = self.client.read(&answer)?;
        self.print(&answer, |_| text::reloaded(&reloaded));
        let restart = |difference: &Difference| difference.needs_restart;
        Ok(if reloaded.differences.iter().any(restart) { Exit::Incomplete } else { Exit::Ok })
    }

    pub(super) fn end_session(&mut self, id: u64) -> Outcome {
        let answer = self.client.delete(&format!("/v1/sessions/{id}"))?;
        let SessionEnded { session } = self.client.read(&answer)?;
        self.print(&answer, |_| {
            format!(
                "session {id} of volume '{}' (pid {}, uid {}) is cut off.\n",
                session.volume, session.pid, session.uid
            )
        });
        Ok(Exit::Ok)
    }

    pub(super) fn resize(&mut self, args: &ResizeArgs) -> Outcome {
        let request = ResizeRequest { size_bytes: args.size, dry_run: args.dry_run };
        let answer = self.client.post(&format!("/v1/volumes/{}/resize", segment(&args.volume)), &request)?;
        let resized: Resized = self.client.read(&answer)?;
        self.print(&answer, |_| text::resized(&resized));
        Ok(Exit::Ok)
    }

    pub(super) fn release(&mut self, volume: &str) -> Outcome {
        let path = format!("/v1/volumes/{}/release", segment(volume));
        let answer = self.client.post(&path, &serde_json::json!({}))?;
        let released: Released = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::released(&released, invocation));
        Ok(Exit::Ok)
    }

    pub(super) fn reopen(&mut self, args: &ReopenArgs) -> Outcome {
        let request = ReopenRequest { path: args.path.clone(), dry_run: args.dry_run };
        let answer = self.client.post(&format!("/v1/volumes/{}/reopen", segment(&args.volume)), &request)?;
        let reopened: Reopened = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::reopened(&reopened, invocation));
        Ok(Exit::Ok)
    }
}
