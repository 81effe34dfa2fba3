//! A server over a made-up daemon, and holdfastctl run against it.

use crate::fake::{Fake, State};
use holdfast_ctl::{Exit, Streams, run_on};
use holdfast_daemon::admin::{Backend, Options, Port, Server, bind, serve};
use holdfast_daemon::config::HttpSettings;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use tempfile::TempDir;

/// A server and what is behind it.
pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) directory: TempDir,
    /// Where its TCP port is, if it has one.
    pub(crate) port: Option<SocketAddr>,
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
        World::over(options, HttpSettings::default())
    }

    /// With a TCP port, and a token if there is one.
    pub(crate) fn at_port(token: Option<&str>) -> World {
        World::at_port_for(token, false)
    }

    /// The same, where other hosts may ask, too.
    pub(crate) fn at_port_for(token: Option<&str>, allow_remote: bool) -> World {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("token");
        std::fs::write(&file, token.unwrap_or_default()).expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("ours");
        let http = HttpSettings {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            allow_remote,
            token_file: token.map(|_| file),
        };
        World::over(Options::default(), http)
    }

    fn over(options: Options, http: HttpSettings) -> World {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = bind(&directory.path().join("admin.sock"), 0o660, None).expect("a socket");
        let fake = Arc::new(Fake::new());
        let port = Port::bind(&http).expect("a port");
        let address = port.as_ref().map(|port| port.address().expect("bound"));
        let backend = Arc::clone(&fake) as Arc<dyn Backend>;
        let server = serve(listener, port, backend, options).expect("a server");
        World { fake, directory, port: address, _server: server }
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
        String::from_utf8(self.bytes(request)).expect("answers are text")
    }

    /// The same for an answer that need not be text.
    pub(crate) fn bytes(&self, request: &[u8]) -> Vec<u8> {
        exchange(UnixStream::connect(self.socket()).expect("the server listens"), request)
    }

    /// Asks at the TCP port: a method and a path, and headers, one a line.
    pub(crate) fn at(&self, line: &str, headers: &str) -> String {
        let port = self.port.expect("a world with a port");
        let own = if headers.contains("host:") { String::new() } else { format!("host: {port}\r\n") };
        let headers: String = headers.lines().map(|header| format!("{header}\r\n")).collect();
        let request = format!("{line} HTTP/1.1\r\n{own}{headers}content-length: 0\r\n\r\n");
        let answer = exchange(TcpStream::connect(port).expect("the server listens"), request.as_bytes());
        String::from_utf8(answer).expect("answers are text")
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Vec<u8> {
    // The server may close before it has read all: what it said until then is what counts.
    let _sent = stream.write_all(request);
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer);
    answer
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
