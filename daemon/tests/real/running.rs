//! A daemon that runs: the real program, its clients, its operators, and its end.

use crate::place::Place;
use holdfast_ctl::{Exit, Streams};
use holdfast_ringbuf::client::{Client, Options};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that will come: generous, because the machine may have much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long an operator's command, or a request of a client that is not to hang, may take: whatever it waits for has failed by
/// its own patience before.
pub(crate) const ANSWERED: Duration = Duration::from_secs(240);

/// Reactors publish their counters once a millisecond while they turn, and before they sleep.
const PUBLISHED: Duration = Duration::from_millis(5);

/// Looks until `found` finds something; panics with `what` if it never does.
pub(crate) fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = found() {
            return result;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What an operator's command came to.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: Exit,
    /// The answer; null if there was none.
    pub(crate) json: Value,
    /// What went wrong.
    pub(crate) words: String,
}

/// What a command came to, if it came to anything in time.
fn told(socket: PathBuf, arguments: &[&str], patience: Duration) -> Option<Told> {
    let words: Vec<OsString> = ["--json".into(), "--socket".into(), socket.into()]
        .into_iter()
        .chain(arguments.iter().map(OsString::from))
        .collect();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { out: &mut out, err: &mut err, progress: false, terminal: false };
        let exit = holdfast_ctl::run_on("holdfastctl", words, &mut streams);
        let json = serde_json::from_slice(&out).unwrap_or_default();
        // Whoever asked may have lost patience.
        let _ = tell.send(Told { exit, json, words: String::from_utf8_lossy(&err).into_owned() });
    });
    told.recv_timeout(patience).ok()
}

/// The daemon. Killed when dropped.
pub(crate) struct Daemon<'a> {
    pub(crate) place: &'a Place,
    child: Child,
}

