//! What is seen of one ill disk, from the first write to its last byte.

use super::disks::{AT, BAD, BYTES, Disk, Kind, Refuses, UNTOUCHED, WELL};
use super::{Flush, Operators, eventually};
use crate::pattern::{EIO, check_same, failure, on_backing, pattern};
use crate::place::{KIB, LINE, MIB};
use crate::running::{ANSWERED, ranges};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::{Client, Error, Options};
use rustix::io::Errno;
use serde_json::Value;
use std::time::Duration;

/// How long a write waits for a disk that may say nothing.
const WAITS: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    HoldForever,
    HoldUntilPressure,
    EvictImmediately,
}

impl Policy {
    pub(super) fn toml(self) -> &'static str {
        match self {
            Policy::HoldForever => r#"{ kind = "hold-forever", stall_timeout = "1s" }"#,
            Policy::HoldUntilPressure => {
                r#"{ kind = "hold-until-pressure", pressure = "50%", stall_timeout = "100ms" }"#
            }
            Policy::EvictImmediately => r#"{ kind = "evict-immediately" }"#,
        }
    }

    /// Whether it gives up what such a disk refuses, without anybody's asking for room.
    pub(super) fn gives_up(self, kind: &Kind) -> bool {
        self == Policy::EvictImmediately && !matches!(kind.refuses, Refuses::Flushes | Refuses::Everything)
    }
}

pub(super) struct Play<'a> {
    operators: Operators<'a>,
    name: &'static str,
    kind: &'static Kind,
    flush: Flush,
    policy: Policy,
    disk: &'a Disk,
    client: Client,
}

/// A session that is answered in the end: a request that hung would hang all the plays.
fn patient(operators: Operators<'_>, name: &str, patience: Duration) -> Client {
    let options = Options { queue_depth: 8, request_timeout: Some(patience), ..Options::default() };
    operators.daemon.client_with(name, options)
}

