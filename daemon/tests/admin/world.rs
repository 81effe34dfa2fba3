//! A server over a made-up daemon, and holdfastctl run against it.

use crate::fake::{Fake, State};
use holdfast_ctl::{Exit, Streams, run_on};
use holdfast_daemon::admin::{Backend, Options, Server, bind, serve};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use tempfile::TempDir;

/// A server and what is behind it.
pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) directory: TempDir,
    _server: Server,
}

/// What a run of holdfastctl came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What was printed, as JSON of version 1.
    pub(crate) fn json(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(value["version"], 1, "{self:?}");
        assert_eq!(self.err, "", "with --json all is in one place");
        value
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> World {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = bind(&directory.path().join("admin.sock"), 0o660, None).expect("a socket");
        let fake = Arc::new(Fake::new());
        let server = serve(listener, Arc::clone(&fake) as Arc<dyn Backend>, options).expect("a server");
        World { fake, directory, _server: server }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.fake.state()
    }

    /// Runs holdfastctl with these words, which are separated by blanks; the socket is added.
    pub(crate) fn ctl(&self, words: &str) -> Ran {
        let mut args: Vec<OsString> = vec!["--socket".into(), self.socket().into()];
        args.extend(words.split_whitespace().map(OsString::from));
        run(args)
    }

    /// Like [`World::ctl`]; what is printed has a fixed word in the place of the socket.
    pub(crate) fn told(&self, words: &str) -> String {
        let ran = self.ctl(words);
        assert_eq!(ran.err, "");
        ran.out.replace(&format!("--socket {}", self.socket().display()), "--socket S")
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("the server listens");
        // The server may close before it has read all: what it said until then is what counts.
        let _sent = stream.write_all(request);
        let mut answer = Vec::new();
        let _read = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("answers are text")
    }
}

/// Runs holdfastctl with exactly these arguments.
pub(crate) fn run(args: Vec<OsString>) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run_on(
        "holdfastctl",
        args,
        &mut Streams { out: &mut out, err: &mut err, progress: false, terminal: false },
    );
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { exit, out: text(out), err: text(err) }
}
