//! The timeline: the workload of a scene, and what comes after it, on one system.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use holdfast_ringbuf::FailureId;
use serde::Serialize;

use super::answer::Answer;
use super::disk::Refuse;
use super::judge::{Broken, Judge};
use super::patience::Patience;
use super::scene::{Fault, SLEEP, Scene};
use super::stamp::Stamp;
use super::system::{Listed, Session, System};

/// One step and what was seen.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// The row of the table.
    pub(super) what: &'static str,
    pub(super) seen: Answer,
}

/// All that was seen of one system in one scene.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Play {
    pub(super) system: String,
    pub(super) scene: &'static str,
    /// How the disk knew what to refuse.
    pub(super) refused_by: &'static str,
    pub(super) steps: Vec<Step>,
    /// What a reader of the contract would complain of.
    pub(super) broken: Vec<Broken>,
    /// Writes and flushes that the disk refused. Where both are zero, the scene was none.
    pub(super) refused_writes: usize,
    pub(super) refused_flushes: usize,
    /// What the kernel's log said of the device.
    pub(super) log: Vec<String>,
}

/// Rows, in the order of a play.
const WRITES: [&str; 2] = ["write", "write C"];
const FLUSHES: [&str; 2] = ["flush", "flush again"];
/// The row of another process's flush.
const SECOND: &str = "a second session flushes";
/// The row of the flush after a loss was accepted.
const FREED: &str = "flush after acceptance";
/// The row that an operator's list is in.
const LISTED: &str = "an operator can list";
/// The row of the end.
pub(super) const AT_THE_END: &str = "on the disk at the end";

/// A play that goes on.
struct Stage<'a> {
    system: &'a mut dyn System,
    scene: Scene,
    run: u64,
    patience: &'a Patience,
    steps: Vec<Step>,
    judge: Judge,
    /// Of the last flush that failed.
    failure: Option<FailureId>,
}

/// Plays a scene.
///
/// # Errors
/// If interrupted, or something of the stage itself fails. Whatever the system does is no error, but an answer.
pub(super) fn play(
    name: &str,
    system: &mut dyn System,
    scene: Scene,
    run: u64,
    patience: &Patience,
) -> anyhow::Result<Play> {
    let (&(block, letter), judge) = (scene.writes().first().context("a workload writes")?, Judge::default());
    let b = Stamp { letter, block, run };
    let refuse = match scene.fault {
        Fault::Data => system.refusal_of(b),
        Fault::Device => Refuse::Everything,
        Fault::Flush => Refuse::Flushes,
    };
    let mut stage = Stage { system, scene, run, patience, steps: Vec::new(), judge, failure: None };
    stage.work(refuse)?;
    stage.wait_and_evict()?;
    let mut log = stage.list(LISTED)?;
    stage.restart()?;
    let refusals = stage.system.disk().refusals()?;
    // The log only grows.
    let later = stage.mend()?;
    log.extend(later.into_iter().skip(log.len()));
    let Stage { steps, judge, .. } = stage;
    let asked = refusals.writes + refusals.flushes;
    ensure!(asked > 0, "the disk was never asked for what it was told to refuse");
    Ok(Play {
        system: name.to_owned(),
        scene: scene.name(),
        refused_by: match refuse {
            Refuse::Place(_) => "place",
            Refuse::Data(_) => "content",
            Refuse::Everything => "everything",
            Refuse::Flushes => "flushes",
        },
        steps,
        broken: judge.broken,
        refused_writes: refusals.writes,
        refused_flushes: refusals.flushes,
        log,
    })
}

