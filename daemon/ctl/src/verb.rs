//! Carrying out one command line.

mod change;
mod follow;
mod health;
mod look;
mod pages;
mod salvage;
mod tune;
mod volume;
mod watch;

use crate::api::{Failure, Fault, Versioned};
use crate::cli::{Cli, FaultArgs, FaultVerb, ManArgs, PolicyVerb, SessionsVerb, Verb, VolumeVerb};
use crate::client::Client;
use crate::error::Error;
use crate::text::Invocation;
use crate::{Exit, Streams};
use clap::CommandFactory;
use serde::Serialize;

/// What a verb comes to: an exit code, or why it was not carried out.
type Outcome = Result<Exit, Error>;

/// One run of the program.
pub(crate) struct Run<'a, 'b> {
    client: Client,
    json: bool,
    invocation: Invocation,
    streams: &'a mut Streams<'b>,
}

impl<'a, 'b> Run<'a, 'b> {
    pub(crate) fn new(program: &str, cli: &Cli, socket_typed: bool, streams: &'a mut Streams<'b>) -> Self {
        let socket = socket_typed.then(|| cli.socket.display().to_string());
        let invocation = Invocation { program: program.to_owned(), socket };
        Run { client: Client::new(&cli.socket), json: cli.json, invocation, streams }
    }

    /// Carries the verb out, and says what went wrong if it did.
    pub(crate) fn run(mut self, verb: Verb) -> Exit {
        match self.carry_out(verb) {
            Ok(exit) => exit,
            Err(error) => {
                self.complain(&error);
                error.exit()
            }
        }
    }

    fn carry_out(&mut self, verb: Verb) -> Outcome {
        match verb {
            Verb::Status => self.status(),
            Verb::Health { verb } => self.health(verb),
            Verb::Runbook(args) => self.runbook(&args),
            Verb::Volumes => self.volumes(),
            Verb::Extents(args) => self.extents(&args),
            Verb::Explain(args) => self.explain(&args),
            Verb::Retry(args) => self.retry(&args),
            Verb::Drop(args) => self.give_up(&args),
            Verb::AckLoss(args) => self.ack_loss(&args),
            Verb::Drain { volume } => self.drain(volume.as_deref()),
            Verb::Fault(args) => self.fault(args),
            Verb::Export(args) => self.export(&args),
            Verb::Import(args) => self.import(&args),
            Verb::Policy(PolicyVerb::Show { volume }) => self.policy(&volume),
            Verb::Policy(PolicyVerb::Set(args)) => self.set_policy(&args),
            Verb::Reload(args) => self.reload(&args),
            Verb::Sessions { verb: None } => self.sessions(),
            Verb::Sessions { verb: Some(SessionsVerb::Kill { id }) } => self.end_session(id),
            Verb::Volume(VolumeVerb::Show { volume }) => self.volume(&volume),
            Verb::Volume(VolumeVerb::Add(args)) => self.add_volume(&args),
            Verb::Volume(VolumeVerb::Remove(args)) => self.remove_volume(&args),
            Verb::Volume(VolumeVerb::Budget(args)) => self.set_budget(&args),
            Verb::Volume(VolumeVerb::Resize(args)) => self.resize(&args),
            Verb::Volume(VolumeVerb::GrowThin(args)) | Verb::GrowThin(args) => self.grow_thin(&args),
            Verb::Volume(VolumeVerb::Release { volume }) => self.release(&volume),
            Verb::Volume(VolumeVerb::Reopen(args)) => self.reopen(&args),
            Verb::Operation { id: Some(id) } => self.operation(id),
            Verb::Operation { id: None } => self.operations(),
            Verb::Cancel { id } => self.cancel(id),
            Verb::Stats(args) => self.stats(&args),
            Verb::Top(args) => self.top(&args),
            Verb::Events(args) => self.events(&args),
            Verb::Audit(args) => self.audit(&args),
            Verb::Shutdown(args) => self.shutdown(&args),
            Verb::Completion { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "holdfastctl", &mut self.streams.out);
                Ok(Exit::Ok)
            }
            Verb::Man(args) => self.man(&args),
        }
    }

    fn fault(&mut self, args: FaultArgs) -> Outcome {
        match args.verb {
            FaultVerb::List => self.faults(&args.volume),
            FaultVerb::Clear => self.clear_faults(&args.volume),
            FaultVerb::Add { operation, errno, range, sequence } => {
                self.add_fault(&args.volume, &Fault { operation, errno, range, sequence })
            }
        }
    }

    /// The manual: one page to standard output, or a page for each verb into a directory.
    fn man(&mut self, args: &ManArgs) -> Outcome {
        let failed = |error: std::io::Error| {
            Error::failed(format!("the manual cannot be written: {error}."), "Give a directory that exists.")
        };
        match &args.to {
            Some(directory) => clap_mangen::generate_to(Cli::command(), directory).map_err(failed)?,
            None => clap_mangen::Man::new(Cli::command()).render(&mut self.streams.out).map_err(failed)?,
        }
        Ok(Exit::Ok)
    }

    /// Writes an answer: as JSON if that was asked for, else as `text` says it. Whether anybody still reads.
    fn print(&mut self, answer: &impl Serialize, text: impl FnOnce(&Invocation) -> String) -> bool {
        let told = if self.json {
            serde_json::to_string(answer).expect("answers are plain data") + "\n"
        } else {
            text(&self.invocation)
        };
        // A reader that went away (`| head`) is no reason to fail a command that was carried out.
        self.streams.out.write_all(told.as_bytes()).and_then(|()| self.streams.out.flush()).is_ok()
    }

    fn complain(&mut self, error: &Error) {
        let error = error.as_api();
        if self.json {
            self.print(&Versioned::of(Failure { error }), |_| String::new());
            return;
        }
        let (program, message) = (&self.invocation.program, &error.message);
        _ = write!(self.streams.err, "{program}: {message}\n  {}\n", error.remedy);
    }
}
