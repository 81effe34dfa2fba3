//! Jobs, carried out: Holdfast and what it stands beside, in alternating rounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use crate::board::Board;
use crate::crew::{Plan, round, round_here};
use crate::daemon_target::DaemonTarget;
use crate::door::Door;
use crate::files::{PageCache, allocate, make_durable};
use crate::floor::{Floor, Phase, ping_pong_ns};
use crate::job::{Case, Job};
use crate::load::{Load, Operation, warm_up};
use crate::machine::{Counters, Machine};
use crate::nbd_target::Nbd;
use crate::outcome::{CaseOutcome, Contender, ContenderOutcome, Outcome, PEERS, RoundOutcome};
use crate::own_daemon::{OwnDaemon, VOLUME};
use crate::peers::{Peer, missing};
use crate::statistics::Repeats;
use crate::testbed::Testbed;
use crate::trouble::{self, Scene};
use crate::vhost_target::VhostUser;

/// Rounds in which a peak is looked for.
const PEAKS: u32 = 3;

/// What a run is told.
#[derive(Debug)]
pub struct Request {
    /// The file's name without its ending.
    pub name: String,
    /// What is measured.
    pub job: Job,
    /// Where: settled.
    pub testbed: Testbed,
    /// Socket and volume of a daemon that runs; `None` starts one.
    pub running: Option<(PathBuf, String)>,
    /// Whether the page cache, O_DIRECT and NBD servers are measured, too.
    pub compare: bool,
    /// What preflight found.
    pub findings: Vec<String>,
}

