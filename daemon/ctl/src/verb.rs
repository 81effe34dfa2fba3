//! Carrying out one command line.

mod change;
mod follow;
mod look;

use crate::api::{Failure, Versioned};
use crate::cli::{Cli, FaultVerb, Verb, VolumeVerb};
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
            Verb::Volumes => self.volumes(),
            Verb::Extents(args) => self.extents(&args),
            Verb::Explain(args) => self.explain(&args),
            Verb::Retry(args) => self.retry(&args),
            Verb::Drop(args) => self.give_up(&args),
            Verb::AckLoss(args) => self.ack_loss(&args),
            Verb::Drain { volume } => self.drain(volume.as_deref()),
            Verb::Fault(args) => match args.verb {
                FaultVerb::List => self.faults(&args.volume),
                FaultVerb::Clear => self.clear_faults(&args.volume),
                FaultVerb::Add { operation, errno, range, sequence } => {
                    let fault = crate::api::Fault { operation, errno, range, sequence };
                    self.add_fault(&args.volume, &fault)
                }
            },
            Verb::Volume(VolumeVerb::GrowThin(args)) | Verb::GrowThin(args) => self.grow_thin(&args),
            Verb::Operation { id } => self.operation(id),
            Verb::Stats => self.stats(),
            Verb::Events(args) => self.events(&args),
            Verb::Shutdown(args) => self.shutdown(&args),
            Verb::Completion { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "holdfastctl", &mut self.streams.out);
                Ok(Exit::Ok)
            }
        }
    }

    /// Writes an answer: as JSON if that was asked for, else as `text` says it.
    fn print(&mut self, answer: &impl Serialize, text: impl FnOnce(&Invocation) -> String) {
        let told = if self.json {
            serde_json::to_string(answer).expect("answers are plain data") + "\n"
        } else {
            text(&self.invocation)
        };
        // A reader that went away (`| head`) is no reason to fail a command that was carried out.
        _ = self.streams.out.write_all(told.as_bytes());
    }

    fn complain(&mut self, error: &Error) {
        let error = error.as_api();
        if self.json {
            return self.print(&Versioned::of(Failure { error }), |_| String::new());
        }
        let (program, message) = (&self.invocation.program, &error.message);
        _ = write!(self.streams.err, "{program}: {message}\n  {}\n", error.remedy);
    }
}