impl<'a> Play<'a> {
    pub(super) fn new(
        operators: Operators<'a>,
        name: &'static str,
        kind: &'static Kind,
        flush: Flush,
        policy: Policy,
        disk: &'a Disk,
    ) -> Play<'a> {
        let client = patient(operators, name, ANSWERED);
        Play { operators, name, kind, flush, policy, disk, client }
    }

    pub(super) fn run(self) {
        self.write(1, WELL);
        self.flushed();
        eventually(&format!("{}: nothing is wrong", self.name), || self.codes().is_empty().then_some(()));
        self.operators.ask(|daemon| (self.disk.fall_ill)(daemon, self.name));
        match self.kind.refuses {
            Refuses::Reads => self.bad_reads(),
            _ => self.refused(),
        }
        self.well_again();
    }

    fn write(&self, version: u64, (offset, length): (u64, u64)) {
        let written = self.client.write_at(&pattern(version, offset, length), offset);
        written.unwrap_or_else(|error| panic!("{}: acknowledged: {error}", self.name));
    }

    fn read(&self, (offset, length): (u64, u64)) -> Result<Vec<u8>, Error> {
        let mut data = vec![0; length as usize];
        self.client.read_at(&mut data, offset).map(|()| data)
    }

    /// What `health detail` says of this volume, the notes apart.
    fn reasons(&self) -> Vec<Value> {
        let health = self.operators.ask(|daemon| daemon.ctl(&["health", "detail"])).json;
        let all = health["reasons"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|reason| reason["volume"] == self.name).collect()
    }

    fn codes(&self) -> Vec<String> {
        let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
        self.reasons().iter().map(code).collect()
    }

    fn shows(&self, code: &str) {
        eventually(&format!("{} shows {code}", self.name), || {
            self.codes().iter().any(|found| found == code).then_some(())
        });
    }

    /// A failing read is the client's to hear, and harms neither writes nor flushes.
    fn bad_reads(&self) {
        assert_eq!(failure(self.read(UNTOUCHED)).0, EIO);
        self.write(2, AT);
        self.client.flush().expect("writes and flushes are well");
        check_same(&self.read(AT).expect("a hit"), &pattern(2, AT.0, AT.1), self.name);
        assert_eq!(self.codes(), Vec::<String>::new(), "{}: nothing is held or lost", self.name);
        self.operators.ask(|daemon| (self.disk.mend)(daemon, self.name));
    }

    fn refused(&self) {
        if self.policy == Policy::EvictImmediately {
            if !self.is_taken() {
                return self.waited();
            }
        } else {
            self.write(2, AT);
        }
        if self.policy.gives_up(self.kind) {
            return self.given_up();
        }
        match self.flush {
            Flush::Report => self.reported(),
            Flush::Stall => self.parked(),
        }
    }

    /// A write under a policy that acknowledges, while a disk refuses, only what the disk has: the write goes out in parts, and if
    /// the first is refused before the last comes, that one is told so, or waits for a disk that says nothing. Whether the daemon
    /// has taken what is to be lost or held.
    fn is_taken(&self) -> bool {
        let client = patient(self.operators, self.name, WAITS);
        match client.write_at(&pattern(2, AT.0, AT.1), AT.0) {
            Ok(()) => true,
            Err(error) if self.kind.gates() && self.policy.gives_up(self.kind) => {
                assert_eq!(error.errno(), self.kind.number(), "{}: {error}", self.name);
                true
            }
            Err(error) => {
                let told =
                    if self.kind.refuses == Refuses::Flushes { EIO } else { Errno::TIMEDOUT.raw_os_error() };
                assert_eq!(error.errno(), told, "{}: {error}", self.name);
                false
            }
        }
    }

    /// What was not acknowledged is written again, when the disk takes it.
    fn waited(&self) {
        self.mended();
        self.write(2, AT);
        self.flushed();
    }

    /// The error is told, to everybody, as long as it is true; what is held is read; what is wrong is shown, and explained.
    fn reported(&self) {
        let first = failure(self.client.flush());
        assert_eq!(first.0, self.kind.flush, "{}", self.name);
        let other = patient(self.operators, self.name, ANSWERED);
        assert_eq!(failure(other.flush()).0, self.kind.flush, "{}: for every session", self.name);
        drop(other);
        self.held();
        self.shows(self.kind.code);
        self.explained(first.1.expect("a failed flush has a name"));
        if self.policy == Policy::HoldUntilPressure && self.kind.refuses == Refuses::Writes {
            return self.pressed();
        }
        self.mended();
        self.flushed();
    }

    /// New writes take what the volume may have, until the oldest failure is given up for them; no more than that is lost.
    fn pressed(&self) {
        let mut taken = vec![AT];
        for offset in (3 * MIB..4 * MIB).chain(7 * MIB..8 * MIB - 64 * KIB).step_by(64 * KIB as usize) {
            if self.client.write_at(&pattern(2, offset, 64 * KIB), offset).is_ok() {
                taken.push((offset, 64 * KIB));
            }
            if self.operators.ask(|daemon| daemon.bytes(self.name, "lost_bytes")) > 0 {
                break;
            }
        }
        self.shows("HF_LOST_EXTENTS");
        self.mended();
        let lost = self.operators.ask(|daemon| daemon.extents(self.name, "lost"));
        assert!(!lost.is_empty() && failure(self.client.flush()).0 == EIO, "{}: {lost:?}", self.name);
        for (offset, length) in taken {
            for line in (offset..offset + length).step_by(LINE as usize) {
                let is_lost = lost.iter().any(|&(from, bytes)| (from..from + bytes).contains(&line));
                match self.read((line, LINE)) {
                    Ok(data) => check_same(&data, &pattern(2, line, LINE), self.name),
                    Err(error) => {
                        assert!(is_lost && error.errno() == EIO, "{} at {line}: {error}", self.name)
                    }
                }
            }
        }
        self.operators.ask(|daemon| daemon.must(&["ack-loss", self.name, "--yes"]));
        self.write(2, AT);
        self.flushed();
    }

    /// The flush waits until the cause is gone, and succeeds; reads and writes pass it.
    fn parked(&self) {
        let waiting = patient(self.operators, self.name, ANSWERED);
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| waiting.flush());
            self.shows("HF_FLUSHES_PARKED");
            self.shows(self.kind.code);
            assert!(!flush.is_finished(), "{}: nothing is well yet", self.name);
            self.held();
            self.mended();
            let answer = flush.join().expect("it does not panic");
            answer.unwrap_or_else(|error| panic!("{}: it waited for that: {error}", self.name));
        });
        assert_eq!(
            self.operators.ask(|daemon| daemon.count(self.name, "flushes_failed")),
            0,
            "{}",
            self.name
        );
    }

    fn held(&self) {
        check_same(&self.read(AT).expect("held"), &pattern(2, AT.0, AT.1), self.name);
        check_same(&self.read(WELL).expect("as it was"), &pattern(1, WELL.0, WELL.1), self.name);
    }

    /// What an operator finds behind the id that the client has.
    fn explained(&self, id: u64) {
        let told = self.operators.ask(|daemon| daemon.must(&["explain", &format!("{id:016x}")]));
        assert_eq!(told["volume"], self.name);
        let found = ranges(&told);
        let expected = if self.kind.refuses == Refuses::SomeWrites { BAD } else { AT };
        assert_eq!(found, [expected], "{}: {told}", self.name);
        let errnos: Vec<&Value> = told["extents"].as_array().expect("extents").iter().collect();
        // What hangs has said nothing.
        let said = |extent: &&Value| match self.kind.refuses {
            Refuses::Everything => extent["refusal"].is_null(),
            _ => extent["refusal"]["errno"]["name"] == self.kind.errno,
        };
        assert!(errnos.iter().any(said), "{}: {} is not in {told}", self.name, self.kind.errno);
    }

    fn mended(&self) {
        self.operators.ask(|daemon| (self.disk.mend)(daemon, self.name));
        let retry = || self.operators.ask(|daemon| daemon.ctl(&["retry", self.name, "--wait"]));
        if self.kind.refuses == Refuses::Everything {
            // What hung ends when the device gets to it.
            return eventually(&format!("{} goes on", self.name), || {
                (retry().exit == Exit::Ok).then_some(())
            });
        }
        let told = retry();
        assert_eq!(told.exit, Exit::Ok, "{}: once the cause is gone, a retry heals: {told:?}", self.name);
        assert_eq!(self.operators.ask(|daemon| daemon.extents(self.name, "failed")), [], "{}", self.name);
    }

    /// The policy gives it up: flush and read fail, whatever the flush was to do, until it is written again.
    fn given_up(&self) {
        let (offset, length) = if self.kind.refuses == Refuses::SomeWrites { BAD } else { AT };
        let inside = |&(from, bytes): &(u64, u64)| from >= offset && from + bytes <= offset + length;
        let mut lost = Vec::new();
        let waiting = patient(self.operators, self.name, ANSWERED);
        std::thread::scope(|scope| {
            let flush = scope.spawn(|| failure(waiting.flush()));
            // Behind a closed gate line by line is tried and given up; one bad range is given up as a whole.
            eventually(&format!("{}: the loss of it", self.name), || {
                if self.flush == Flush::Report {
                    // Every flush asks for an attempt.
                    failure(self.client.flush());
                }
                lost = self.operators.ask(|daemon| daemon.extents(self.name, "lost"));
                let all = lost == [(offset, length)];
                (all || (self.kind.gates() && !lost.is_empty())).then_some(())
            });
            assert!(lost.iter().all(inside), "{}: {lost:?}", self.name);
            let errno = flush.join().expect("it does not panic").0;
            assert!(self.flush == Flush::Report || errno == EIO, "{}: {errno}", self.name);
        });
        assert_eq!(failure(self.client.flush()).0, EIO, "{}: a loss is EIO whatever its cause", self.name);
        assert_eq!(failure(self.read((lost[0].0, LINE))).0, EIO, "{}: never an older version", self.name);
        self.shows("HF_LOST_EXTENTS");
        self.operators.ask(|daemon| (self.disk.mend)(daemon, self.name));
        assert_eq!(failure(self.client.flush()).0, EIO, "{}: a loss is a loss", self.name);
        eventually(&format!("{}: a write to a disk that is well", self.name), || {
            self.client.write_at(&pattern(2, AT.0, AT.1), AT.0).ok()
        });
        eventually(&format!("{}: healed by what was written again", self.name), || self.client.flush().ok());
    }

    fn well_again(&self) {
        check_same(&self.read(AT).expect("well"), &pattern(2, AT.0, AT.1), self.name);
        let untouched = self.read(UNTOUCHED).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert!(untouched.iter().all(|&byte| byte == 0), "{}", self.name);
        eventually(&format!("{} is well", self.name), || self.codes().is_empty().then_some(()));
        assert_eq!(self.operators.ask(|daemon| daemon.extents(self.name, "lost")), [], "{}", self.name);
        self.write(3, (BYTES - 64 * KIB, LINE));
        self.flushed();
    }

    /// Nothing is wrong; but what hung may be slow for a while.
    fn flushed(&self) {
        match (self.kind.refuses, self.client.flush()) {
            (Refuses::Everything, Err(_)) => {
                eventually(&format!("{}: a flush", self.name), || self.client.flush().ok())
            }
            (_, answer) => answer.unwrap_or_else(|error| panic!("{}: nothing is wrong: {error}", self.name)),
        }
    }
}

/// Byte by byte, without the daemon.
pub(super) fn check_disk(name: &str, disk: &Disk) {
    for (version, (offset, length)) in [(1, WELL), (2, AT), (3, (BYTES - 64 * KIB, LINE))] {
        let found = on_backing(&disk.bytes, offset, length);
        check_same(&found, &pattern(version, offset, length), &format!("{name} at {offset}"));
    }
}
