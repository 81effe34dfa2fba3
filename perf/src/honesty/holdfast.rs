//! Holdfast: a daemon as a process over the same disk, clients over its rings, an operator at its door.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use holdfast_ringbuf::FailureId;
use holdfast_ringbuf::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::answer::Answer;
use super::disk::{Disk, Refuse, words, write_blocks};
use super::patience::{Patience, Said};
use super::place::{Place, options};
use super::scene::Scene;
use super::stamp::{BLOCK, Found, Stamp};
use super::system::{Listed, Session, System};
use crate::own_daemon::{program, quoted};

/// What the volume is called.
const VOLUME: &str = "honesty";
/// Bytes of the volume, and of the arena, of which a part of the volume fills every slot.
const VOLUME_BYTES: u64 = 24 << 20;
const ARENA_BYTES: u64 = 8 << 20;
/// Bytes of a read that is there to fill the cache.
const READ_BYTES: u64 = 128 << 10;

/// What becomes of refused data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    EvictImmediately,
    HoldUntilPressure,
    HoldForever,
}

impl Policy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Policy::EvictImmediately => "evict-immediately",
            Policy::HoldUntilPressure => "hold-until-pressure",
            Policy::HoldForever => "hold-forever",
        }
    }
}

/// A daemon and its volume. What is undone when it is dropped is in this order.
#[derive(Debug)]
pub(super) struct Holdfast {
    daemon: Option<Daemon>,
    disk: Disk,
    program: PathBuf,
    /// The arena, and sockets, whose names have to be short.
    memory: TempDir,
    patience: Patience,
}

impl Holdfast {
    /// Starts one with a single volume under this policy.
    ///
    /// # Errors
    /// If a program is missing or fails.
    pub(super) fn new(
        policy: Policy,
        scene: Scene,
        run: u64,
        parent: &Path,
        patience: &Patience,
    ) -> anyhow::Result<Self> {
        let memory = tempfile::Builder::new().prefix("holdfast-honesty-").tempdir_in("/dev/shm")?;
        let mut disk = Disk::new(parent, VOLUME_BYTES)?;
        let before = (0..scene.blocks_before()).map(|block| Stamp { letter: 'A', block, run });
        write_blocks(&disk.image(), before)?;
        disk.serve(patience)?;
        std::fs::write(disk.file("holdfast.toml"), configuration(policy, &disk, memory.path()))?;
        let (program, patience) = (program()?, patience.clone());
        let mut holdfast = Self { daemon: None, disk, program, memory, patience };
        holdfast.start()?;
        Ok(holdfast)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.disk.file("daemon.log"))?;
        let mut serve = Command::new(&self.program);
        serve.args(["serve", "--config"]).arg(self.disk.file("holdfast.toml")).process_group(0);
        let child = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.with_context(|| format!("starting {}", self.program.display()))?;
        let daemon = self.daemon.insert(Daemon(child));
        let socket = self.memory.path().join("clients");
        let up = self.patience.eventually(|| {
            ensure!(daemon.0.try_wait()?.is_none(), "the daemon has ended");
            Ok(Client::connect(&socket, VOLUME, options()).ok())
        });
        let up = up.and_then(|client| client.context("the daemon does not answer"));
        up.map(drop).with_context(|| self.said())
    }

    /// Ends it with a signal: SIGTERM, as its service does, or SIGKILL, of which it hears nothing.
    fn stop(&mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        let mut daemon = self.daemon.take().context("the daemon has ended")?;
        kill_process(Pid::from_child(&daemon.0), signal)?;
        let status = self.patience.eventually(|| Ok(daemon.0.try_wait()?))?;
        status.with_context(|| format!("the daemon does not end; {}", self.said()))
    }

    fn said(&self) -> String {
        let log = std::fs::read_to_string(self.disk.file("daemon.log")).unwrap_or_default();
        format!("the daemon said:\n{log}")
    }

    /// An operator's command.
    fn operator(&self, command: &[&str]) -> anyhow::Result<Said> {
        let socket = self.memory.path().join("admin");
        let ctl = [&["ctl", "--json", "--socket", words(&socket)?], command].concat();
        self.patience.run(words(&self.program)?, &ctl)
    }

    /// What a command that lists extents answers.
    fn extents(&self, command: &[&str]) -> anyhow::Result<Vec<Value>> {
        let said = self.operator(command)?;
        ensure!(said.success, "holdfastctl {}: {}", command.join(" "), said.complaint());
        let mut answer: Value = serde_json::from_str(&said.out)?;
        match answer["extents"].take() {
            Value::Array(extents) => Ok(extents),
            other => anyhow::bail!("no list of extents: {other}"),
        }
    }

    /// What an operator finds who looks for what is not on the disk.
    fn find_extents(&self, failure: Option<FailureId>) -> anyhow::Result<Listed> {
        let mut listed = Listed::default();
        for state in ["failed", "lost"] {
            for extent in self.extents(&["extents", VOLUME, "--state", state])? {
                listed.add(state, &extent)?;
            }
        }
        let refused = listed.clone();
        // Data that the disk took and did not keep was refused by nobody: the flush's id leads to it.
        if let Some(id) = failure {
            for extent in self.extents(&["explain", &id.to_string()])? {
                listed.add("in explain:", &extent)?;
            }
        }
        for state in ["dirty", "unstable"] {
            for extent in self.extents(&["extents", VOLUME, "--state", state])? {
                let (offset, length) = range_of(&extent)?;
                if !refused.covers(offset, length) {
                    // No promise is kept by it: nothing there says that it failed.
                    listed.say(&format!("{state} {offset}+{length}"));
                }
            }
        }
        if listed.words.is_empty() {
            listed.words = "no ranges".to_owned();
        }
        Ok(listed)
    }
}

