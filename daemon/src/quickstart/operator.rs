//! The operator: what people type, through the same library and socket as `holdfastctl`.

use super::error::Error;
use holdfast_ctl::api::{Explanation, Extent, ExtentState, Extents, FailureId, Volume, Volumes};
use holdfast_ctl::{Exit, Streams};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// An operator of one daemon.
#[derive(Debug)]
pub(super) struct Operator {
    socket: PathBuf,
}

impl Operator {
    pub(super) fn new(socket: &Path) -> Operator {
        Operator { socket: socket.to_owned() }
    }

    /// Types a command, and gives back its exit code and what it printed.
    pub(super) fn run(&self, words: &[&str]) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let socket: [OsString; 2] = ["--socket".into(), self.socket.clone().into()];
        let args = socket.into_iter().chain(words.iter().map(OsString::from));
        let mut streams = Streams { out: &mut out, err: &mut err, progress: false, terminal: false };
        let exit = holdfast_ctl::run_on("holdfastd ctl", args, &mut streams);
        out.append(&mut err);
        (exit, String::from_utf8_lossy(&out).into_owned())
    }

    fn ask<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T, Error> {
        let with_json: Vec<&str> = [&["--json"], words].concat();
        let (exit, said) = self.run(&with_json);
        let failed =
            |words: String| Error::Operator { command: words_of(&with_json), code: exit.code(), words };
        if exit != Exit::Ok {
            return Err(failed(said));
        }
        serde_json::from_str(&said).map_err(|error| failed(format!("{error} in {said}")))
    }

    /// The failed or lost extents of a volume.
    pub(super) fn extents(&self, volume: &str, state: ExtentState) -> Result<Vec<Extent>, Error> {
        let page: Extents = self.ask(&["extents", volume, "--state", state.name(), "--limit", ALL])?;
        Ok(page.extents)
    }

    /// What a failed flush stands for.
    pub(super) fn explain(&self, id: FailureId) -> Result<Explanation, Error> {
        self.ask(&["explain", &id.to_string(), "--limit", ALL])
    }

    /// How a volume is.
    pub(super) fn volume(&self, name: &str) -> Result<Volume, Error> {
        let Volumes { volumes } = self.ask(&["volumes"])?;
        let named = volumes.into_iter().find(|volume| volume.name == name);
        let words = || format!("no volume '{name}' in the answer");
        named.ok_or_else(|| Error::Operator { command: "volumes".to_owned(), code: 0, words: words() })
    }
}

/// More extents than the playground has sectors.
const ALL: &str = "100000";

fn words_of(words: &[&str]) -> String {
    words.join(" ")
}