/// Carries a job out. The job's span of the volume is overwritten.
///
/// # Errors
/// If the daemon does not start or refuses, a read returns what was not written, or there is no room.
pub fn run(request: Request, machine: Machine) -> anyhow::Result<Outcome> {
    let Request { name, job, testbed, running, compare, mut findings } = request;
    if job.trouble.is_some() {
        anyhow::ensure!(!compare, "a job with a trouble stands beside itself without it: use `run`");
        anyhow::ensure!(
            running.is_none(),
            "a job with a trouble makes a device fail or kills its daemon: it starts one of its own, so leave --socket out"
        );
    }
    let before = Counters::now();
    let mut stage = Stage::set(&job, &testbed, running, compare, &machine, &mut findings)?;
    let mut ping_pong = stage.ping_pongs()?;
    let bar = progress_bar(&stage);
    let mut cases = job.cases.clone();
    for case in &mut cases {
        case.rate = stage.rate(case, &bar)?;
    }
    let mut heard: BTreeMap<(usize, Contender), Vec<RoundOutcome>> = BTreeMap::new();
    for repeat in 0..job.repeats {
        for (place, case) in cases.iter().enumerate() {
            let mut contenders = stage.contenders(case);
            // Who is first changes, so that nobody always follows the same one's caches.
            let first = repeat as usize % contenders.len();
            contenders.rotate_left(first);
            for contender in contenders {
                bar.set_message(format!("{}: {}", case.name, contender.name()));
                let outcome = stage
                    .round(contender, case, repeat, &bar)
                    .with_context(|| format!("case {:?}, {}", case.name, contender.name()))?;
                heard.entry((place, contender)).or_default().push(outcome);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    ping_pong.extend(stage.ping_pongs()?);
    let during = before.since();
    findings.extend(during.findings());
    let cases = cases.into_iter().enumerate().map(|(place, case)| {
        let of_case = heard.iter().filter(|((at, _), _)| *at == place);
        let all = of_case.map(|((_, contender), rounds)| ContenderOutcome::new(*contender, rounds.clone()));
        CaseOutcome::new(case, all.collect())
    });
    Ok(Outcome {
        version: 2,
        kind: if compare { "compare" } else { "run" }.into(),
        job: name,
        question: job.question.clone(),
        revision: env!("HOLDFAST_REVISION").into(),
        program_version: env!("CARGO_PKG_VERSION").into(),
        cases: cases.collect(),
        daemon_config: stage.daemon.as_ref().map(|daemon| daemon.config.clone()),
        settings: job.clone(),
        testbed: testbed.clone(),
        machine,
        during,
        findings,
        ping_pong_ns: (!ping_pong.is_empty()).then(|| Repeats::new(ping_pong)),
    })
}

fn progress_bar(stage: &Stage<'_>) -> ProgressBar {
    let rounds: usize = stage.job.cases.iter().map(|case| stage.contenders(case).len()).sum();
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {msg} {prefix}");
    let bar = ProgressBar::new(rounds as u64 * u64::from(stage.job.repeats));
    bar.with_style(style.expect("a template that it accepts"))
}

/// All that stands while a job runs.
struct Stage<'run> {
    job: &'run Job,
    testbed: &'run Testbed,
    socket: PathBuf,
    volume: String,
    daemon: Option<OwnDaemon>,
    floor: Option<Floor>,
    scene: Option<Scene>,
    /// The files of the page cache and of O_DIRECT, if there is a comparison.
    files: Option<TempDir>,
    peers: BTreeMap<Contender, Peer>,
    /// What the clients of each contender share: versions go on from round to round.
    boards: BTreeMap<Contender, Board>,
}

impl<'run> Stage<'run> {
    fn set(
        job: &'run Job,
        testbed: &'run Testbed,
        running: Option<(PathBuf, String)>,
        compare: bool,
        machine: &Machine,
        findings: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let daemon = match running {
            Some(_) => None,
            None => Some(OwnDaemon::start(job, testbed, machine.huge_pages_free)?),
        };
        let (socket, volume) = match (&daemon, running) {
            (_, Some(running)) => running,
            (Some(daemon), None) => (daemon.socket.clone(), VOLUME.into()),
            (None, None) => unreachable!("started above"),
        };
        let (floor, why_not) = start_floor(job, testbed, machine)?;
        findings.extend(why_not);
        let scene = job.trouble.zip(daemon.as_ref()).map(|(trouble, daemon)| {
            Scene::set(trouble, job, daemon).with_context(|| format!("before {}", trouble.name()))
        });
        let scene = scene.transpose()?;
        if compare {
            let left_out: Vec<_> = PEERS.into_iter().filter_map(|(peer, _)| missing(peer)).collect();
            left_out.iter().for_each(|what| eprintln!("compare: {what}"));
            findings.extend(left_out);
        }
        let files =
            compare.then(|| tempfile::Builder::new().prefix("holdfast-perf-").tempdir_in(&testbed.directory));
        let files = files.transpose().with_context(|| format!("files in {}", testbed.directory.display()))?;
        let mut stage = Self {
            job,
            testbed,
            socket,
            volume,
            daemon,
            floor,
            scene,
            files,
            peers: BTreeMap::new(),
            boards: BTreeMap::new(),
        };
        stage.fill().context("writing the span for the first time")?;
        Ok(stage)
    }

    /// Writes every contender's set once, so that every read can be checked.
    fn fill(&mut self) -> anyhow::Result<()> {
        let load = Load {
            operation: Operation::Write,
            depth: 32,
            seed: self.job.seed,
            span_bytes: self.job.span,
            duration: Duration::ZERO,
        };
        let mut holdfast = DaemonTarget::connect(&self.socket, &self.volume, 32, self.job.span)?;
        warm_up(&mut holdfast, &load)?;
        holdfast.flush()?;
        if let Some(floor) = &mut self.floor {
            warm_up(&mut floor.session(Phase::Ring), &load)?;
        }
        let mut all = vec![Contender::Holdfast, Contender::Floor];
        for contender in [Contender::PageCache, Contender::Direct] {
            let Some(path) = self.file(contender) else { continue };
            allocate(&path, self.job.span)?;
            warm_up(&mut PageCache::open(&path, 32, 4096)?, &load)?;
            make_durable(&path)?;
            all.push(contender);
        }
        all.extend(self.fill_peers(&load)?);
        let versioned = if self.job.verify { self.job.span } else { 0 };
        for contender in all {
            self.boards.insert(contender, Board::create(versioned)?);
        }
        Ok(())
    }

    /// Starts the other servers, each with a file of its own.
    fn fill_peers(&mut self, load: &Load) -> anyhow::Result<Vec<Contender>> {
        for (contender, _) in PEERS.into_iter().filter(|&(who, _)| missing(who).is_none()) {
            let Some(path) = self.file(contender) else { continue };
            allocate(&path, self.job.span)?;
            let peer = Peer::start(contender, &path, self.testbed)?;
            self.peers.insert(contender, peer);
            let filled = match self.door(contender)? {
                Some(Door::VhostUser(socket)) => {
                    let mut disk = VhostUser::connect(&socket, 32, self.job.span, 4096)?;
                    warm_up(&mut disk, load).and_then(|_| disk.flush())
                }
                Some(Door::Nbd { socket, export }) => {
                    let mut connection = Nbd::connect(&socket, &export, 32, 4096)?;
                    warm_up(&mut connection, load).and_then(|_| connection.flush())
                }
                _ => Ok(()),
            };
            filled.with_context(|| contender.name().to_owned())?;
        }
        Ok(self.peers.keys().copied().collect())
    }

    fn file(&self, contender: Contender) -> Option<PathBuf> {
        let name = match contender {
            Contender::PageCache => "page-cache",
            Contender::Nbdkit => "nbdkit",
            Contender::QemuStorageDaemon => "qemu-storage-daemon",
            Contender::QemuStorageDaemonVhost => "qemu-storage-daemon-vhost",
            _ => "direct",
        };
        self.files.as_ref().map(|folder| folder.path().join(name))
    }

    /// Holdfast first. The floor has one ring, for requests of 4 KiB, and a vhost-user server one driver.
    fn contenders(&self, case: &Case) -> Vec<Contender> {
        let floor = self.floor.is_some() && case.clients == 1 && case.block == 4096;
        let mut contenders = vec![Contender::Holdfast];
        contenders.extend(self.scene.as_ref().map(|_| Contender::Undisturbed));
        contenders.extend(floor.then_some(Contender::Floor));
        if self.files.is_some() {
            contenders.extend([Contender::PageCache, Contender::Direct]);
            let doors = [Contender::HoldfastNbd, Contender::HoldfastVhost].into_iter();
            contenders.extend(doors.filter(|_| self.daemon.is_some()));
            contenders.extend(self.peers.keys());
            contenders.sort_unstable();
        }
        if case.clients > 1 {
            contenders
                .retain(|who| !matches!(who, Contender::HoldfastVhost | Contender::QemuStorageDaemonVhost));
        }
        contenders
    }

    fn round(
        &mut self,
        contender: Contender,
        case: &Case,
        repeat: u32,
        bar: &ProgressBar,
    ) -> anyhow::Result<RoundOutcome> {
        let look = |rate: f64| bar.set_prefix(format!("{:.1} K/s", rate / 1000.0));
        if self.scene.is_some() {
            return self.beside(case, repeat, contender == Contender::Holdfast, look);
        }
        // One volume behind three doors: whoever reads knows what the others wrote.
        let of = match contender {
            Contender::HoldfastNbd | Contender::HoldfastVhost => Contender::Holdfast,
            other => other,
        };
        let board = self.boards.get(&of).context("what its clients share")?;
        let plan = Plan { job: self.job, case, repeat, board, cores: &self.testbed.client_cores };
        let heard = match self.door(contender)? {
            Some(door) => {
                self.settle(&door)?;
                round(&door, plan, |_| (), look)?
            }
            None => {
                let floor = self.floor.as_mut().context("a floor")?;
                round_here(floor.session(Phase::Ring), plan, look)?
            }
        };
        Ok(RoundOutcome::new(&heard, case.block))
    }

    /// At which requests of a case arrive; for a part of its peak, that is measured here.
    fn rate(&mut self, case: &Case, bar: &ProgressBar) -> anyhow::Result<Option<f64>> {
        let Some(part) = case.rate_of_peak else { return Ok(case.rate) };
        let closed = Case { rate_of_peak: None, ..case.clone() };
        let mut peaks = Vec::new();
        // Places and payloads of rounds that do not come.
        for repeat in self.job.repeats..self.job.repeats + PEAKS {
            bar.set_message(format!("{}: the peak", case.name));
            peaks.push(self.round(Contender::Holdfast, &closed, repeat, bar)?.rate_per_s);
        }
        Ok(Some((Repeats::new(peaks).median * part).max(1.0)))
    }

    /// How its clients come to a contender; `None` for the floor, which has room for one.
    fn door(&self, contender: Contender) -> anyhow::Result<Option<Door>> {
        let file = || self.file(contender).context("a file to compare with");
        Ok(match contender {
            Contender::Floor => None,
            Contender::Holdfast | Contender::Undisturbed => {
                Some(Door::Holdfast { socket: self.socket.clone(), volume: self.volume.clone() })
            }
            Contender::PageCache => Some(Door::PageCache(file()?)),
            Contender::Direct => Some(Door::Direct(file()?)),
            Contender::HoldfastNbd => {
                let daemon = self.daemon.as_ref().context("a daemon of the job's own")?;
                Some(Door::Nbd { socket: daemon.nbd.clone(), export: VOLUME.into() })
            }
            Contender::HoldfastVhost => {
                let daemon = self.daemon.as_ref().context("a daemon of the job's own")?;
                Some(Door::VhostUser(daemon.vhost.clone()))
            }
            Contender::Nbdkit | Contender::QemuStorageDaemon => {
                Some(Door::Nbd { socket: self.peer(contender)?, export: String::new() })
            }
            Contender::QemuStorageDaemonVhost => Some(Door::VhostUser(self.peer(contender)?)),
        })
    }

    /// Where another server listens.
    fn peer(&self, contender: Contender) -> anyhow::Result<PathBuf> {
        self.peers.get(&contender).map(|peer| peer.socket.clone()).context("a server")
    }

    /// A round does not begin with the write-back of an earlier one.
    fn settle(&self, door: &Door) -> anyhow::Result<()> {
        match door {
            Door::Holdfast { socket, volume } => {
                DaemonTarget::connect(socket, volume, 1, self.job.span)?.flush()?;
            }
            Door::Nbd { socket, export } => Nbd::connect(socket, export, 1, 4096)?.flush()?,
            Door::VhostUser(socket) => VhostUser::connect(socket, 1, self.job.span, 4096)?.flush()?,
            Door::PageCache(path) | Door::Direct(path) => make_durable(path)?,
        }
        Ok(())
    }

    /// A round with the job's trouble, or without it and all else the same.
    fn beside(
        &mut self,
        case: &Case,
        repeat: u32,
        troubled: bool,
        look: impl FnMut(f64),
    ) -> anyhow::Result<RoundOutcome> {
        let door = self.door(Contender::Holdfast)?.context("a door")?;
        self.settle(&door)?;
        let board = self.boards.get(&Contender::Holdfast).context("what its clients share")?;
        let plan = Plan { job: self.job, case, repeat, board, cores: &self.testbed.client_cores };
        let daemon = self.daemon.as_mut().context("a daemon of the job's own")?;
        let scene = self.scene.as_mut().context("a trouble")?;
        let duration = Duration::from_secs_f64(self.job.seconds);
        let played = scene.play(
            trouble::Round { troubled, bytes_per_s: case.neighbour, duration },
            daemon,
            |began| round(&door, plan, began, look),
        )?;
        let mut outcome = RoundOutcome::new(&played.heard, case.block);
        (outcome.marks, outcome.write_back_bytes_per_s) = (played.marks, played.write_back_bytes_per_s);
        Ok(outcome)
    }

    fn ping_pongs(&mut self) -> anyhow::Result<Vec<f64>> {
        let duration = Duration::from_secs_f64(self.job.seconds / 5.0);
        let Some(floor) = &mut self.floor else { return Ok(Vec::new()) };
        Ok((0..3).map(|_| ping_pong_ns(floor, duration)).collect::<Result<_, _>>()?)
    }
}

/// Beside a trouble there is none: it would keep the daemon's core. The floor keeps its span in memory: beyond half of what is available there is none, and the report says so.
fn start_floor(
    job: &Job,
    testbed: &Testbed,
    machine: &Machine,
) -> anyhow::Result<(Option<Floor>, Option<String>)> {
    if job.trouble.is_some() {
        return Ok((None, None));
    }
    if job.span > machine.memory_available / 2 {
        let why = format!("no floor: a span of {} bytes is more than half of the available memory", job.span);
        return Ok((None, Some(why)));
    }
    let floor = Floor::start(testbed.reactor_cores[0], job.span).context("starting the floor")?;
    Ok((Some(floor), None))
}