impl Listed {
    /// One more extent of the daemon's answer, unless it is there.
    fn add(&mut self, list: &str, extent: &Value) -> anyhow::Result<()> {
        let (offset, length) = range_of(extent)?;
        if self.covers(offset, length) {
            return Ok(());
        }
        let errno = extent["refusal"]["errno"]["name"].as_str().unwrap_or("no errno");
        self.say(&format!("{list} {offset}+{length} {errno}"));
        self.ranges.push((offset, length));
        self.is_lost |= list == "lost";
        Ok(())
    }

    fn say(&mut self, words: &str) {
        let comma = if self.words.is_empty() { "" } else { ", " };
        self.words += &format!("{comma}{words}");
    }
}

/// Offset and length of an extent of the daemon's answer, in bytes.
fn range_of(extent: &Value) -> anyhow::Result<(u64, u64)> {
    let number = |key: &str| extent[key].as_u64().with_context(|| format!("no {key} in {extent}"));
    Ok((number("offset")?, number("length")?))
}

impl System for Holdfast {
    fn disk(&self) -> &Disk {
        &self.disk
    }

    fn refusal_of(&self, stamp: Stamp) -> Refuse {
        Refuse::Place(stamp.block * BLOCK as u64)
    }

    fn place(&self) -> Result<Place, Answer> {
        Ok(Place::Volume { socket: self.memory.path().join("clients"), name: VOLUME.to_owned() })
    }

    fn evict(&mut self) -> anyhow::Result<()> {
        let session = self.open(&self.patience)?;
        let Ok(Session::Rings(client)) = session else { anyhow::bail!("no session: {session:?}") };
        // Twice as much as there are slots, and nothing of what the workloads write.
        let read = self.patience.within(move || {
            let mut bytes = vec![0; usize::try_from(READ_BYTES).expect("short")];
            let offsets = (VOLUME_BYTES - 2 * ARENA_BYTES..VOLUME_BYTES).step_by(bytes.len());
            offsets.into_iter().try_for_each(|offset| client.read_at(&mut bytes, offset))
        })?;
        Ok(read.context("the cache does not fill")??)
    }

    fn restart(&mut self) -> anyhow::Result<Answer> {
        // A daemon that does not end or start is something to be seen, as everything else.
        let ended = match self.stop(Signal::KILL) {
            Ok(status) if status.signal() == Some(Signal::KILL.as_raw()) => "killed".to_owned(),
            Ok(status) => format!("ended: {status}"),
            Err(_) => self.patience.check().map(|()| "no end".to_owned())?,
        };
        let started = match self.start() {
            Ok(()) => "started",
            Err(_) => self.patience.check().map(|()| "not started")?,
        };
        Ok(Answer::Words(format!("{ended}, {started}")))
    }

    fn list(&mut self, failure: Option<FailureId>) -> anyhow::Result<Listed> {
        match self.find_extents(failure) {
            Ok(listed) => Ok(listed),
            Err(error) => {
                self.patience.check().map(|()| Listed { words: error.to_string(), ..Listed::default() })
            }
        }
    }

    fn retry(&mut self) -> anyhow::Result<Answer> {
        let said = self.operator(&["retry", VOLUME, "--wait"])?;
        let outcome = if said.success { "ok".to_owned() } else { said.complaint() };
        Ok(Answer::Words(format!("retry: {outcome}")))
    }

    fn accept_loss(&mut self) -> anyhow::Result<Answer> {
        let said = self.operator(&["ack-loss", VOLUME, "--yes"])?;
        let outcome = if said.success { "ok".to_owned() } else { said.complaint() };
        Ok(Answer::Words(format!("ack-loss: {outcome}")))
    }

    fn end(&mut self, blocks: &[u64], run: u64) -> anyhow::Result<Answer> {
        if self.daemon.is_some() {
            self.stop(Signal::TERM)?;
        }
        self.disk.unplug()?;
        let file = File::open(self.disk.stable())?;
        let block = |&block: &u64| {
            let mut bytes = vec![0; BLOCK];
            file.read_exact_at(&mut bytes, block * BLOCK as u64)?;
            Ok(Found::of(&bytes, block, run))
        };
        Ok(Answer::Contents(blocks.iter().map(block).collect::<std::io::Result<_>>()?))
    }
}

fn configuration(policy: Policy, disk: &Disk, memory: &Path) -> String {
    let stall = if policy == Policy::EvictImmediately { "" } else { ", stall_timeout = \"2s\"" };
    format!(
        "[daemon]\nreactors = 1\nstate_dir = {state}\nsocket = {socket}\nadmin_socket = {admin}\n\
         [arena]\npath = {arena}\nsize = {ARENA_BYTES}\n\
         [limits]\nrequest_bytes_max = \"128KiB\"\nsession_bytes_max = \"2MiB\"\nsessions_max = 8\n\
         [[volume]]\nname = \"{VOLUME}\"\nbacking = {{ kind = \"file\", path = {backing} }}\n\
         [[volume.on_failure]]\nclass = \"any\"\npolicy = {{ kind = \"{policy}\"{stall} }}\n\
         retry = {{ first = \"100ms\", max = \"1s\" }}\n",
        state = quoted(&disk.file("state")),
        socket = quoted(&memory.join("clients")),
        admin = quoted(&memory.join("admin")),
        arena = quoted(&memory.join("arena")),
        backing = quoted(&disk.served()),
        policy = policy.name(),
    )
}

/// The process; killed when dropped.
#[derive(Debug)]
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only if it has ended. Its disk answers as long as it is served, so it does end.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
