//! Verbs that change something.

use super::{Outcome, Run};
use crate::api::{
    AckLossRequest, ApiError, DropRequest, Fault, Faults, GrowThinRequest, Held, Operation, OperationState,
    RetryRequest, ShutdownRequest, ShuttingDown, Started, ThinGrown, Versioned, VolumeState, Volumes,
};
use crate::cli::{AckLossArgs, DropArgs, GrowThinArgs, RetryArgs, ShutdownArgs};
use crate::client::segment;
use crate::error::Error;
use crate::{Exit, size, text};
use serde::Serialize;
use std::time::Duration;

/// How long a retry without `--wait` is watched: enough for a device that answers.
const RETRY_PATIENCE: Duration = Duration::from_secs(2);

/// How long a drop or an ack-loss is watched: it waits for the ledger only, and `status` says if that is stuck.
const RECORD_PATIENCE: Duration = Duration::from_secs(30);

/// Operations, and why others were not started, for `--json`.
#[derive(Serialize)]
struct OperationList<'a> {
    operations: &'a [Operation],
    errors: Vec<ApiError>,
}

impl Run<'_, '_> {
    pub(super) fn retry(&mut self, args: &RetryArgs) -> Outcome {
        let volumes = match &args.volume {
            Some(volume) => vec![volume.clone()],
            None => self.refused_volumes()?,
        };
        let request = RetryRequest { range: args.range, classes: args.classes.clone() };
        let patience = (!args.wait).then_some(RETRY_PATIENCE);
        if args.all {
            return self.on_all(&volumes, "retry", &request, patience);
        }
        self.on_one(&volumes[0], "retry", &request, patience)
    }

    /// Volumes that have failed extents, or whose device refuses.
    fn refused_volumes(&self) -> Result<Vec<String>, Error> {
        let Volumes { volumes } = self.client.read(&self.client.get("/v1/volumes")?)?;
        let refused =
            volumes.into_iter().filter(|volume| volume.bytes.failed_bytes > 0 || volume.gate.is_some());
        Ok(refused.map(|volume| volume.name).collect())
    }

    pub(super) fn give_up(&mut self, args: &DropArgs) -> Outcome {
        if !args.yes_lose_data {
            let message = format!("'drop' loses what volume '{}' holds as failed, for good.", args.volume);
            return Err(Error::usage(message, "Nothing was changed. If that is meant, add --yes-lose-data."));
        }
        let request = DropRequest { range: args.range, yes_lose_data: true };
        self.on_one(&args.volume, "drop", &request, Some(RECORD_PATIENCE))
    }

    pub(super) fn ack_loss(&mut self, args: &AckLossArgs) -> Outcome {
        if !args.yes {
            let message = format!(
                "'ack-loss' makes flushes of volume '{}' succeed again without its lost data.",
                args.volume
            );
            return Err(Error::usage(message, "Nothing was changed. If that is meant, add --yes."));
        }
        let request = AckLossRequest { range: args.range, yes: true };
        self.on_one(&args.volume, "ack-loss", &request, Some(RECORD_PATIENCE))
    }

    pub(super) fn drain(&mut self, volume: Option<&str>) -> Outcome {
        let nothing = serde_json::json!({});
        if let Some(volume) = volume {
            return self.on_one(volume, "drain", &nothing, None);
        }
        let Volumes { volumes } = self.client.read(&self.client.get("/v1/volumes")?)?;
        let served = |state| matches!(state, VolumeState::Serving | VolumeState::Draining);
        let names: Vec<String> =
            volumes.into_iter().filter(|volume| served(volume.state)).map(|volume| volume.name).collect();
        self.on_all(&names, "drain", &nothing, None)
    }

    fn on_one(
        &mut self,
        volume: &str,
        verb: &str,
        request: &impl Serialize,
        patience: Option<Duration>,
    ) -> Outcome {
        let operation = self.start(volume, verb, request)?;
        let operation = self.follow(operation, patience)?;
        let answer = Versioned::of(Started { operation });
        let operation = &answer.body.operation;
        self.print(&answer, |invocation| text::operation(operation, invocation));
        Ok(if operation.complete() { Exit::Ok } else { Exit::Incomplete })
    }