impl Stage<'_> {
    fn saw(&mut self, what: &'static str, seen: Answer) {
        self.steps.push(Step { what, seen });
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |&(block, letter): &(u64, char)| Stamp { letter, block, run: self.run };
        self.scene.writes().iter().map(stamp).collect()
    }

    /// The paper's workload, on a disk that falls ill after the file was opened.
    fn work(&mut self, refuse: Refuse) -> anyhow::Result<()> {
        let opened = self.system.open(self.patience)?;
        let session = opened.map_err(|answer| anyhow::anyhow!("a disk that is well: {answer}"))?;
        self.system.disk().refuse(refuse)?;
        let stamps = self.stamps();
        for (index, &stamp) in stamps.iter().enumerate() {
            let written = session.write(stamp, self.patience)?;
            if written == Answer::Success {
                self.judge.acknowledged(stamp);
            }
            self.saw(WRITES[index], written);
            self.flush(FLUSHES[index], &session)?;
            // The first workload asks twice before it sleeps, the second sleeps after each.
            if stamps.len() == 1 {
                self.flush(FLUSHES[1], &session)?;
            }
            self.patience.sleep(SLEEP)?;
        }
        self.read("read", &session)
    }

    /// A second program, and memory that is needed for something else.
    fn wait_and_evict(&mut self) -> anyhow::Result<()> {
        match self.system.place() {
            Ok(place) => {
                let flushed = place.flush_by_another(self.patience)?;
                self.flushed(SECOND, flushed)?;
            }
            Err(answer) => self.saw(SECOND, answer),
        }
        self.system.evict()?;
        self.with_session("read after eviction", |stage, session| stage.read("read after eviction", session))
    }

    /// Still on an ill disk.
    fn restart(&mut self) -> anyhow::Result<()> {
        let restarted = self.system.restart()?;
        self.saw("restart", restarted);
        self.with_session("read after restart", |stage, session| {
            stage.read("read after restart", session)?;
            stage.flush("flush after restart", session)
        })?;
        self.list("listed after restart").map(drop)
    }

    /// The disk is well again, and an operator does what there is to do.
    fn mend(&mut self) -> anyhow::Result<Vec<String>> {
        self.system.disk().mend()?;
        let retried = self.system.retry()?;
        self.saw("disk well, operator", retried);
        self.with_session("flush after that", |stage, session| {
            stage.flush("flush after that", session)?;
            stage.read("read after that", session)
        })?;
        let Listed { is_lost, log, .. } = self.system.list(None)?;
        self.judge.healed(&self.steps, is_lost);
        if is_lost {
            self.accept_loss()?;
        }
        let blocks: Vec<u64> = self.stamps().iter().map(|stamp| stamp.block).collect();
        let ended = self.system.end(&blocks, self.run)?;
        self.saw(AT_THE_END, ended);
        Ok(log)
    }

    /// What was given up is accepted as lost.
    fn accept_loss(&mut self) -> anyhow::Result<()> {
        let lost = self.unstable()?;
        let accepted = self.system.accept_loss()?;
        self.saw("the loss is accepted", accepted);
        self.judge.accepted(&lost);
        self.with_session(FREED, |stage, session| {
            stage.flush(FREED, session)?;
            stage.read("read after acceptance", session)
        })?;
        let flushed = self.steps.iter().find(|step| step.what == FREED).map(|step| &step.seen);
        self.judge.freed(FREED, flushed);
        Ok(())
    }

    /// With another session; its refusal is the answer of a step.
    fn with_session(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut Self, &Session) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self.system.open(self.patience)? {
            Ok(session) => act(self, &session),
            Err(answer) => {
                self.saw(what, answer);
                Ok(())
            }
        }
    }

    fn flush(&mut self, what: &'static str, session: &Session) -> anyhow::Result<()> {
        let flushed = session.flush(self.patience)?;
        self.flushed(what, flushed)
    }

    fn flushed(
        &mut self,
        what: &'static str,
        (flushed, failure): (Answer, Option<FailureId>),
    ) -> anyhow::Result<()> {
        self.failure = failure.or(self.failure);
        let unstable = self.unstable()?;
        self.judge.flushed(what, &flushed, &unstable);
        self.saw(what, flushed);
        Ok(())
    }

    fn read(&mut self, what: &'static str, session: &Session) -> anyhow::Result<()> {
        let blocks: Vec<u64> = self.stamps().iter().map(|stamp| stamp.block).collect();
        let found = session.read(&blocks, self.run, self.patience)?;
        self.judge.read(what, &blocks, &found);
        self.saw(what, found);
        Ok(())
    }

    fn list(&mut self, what: &'static str) -> anyhow::Result<Vec<String>> {
        let listed = self.system.list(self.failure)?;
        let unstable = self.unstable()?;
        self.judge.listed(what, &unstable, &listed);
        self.saw(what, Answer::Words(listed.words));
        Ok(listed.log)
    }

    /// What was acknowledged and would not survive a power cut now.
    fn unstable(&self) -> anyhow::Result<Vec<Stamp>> {
        let newest: &BTreeMap<u64, Stamp> = self.judge.newest();
        let mut unstable = Vec::new();
        for &stamp in newest.values() {
            if self.system.disk().find_stable(stamp)?.is_none() {
                unstable.push(stamp);
            }
        }
        Ok(unstable)
    }
}
