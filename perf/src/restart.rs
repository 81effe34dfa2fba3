//! How long clients wait for a daemon that was killed: from the start of the next one's process to the first read that it
//! answers.
//!
//! The arena is full: of its slots 30% are dirty, 5% were refused by the device, and the rest is clean. The failures lie in
//! runs of eight lines with gaps of eight, so that the ledger has a record for each run. Every start is followed by a kill,
//! and finds what the first daemon left.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_ringbuf::client::{Client, Options};
use serde::{Deserialize, Serialize};
use tempfile::{Builder, TempDir};

use crate::counters::Counters;
use crate::own_daemon::{VOLUME, program, quoted};

/// Bytes of a line.
const LINE: u64 = 4096;
/// Bytes of a request.
const REQUEST: u64 = 128 << 10;
/// Bytes of a run of lines that fail, and of the gap behind it.
const RUN: u64 = 8 * LINE;
/// What a start may take, in all.
const START_MAX: Duration = Duration::from_secs(120);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Request {
    /// Bytes of the arena.
    pub cache: u64,
    /// Reactors.
    pub reactors: u32,
    /// How many starts are measured.
    pub repeats: u32,
    /// Where the arena goes: a directory on hugetlbfs or tmpfs.
    pub arena: PathBuf,
    /// Where the backing, a sparse file, and the ledger go.
    pub directory: PathBuf,
}

/// What was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Bytes of the arena.
    pub cache: u64,
    /// Reactors.
    pub reactors: u32,
    /// Lines that the next daemon took over.
    pub lines: u64,
    /// Of them, not on stable media.
    pub not_clean: u64,
    /// Of them, refused by the device.
    pub failed: u64,
    /// From the start of the process to the first answered read, in milliseconds, in order.
    pub first_read_ms: Vec<f64>,
}

impl Outcome {
    /// One line for people.
    pub fn text(&self) -> String {
        let [least, median, most] = self.least_median_most();
        format!(
            "{:>3} GiB, {} reactors: {} lines, {} not clean, {} failed: first read after {:.0} ms (median of {}; {:.0} to {:.0})",
            self.cache >> 30,
            self.reactors,
            self.lines,
            self.not_clean,
            self.failed,
            median,
            self.first_read_ms.len(),
            least,
            most,
        )
    }

    /// Of the starts, in milliseconds; not numbers if there is none.
    pub(crate) fn least_median_most(&self) -> [f64; 3] {
        let mut sorted = self.first_read_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().max(1) - 1;
        [0, last / 2, last].map(|at| sorted.get(at).copied().unwrap_or(f64::NAN))
    }
}

/// The parts of the volume that are brought into the cache, in bytes, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    dirty: u64,
    /// Twice what fails: the gaps stay out of the cache.
    failing: u64,
    clean: u64,
}

impl Parts {
    fn of(cache: u64) -> Parts {
        // A slot and its header; the last two of a hundred stay free.
        let live = cache / (LINE + 32) * 98 / 100;
        let part = |percent: u64, of: u64| live * percent / 100 * LINE / of * of;
        Parts { dirty: part(30, REQUEST), failing: 2 * part(5, REQUEST), clean: part(65, REQUEST) }
    }

    fn end(self) -> u64 {
        self.dirty + self.failing + self.clean
    }
}

/// Fills an arena, kills its daemon, and measures the next ones.
///
/// # Errors
/// Whatever keeps a daemon from starting or a client from reading; a read that is wrong.
pub fn measure(request: &Request) -> anyhow::Result<Outcome> {
    let place = Place::new(request)?;
    let parts = Parts::of(request.cache);
    let (daemon, client) = place.start(START_MAX)?;
    fill(&place, &client, parts)?;
    drop((client, daemon));
    let mut first_read_ms = Vec::new();
    let mut said = String::new();
    for _ in 0..request.repeats {
        let begun = Instant::now();
        let (daemon, client) = place.start(START_MAX)?;
        let mut data = vec![0; count(LINE)];
        client.read_at(&mut data, 0)?;
        first_read_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(data.iter().all(|&byte| byte == 1), "the first line is not what was written");
        said = place.said();
        drop((client, daemon));
    }
    let counted = |name: &str| counts(&said, name);
    let (lines, live) = (counted("lines"), (parts.dirty + parts.failing / 2 + parts.clean) / LINE);
    ensure!(lines >= live / 10 * 9, "{lines} lines were taken over of {live} that were there");
    Ok(Outcome {
        cache: request.cache,
        reactors: request.reactors,
        lines,
        not_clean: counted("not_clean"),
        failed: counted("failed"),
        first_read_ms,
    })
}

/// The sum of a number that each reactor's line of the log has.
fn counts(log: &str, name: &str) -> u64 {
    let lines = log.lines().filter(|line| line.contains("took over what an earlier daemon left"));
    let field = |line: &str| {
        let words = line.split_whitespace().filter_map(|word| word.split_once('='));
        words.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok())
    };
    lines.filter_map(field).sum()
}

