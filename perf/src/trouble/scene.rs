//! What happens beside one round, and what is put right before the next.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::neighbour::Neighbour;
use super::{LAZY, Mark, NEIGHBOUR, Trouble};
use crate::counters::Counters;
use crate::job::Job;
use crate::operator::{break_device, mend_device, retry};
use crate::own_daemon::OwnDaemon;

/// Of 64 operations each, the most that a rule can hang: together more than a reactor has in flight.
const HANGING_RULES: usize = 4;

/// A trouble and the volume that has it.
#[derive(Debug)]
pub(crate) struct Scene {
    trouble: Trouble,
    lines: u64,
    neighbour: Option<Neighbour>,
    lazy: Option<Neighbour>,
    /// Whether the neighbour holds what its device refused.
    holds: bool,
}

/// What there is to know of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// With the trouble, or without.
    pub(crate) troubled: bool,
    /// What the neighbour writes.
    pub(crate) bytes_per_s: Option<u64>,
    /// Its length.
    pub(crate) duration: Duration,
}

/// What a round showed.
#[derive(Debug)]
pub(crate) struct Played<T> {
    /// To the load.
    pub(crate) heard: T,
    /// What happened when.
    pub(crate) marks: Vec<Mark>,
    /// Of all volumes, from shortly before the round to shortly behind it.
    pub(crate) write_back_bytes_per_s: Option<f64>,
}

impl Scene {
    /// Everything written once, and well.
    pub(crate) fn set(trouble: Trouble, job: &Job, daemon: &OwnDaemon) -> anyhow::Result<Self> {
        let open = |name: &str| -> anyhow::Result<Neighbour> {
            let mut neighbour = Neighbour::connect(&daemon.socket, name)?;
            neighbour.fill()?;
            Ok(neighbour)
        };
        let neighbour = (trouble != Trouble::Restart).then(|| open(NEIGHBOUR)).transpose()?;
        let lazy = (trouble == Trouble::WriteBack).then(|| open(LAZY)).transpose()?;
        let counters = Counters::scrape(&daemon.admin)?;
        let lines_of = |series, labels: &[&str]| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a cache")]
            let bytes = counters.sum(series, labels) as u64;
            bytes / 4096
        };
        let mut lines = trouble.lines(job, lines_of("holdfast_reactor_cache_bytes", &[]));
        if trouble == Trouble::Hold {
            // A cache of small pages has somewhat more lines than those that budgets are parts of, and what is above a budget
            // waits and is refused. Some room: the disk is told of many at a time.
            let budget = lines_of("holdfast_volume_budget_bytes", &[NEIGHBOUR]).saturating_sub(64);
            ensure!(
                budget >= lines / 100 * 97,
                "a budget of {budget} lines holds no {lines}: give the job more cache"
            );
            lines = lines.min(budget);
        }
        Ok(Self { trouble, lines, neighbour, lazy, holds: false })
    }

    /// Before a round, with the trouble or without: the neighbour holds what it is to hold, and nothing is left of the
    /// round before.
    fn prepare(&mut self, troubled: bool, admin: &Path) -> anyhow::Result<()> {
        if self.lines > 0 && troubled != self.holds {
            if troubled { self.hold(admin)? } else { self.heal(admin)? }
        }
        if self.holds {
            return Ok(());
        }
        for volume in [&mut self.neighbour, &mut self.lazy].into_iter().flatten() {
            ensure!(volume.flush()?, "a device refuses that is well");
        }
        Ok(())
    }

    /// Has the device refuse what is written now.
    fn hold(&mut self, admin: &Path) -> anyhow::Result<()> {
        let Some(neighbour) = &mut self.neighbour else { return Ok(()) };
        break_device(admin, NEIGHBOUR, "write", "X")?;
        let stride = usize::try_from(self.trouble.stride() * 4096)?;
        neighbour.write((0..self.lines * self.trouble.stride() * 4096).step_by(stride), 4096)?;
        ensure!(!neighbour.flush()?, "the device of volume {NEIGHBOUR:?} was told to refuse");
        let failed =
            Counters::scrape(admin)?.sum("holdfast_volume_data_bytes", &["state=\"failed\"", NEIGHBOUR]);
        #[expect(clippy::cast_precision_loss, reason = "bytes of a cache")]
        let expected = (self.lines * 4096) as f64;
        ensure!(failed >= expected, "{failed} bytes are held as failed, and {expected} were to be");
        self.holds = true;
        Ok(())
    }

    fn heal(&mut self, admin: &Path) -> anyhow::Result<()> {
        mend_device(admin, NEIGHBOUR)?;
        retry(admin, NEIGHBOUR)?;
        self.holds = false;
        Ok(())
    }

    /// Carries a round out with what happens beside it. `load` calls what it is given when the round begins.
    ///
    /// # Errors
    /// Of the load, of the daemon, or of the neighbour.
    pub(crate) fn play<T>(
        &mut self,
        round: Round,
        daemon: &mut OwnDaemon,
        load: impl FnOnce(&dyn Fn(Instant)) -> anyhow::Result<T>,
    ) -> anyhow::Result<Played<T>> {
        let admin = daemon.admin.clone();
        self.prepare(round.troubled, &admin)?;
        let (trouble, over) = (self.trouble, AtomicBool::new(false));
        let writer = if round.troubled {
            self.neighbour.as_mut()
        } else {
            self.lazy.as_mut().or(self.neighbour.as_mut())
        };
        let (before, began) = (written_back(&admin)?, Instant::now());
        let (heard, marks) = thread::scope(|scope| {
            let written = writer.zip(round.bytes_per_s).map(|(writer, rate)| {
                let over = &over;
                scope.spawn(move || writer.write_at_rate(rate, over))
            });
            let (tell, told) = channel();
            let acts = scope.spawn(move || match told.recv() {
                Ok(began) if round.troubled => act(trouble, daemon, began, round.duration),
                // Not begun: the load says why.
                _ => Ok(Vec::new()),
            });
            // Nobody listens only if that thread has ended, and then its join says why.
            let heard = load(&|began| tell.send(began).unwrap_or(()));
            drop(tell);
            over.store(true, Relaxed);
            let marks = acts.join().expect("what happens beside a round does not panic");
            let written = written.map_or(Ok(()), |writer| writer.join().expect("a neighbour does not panic"));
            written.context("the neighbour")?;
            Ok::<_, anyhow::Error>((heard?, marks.context("what happens beside the round")?))
        })?;
        let seconds = began.elapsed().as_secs_f64();
        // A daemon that was started meanwhile counts from 0 on.
        let counted = trouble != Trouble::Restart;
        let written = written_back(&admin)? - before;
        let write_back_bytes_per_s = counted.then_some(written / seconds);
        if round.troubled && trouble != Trouble::Hold {
            self.holds = false;
        }
        if round.troubled && matches!(trouble, Trouble::Refuse | Trouble::Hang) {
            self.heal(&admin)?;
        }
        Ok(Played { heard, marks, write_back_bytes_per_s })
    }
}