impl<'a> Daemon<'a> {
    /// Started, and answering operators.
    pub(crate) fn start(place: &'a Place) -> Daemon<'a> {
        Daemon::start_with(place, &[], |_| {})
    }

    /// The same with more arguments, and after `prepare` had its way with the command.
    pub(crate) fn start_with(
        place: &'a Place,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Daemon<'a> {
        let mut daemon = Daemon::spawn(place, arguments, prepare);
        eventually("the daemon answers its operators", || {
            if let Some(status) = daemon.child.try_wait().expect("it is our child") {
                panic!("the daemon ended with {status}: {}", daemon.log());
            }
            (daemon.ctl(&["status"]).exit != Exit::Unreachable).then_some(())
        });
        daemon
    }

    /// Started, and perhaps about to refuse.
    pub(crate) fn spawn(
        place: &'a Place,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Daemon<'a> {
        let config = place.configure();
        let log = File::create(place.file("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
        command.arg("serve").arg("--config").arg(config).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let dies_with_us = || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Ok(())
        };
        // SAFETY: between fork and exec the child makes one system call, which neither allocates nor locks.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, dies_with_us) };
        prepare(&mut command);
        Daemon { place, child: command.spawn().expect("the daemon's program") }
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.place.file("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its threads of this name, as directories of /proc.
    pub(crate) fn threads(&self, name: &str) -> Vec<PathBuf> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it lives");
        let paths = tasks.filter_map(|task| Some(task.ok()?.path()));
        let called =
            |path: &PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        paths.filter(called).collect()
    }

    /// A session for a volume.
    pub(crate) fn client(&self, volume: &str) -> Client {
        self.client_with(volume, Options { queue_depth: 8, ..Options::default() })
    }

    pub(crate) fn client_with(&self, volume: &str, options: Options) -> Client {
        Client::connect(self.place.clients(), volume, options).expect("a session")
    }

    /// An operator's command, which is answered: one that is not would keep everybody waiting who waits for it.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Told {
        told(self.place.admin(), arguments, ANSWERED).unwrap_or_else(|| {
            let shown = |verb: &str| told(self.place.admin(), &[verb], PATIENCE).map(|told| told.json);
            panic!(
                "{arguments:?} was not answered within {} s: volumes {:?}, operations {:?}",
                ANSWERED.as_secs(),
                shown("volumes"),
                shown("operation")
            )
        })
    }

    /// One that must succeed; its answer.
    pub(crate) fn must(&self, arguments: &[&str]) -> Value {
        let told = self.ctl(arguments);
        assert_eq!(told.exit, Exit::Ok, "{arguments:?}: {told:?}");
        told.json
    }

    /// A number of `stats` about a volume, as it was when this was called or later.
    pub(crate) fn count(&self, volume: &str, counter: &str) -> u64 {
        std::thread::sleep(PUBLISHED);
        number(&named(&self.must(&["stats"]), "volume", volume), counter)
    }

    /// A number of `volumes` about a volume, as it was when this was called or later.
    pub(crate) fn bytes(&self, volume: &str, field: &str) -> u64 {
        std::thread::sleep(PUBLISHED);
        number(&named(&self.must(&["volumes"]), "name", volume), field)
    }

    /// A scrape of its metrics, as of when this was called or later.
    pub(crate) fn metrics(&self) -> String {
        std::thread::sleep(PUBLISHED);
        let stream = UnixStream::connect(self.place.admin()).expect("the daemon listens");
        let answer = get(stream, "/metrics", "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// The ranges of a volume that are in a state, in order.
    pub(crate) fn extents(&self, volume: &str, state: &str) -> Vec<(u64, u64)> {
        ranges(&self.must(&["extents", volume, "--state", state, "--limit", "100000"]))
    }

    /// The clients that the daemon has, counted by the memory that it has mapped for them.
    pub(crate) fn sessions(&self) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap_or_default();
        let inode = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
        let ours = maps.lines().filter(|line| line.contains("memfd:holdfast-session"));
        ours.filter_map(inode).collect::<BTreeSet<_>>().len()
    }

    /// Ends it with SIGTERM: how it ended, and what it has said.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.terminate();
        self.wait()
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        rustix::process::kill_process(pid, signal).expect("it is our child");
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Sends SIGKILL, and does not wait until the process is gone: it may be held up by what it has in flight.
    pub(crate) fn kill_and_go_on(&mut self) {
        self.child.kill().expect("it is our child");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let status = eventually("the daemon's end", || self.child.try_wait().expect("it is our child"));
        (status, self.log())
    }

    /// Ends it, and everything must be on stable media.
    pub(crate) fn stop_clean(self) {
        let place = self.place;
        let (status, log) = self.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!place.has_arena(), "a clean end takes the arena along");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's words:\n{}", self.log());
            eprintln!("its status:\n{:#}", self.ctl(&["status"]).json);
        }
        // It may have ended before; the test has said what it thinks of that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the daemon answers to a GET with these headers, each with its line's end.
pub(crate) fn get(mut stream: impl Read + Write, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

/// The entry of an answer's only list whose `key` is `name`.
fn named(answer: &Value, key: &str, name: &str) -> Value {
    let list = answer["volumes"].as_array().expect("a list of volumes");
    list.iter().find(|entry| entry[key] == name).unwrap_or_else(|| panic!("no {name} in {answer}")).clone()
}

pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number {field:?} in {value}"))
}

/// The ranges of a listing or an explanation; neighbours are joined.
pub(crate) fn ranges(answer: &Value) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for extent in answer["extents"].as_array().expect("extents") {
        let (offset, length) = (number(extent, "offset"), number(extent, "length"));
        match joined.last_mut() {
            Some(last) if last.0 + last.1 == offset => last.1 += length,
            _ => joined.push((offset, length)),
        }
    }
    joined
}

/// This program again, as the test `name` only, which finds `value` in `variable` and is a client then.
pub(crate) fn again(name: &str, variable: &str, value: &str) -> Child {
    let this = std::env::current_exe().expect("this test");
    let mut command = Command::new(this);
    command.args(["--exact", name, "--nocapture"]).env(variable, value);
    command.stdout(Stdio::null()).spawn().expect("a child")
}