fn fill(place: &Place, client: &Client, parts: Parts) -> anyhow::Result<()> {
    let failing = parts.dirty..parts.dirty + parts.failing;
    place.refuse(failing.start, parts.failing)?;
    let data = vec![2; count(RUN)];
    for offset in failing.clone().step_by(count(2 * RUN)) {
        client.write_at(&data, offset)?;
    }
    ensure!(client.flush().is_err(), "the device was told to refuse");
    let mut data = vec![0; count(REQUEST)];
    let deadline = Instant::now() + START_MAX;
    // Soon after a flush that failed, what is read is not kept.
    loop {
        for offset in (failing.end..parts.end()).step_by(count(REQUEST)) {
            client.read_at(&mut data, offset)?;
        }
        let counters = Counters::scrape(&place.file("admin.sock"))?;
        let kept = counters.sum("holdfast_reactor_cache_bytes", &["state=\"clean\""]);
        #[expect(clippy::cast_precision_loss, reason = "bytes of a cache")]
        if kept >= parts.clean as f64 * 0.95 {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{kept} of {} bytes that were read stay in the cache",
            parts.clean
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    let data = vec![1; count(REQUEST)];
    for offset in (0..parts.dirty).step_by(count(REQUEST)) {
        client.write_at(&data, offset)?;
    }
    Ok(())
}

fn count(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a request is short")
}

/// Directories of the daemons, gone when dropped.
struct Place {
    folder: TempDir,
    _arena: TempDir,
    program: PathBuf,
}

impl Place {
    fn new(request: &Request) -> anyhow::Result<Place> {
        let place = |parent: &Path| {
            let folder = Builder::new().prefix("holdfast-restart-").tempdir_in(parent);
            folder.with_context(|| format!("a folder in {}", parent.display()))
        };
        let (folder, arena) = (place(&request.directory)?, place(&request.arena)?);
        let backing = folder.path().join("volume");
        let bytes = (2 * Parts::of(request.cache).end()).next_multiple_of(1 << 20);
        File::create(&backing).and_then(|file| file.set_len(bytes))?;
        let file = |name: &str| quoted(&folder.path().join(name));
        let config = format!(
            "[daemon]\nreactors = {reactors}\nstate_dir = {state}\nsocket = {socket}\nadmin_socket = {admin}\n\
             [arena]\npath = {arena}\nsize = {cache}\n[debug]\nfault_injection = true\n\
             [[volume]]\nname = \"{VOLUME}\"\nbudget = \"60%\"\n\
             backing = {{ kind = \"file\", path = {backing}, buffered = true }}\n\
             write_back = {{ from = \"100%\", after = \"1h\" }}\n\
             [[volume.on_failure]]\nclass = \"any\"\npolicy = {{ kind = \"hold-forever\", stall_timeout = \"1s\" }}\n\
             retry = {{ on = [] }}\n",
            reactors = request.reactors,
            state = file("state"),
            socket = file("clients.sock"),
            admin = file("admin.sock"),
            arena = quoted(&arena.path().join("arena")),
            cache = request.cache,
            backing = quoted(&backing),
        );
        std::fs::write(folder.path().join("holdfast.toml"), config)?;
        Ok(Place { folder, _arena: arena, program: program()? })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A daemon, and the first client that it seats.
    fn start(&self, patience: Duration) -> anyhow::Result<(Killed, Client)> {
        let log = File::create(self.file("log"))?;
        let mut serve = Command::new(&self.program);
        serve.args(["serve", "--config"]).arg(self.file("holdfast.toml"));
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut daemon = Killed(child.with_context(|| format!("starting {}", self.program.display()))?);
        let deadline = Instant::now() + patience;
        loop {
            match Client::connect(self.file("clients.sock"), VOLUME, Options::default()) {
                Ok(client) => return Ok((daemon, client)),
                Err(error) => ensure!(Instant::now() < deadline, "{error}; it said:\n{}", self.said()),
            }
            if let Some(status) = daemon.0.try_wait()? {
                anyhow::bail!("the daemon ended with {status} and said:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// Has the device refuse writes to a range.
    fn refuse(&self, offset: u64, length: u64) -> anyhow::Result<()> {
        let mut ctl = Command::new(&self.program);
        ctl.env("HOLDFAST_ADMIN_SOCKET", self.file("admin.sock"));
        let range = format!("{offset}:{length}");
        let told = ctl.args(["ctl", "fault", VOLUME, "add", "write", "EIO", "--range", &range]).output()?;
        ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        Ok(())
    }
}

/// A daemon that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only if it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_of_whole_requests_and_fit_the_slots() {
        for cache in [1 << 28, 1 << 30, 8 << 30] {
            let parts = Parts::of(cache);
            assert!([parts.dirty, parts.failing, parts.clean].iter().all(|part| part % REQUEST == 0));
            let live = parts.dirty + parts.failing / 2 + parts.clean;
            assert!(live < cache && live > cache / 10 * 9, "{parts:?} of {cache}");
        }
    }

    #[test]
    fn the_reactors_counts_are_added() {
        let log = "INFO took over what an earlier daemon left lines=10 not_clean=4 failed=1\n\
                   INFO other lines=100\nINFO took over what an earlier daemon left lines=5 not_clean=3 failed=2\n";
        assert_eq!(["lines", "not_clean", "failed", "none"].map(|name| counts(log, name)), [15, 7, 3, 0]);
    }
}