/// Bytes that devices were given since the daemon began.
fn written_back(admin: &Path) -> anyhow::Result<f64> {
    Ok(Counters::scrape(admin)?.sum("holdfast_volume_device_written_bytes_total", &[]))
}

/// Does at its time what the trouble consists of.
fn act(
    trouble: Trouble,
    daemon: &mut OwnDaemon,
    began: Instant,
    duration: Duration,
) -> anyhow::Result<Vec<Mark>> {
    let mut marks = Vec::new();
    let mut mark = |what: String| marks.push(Mark { at_s: began.elapsed().as_secs_f64(), what });
    let sleep_to = |part: f64| thread::sleep(duration.mul_f64(part).saturating_sub(began.elapsed()));
    sleep_to(0.25);
    let admin = daemon.admin.clone();
    match trouble {
        Trouble::Refuse | Trouble::Hang => {
            let hangs = trouble == Trouble::Hang;
            for operation in ["write", "flush"] {
                let (rules, sequence) = if hangs { (HANGING_RULES, "h".repeat(64)) } else { (1, "X".into()) };
                (0..rules).try_for_each(|_| break_device(&admin, NEIGHBOUR, operation, &sequence))?;
            }
            mark(if hangs { "hangs" } else { "refuses" }.into());
            sleep_to(0.75);
            mend_device(&admin, NEIGHBOUR)?;
            mark("well again".into());
        }
        Trouble::Retry => {
            mend_device(&admin, NEIGHBOUR)?;
            mark("retry".into());
            retry(&admin, NEIGHBOUR)?;
            mark("all is written".into());
        }
        Trouble::Restart => {
            daemon.kill();
            mark("killed".into());
            daemon.start_again()?;
            mark("answers".into());
        }
        Trouble::Hold | Trouble::WriteBack => {}
    }
    Ok(marks)
}
