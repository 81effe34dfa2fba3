//! What a program opens, and a second program, which is a process of its own.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use holdfast_ringbuf::FailureId;
use holdfast_ringbuf::client::{Client, Options};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::patience::Patience;
use super::system::Session;

/// A file, or a volume of a daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Place {
    File(PathBuf),
    Volume { socket: PathBuf, name: String },
}

/// What the flush of the second program was told, on its way to the first one.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Success,
    Refused(i32),
    Words(String),
    Nothing,
}

impl Place {
    /// # Errors
    /// If interrupted. What it answers is an answer.
    pub(super) fn open(&self, patience: &Patience) -> anyhow::Result<Result<Session, Answer>> {
        match self.clone() {
            Place::File(path) => {
                let opened = patience.within(move || {
                    // As the paper's programs, which need no more of a file system than that it can be read.
                    let open = |write| OpenOptions::new().read(true).write(write).open(&path);
                    open(true).or_else(|_| open(false))
                })?;
                Ok(match opened {
                    Some(Ok(file)) => Ok(Session::File(Arc::new(file))),
                    failed => Err(Answer::of(failed, |_| Answer::Success)),
                })
            }
            Place::Volume { socket, name } => {
                let connected = patience.within(move || Client::connect(socket, &name, options()))?;
                Ok(match connected {
                    None => Err(Answer::None),
                    Some(Ok(client)) => Ok(Session::Rings(client)),
                    Some(Err(error)) => Err(Answer::Words(error.to_string())),
                })
            }
        }
    }

    /// Flushes it from another process: this program, started once more.
    ///
    /// # Errors
    /// If interrupted, or that process cannot be had.
    pub(super) fn flush_by_another(
        &self,
        patience: &Patience,
    ) -> anyhow::Result<(Answer, Option<FailureId>)> {
        let (program, errand) = (std::env::current_exe()?, serde_json::to_string(self)?);
        let program = program.to_str().context("this program's path is not UTF-8")?;
        let said = match patience.run(program, &["honesty-flush", &errand]) {
            Ok(said) => said,
            // It does not end, unless nobody wants it to.
            Err(_) => return patience.check().map(|()| (Answer::None, None)),
        };
        let told = serde_json::from_str(&said.out).with_context(|| said.complaint());
        let (told, failure): (Told, Option<u64>) = told.context("the second program")?;
        let answer = match told {
            Told::Success => Answer::Success,
            Told::Refused(errno) => Answer::Refused(errno),
            Told::Words(words) => Answer::Words(words),
            Told::Nothing => Answer::None,
        };
        Ok((answer, failure.map(FailureId)))
    }
}

/// The second program: flushes what its errand names, and says on its output what it was told.
///
/// # Errors
/// If the errand is none.
pub fn flush_on_errand(errand: &str) -> anyhow::Result<()> {
    let place: Place = serde_json::from_str(errand).context("what to flush")?;
    let patience = Patience::default();
    let (answer, failure) = match place.open(&patience)? {
        Ok(session) => session.flush(&patience)?,
        Err(answer) => (answer, None),
    };
    let told = match answer {
        Answer::Success => Told::Success,
        Answer::Refused(errno) => Told::Refused(errno),
        Answer::None => Told::Nothing,
        Answer::Words(_) | Answer::Contents(_) => Told::Words(answer.to_string()),
    };
    println!("{}", serde_json::to_string(&(told, failure.map(|id| id.0)))?);
    Ok(())
}

/// A session that tells soon when its daemon is gone for good.
pub(super) fn options() -> Options {
    Options { queue_depth: 4, reconnect: Some(Duration::from_secs(5)), ..Options::default() }
}