    /// Starts all, then follows all: one volume that hangs or is refused does not keep the others waiting.
    fn on_all(
        &mut self,
        volumes: &[String],
        verb: &str,
        request: &impl Serialize,
        patience: Option<Duration>,
    ) -> Outcome {
        let (mut started, mut errors) = (Vec::new(), Vec::new());
        for volume in volumes {
            match self.start(volume, verb, request) {
                Ok(operation) => started.push(operation),
                Err(error) => errors.push(error),
            }
        }
        let followed: Result<Vec<Operation>, Error> =
            started.into_iter().map(|operation| self.follow(operation, patience)).collect();
        let operations = followed?;
        self.print_all(verb, &operations, &errors);
        Ok(match errors.first() {
            Some(error) => error.exit(),
            None if operations.iter().all(Operation::complete) => Exit::Ok,
            None => Exit::Incomplete,
        })
    }

    fn print_all(&mut self, verb: &str, operations: &[Operation], errors: &[Error]) {
        let list = OperationList { operations, errors: errors.iter().map(Error::as_api).collect() };
        self.print(&Versioned::of(list), |invocation| match operations {
            [] if errors.is_empty() => format!("There is nothing to {verb}.\n"),
            some => some.iter().map(|operation| text::operation(operation, invocation)).collect(),
        });
        if !self.json {
            errors.iter().for_each(|error| self.complain(error));
        }
    }

    fn start(&self, volume: &str, verb: &str, request: &impl Serialize) -> Result<Operation, Error> {
        let answer = self.client.post(&format!("/v1/volumes/{}/{verb}", segment(volume)), request)?;
        let Started { operation } = self.client.read(&answer)?;
        Ok(operation)
    }

    pub(super) fn add_fault(&mut self, volume: &str, fault: &Fault) -> Outcome {
        let answer = self.client.post(&format!("/v1/volumes/{}/fault", segment(volume)), fault)?;
        let faults: Faults = self.client.read(&answer)?;
        self.print(&answer, |_| text::faults(&faults));
        Ok(Exit::Ok)
    }

    pub(super) fn clear_faults(&mut self, volume: &str) -> Outcome {
        let answer = self.client.delete(&format!("/v1/volumes/{}/fault", segment(volume)))?;
        let faults: Faults = self.client.read(&answer)?;
        self.print(&answer, |_| text::faults(&faults));
        Ok(Exit::Ok)
    }

    pub(super) fn grow_thin(&mut self, args: &GrowThinArgs) -> Outcome {
        let request = GrowThinRequest { add_bytes: args.size };
        let answer =
            self.client.post(&format!("/v1/volumes/{}/grow-thin", segment(&args.volume)), &request)?;
        let thin: ThinGrown = self.client.read(&answer)?;
        self.print(&answer, |_| {
            let (allocated, limit) = (size::binary(thin.allocated_bytes), size::binary(thin.limit_bytes));
            format!("{}: {allocated} of {limit} allocated.\n", args.volume)
        });
        Ok(Exit::Ok)
    }

    /// What is in flight ends first: the retry is watched until it has ended.
    pub(super) fn cancel(&mut self, id: u64) -> Outcome {
        let answer = self.client.post(&format!("/v1/operations/{id}/cancel"), &serde_json::json!({}))?;
        let Started { operation } = self.client.read(&answer)?;
        let operation = self.follow(operation, Some(RETRY_PATIENCE))?;
        let ended = operation.state != OperationState::Running;
        let answer = Versioned::of(Started { operation });
        self.print(&answer, |invocation| text::operation(&answer.body.operation, invocation));
        Ok(if ended { Exit::Ok } else { Exit::Incomplete })
    }

    pub(super) fn shutdown(&mut self, args: &ShutdownArgs) -> Outcome {
        if args.abandon && !args.yes_lose_data {
            let message = "'shutdown --abandon' loses what cannot be written, for good.";
            return Err(Error::usage(message, "Nothing was changed. If that is meant, add --yes-lose-data."));
        }
        let request = ShutdownRequest { abandon: args.abandon, yes_lose_data: args.yes_lose_data };
        let answer = self.client.post("/v1/shutdown", &request)?;
        let ShuttingDown { abandon, held } = self.client.read(&answer)?;
        self.print(&answer, |_| {
            let rest = match abandon {
                true => "What a device refuses is given up, and on record as lost.",
                false => "What a device refuses stays in the arena, where the next daemon finds it.",
            };
            let line = |Held { volume, bytes }: &Held| {
                format!(
                    "{volume}: its device refuses, with {} held, unless it takes them meanwhile.
",
                    size::binary(*bytes)
                )
            };
            let held = held.iter().map(line).collect::<String>();
            format!(
                "The daemon drains and ends. {rest}
{held}"
            )
        });
        Ok(Exit::Ok)
    }
}
