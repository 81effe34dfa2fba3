//! The timeline, for one policy: t0 to t8.

use super::child;
use super::crowd;
use super::ending::{Played, image};
use super::error::Error;
use super::expected::{Expected, covers, total};
use super::operator::Operator;
use super::pattern::{A_BYTES, B, Ink, LINE, PLAYGROUND, lines};
use super::place::Place;
use super::plan::{Planned, Policy, THIN_LIMIT};
use super::room::{self, Helper};
use super::session::{Flushed, Walk, name, refusal};
use super::transcript::{Transcript, step};
use holdfast_ctl::Exit;
use holdfast_ctl::api::{Extent, ExtentState, FailureId};
use holdfast_ctl::size::{binary, counted};
use holdfast_ringbuf::client::Client;
use rustix::io::Errno;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How often two flushes are repeated until no extent was lost between them.
const PAIRS: u32 = 20;

/// How long a loss may take that has to come: the class' floor is a second.
const LOSS_PATIENCE: Duration = Duration::from_secs(10);

/// One volume's play.
pub(super) struct Timeline<'a> {
    pub(super) volume: &'a Planned,
    pub(super) place: &'a Place,
    pub(super) operator: &'a Operator,
    pub(super) client: Client,
    pub(super) transcript: &'a mut Transcript,
    pub(super) expected: Expected,
    pub(super) salt: u64,
}

impl<'a> Timeline<'a> {
    /// Opens the volume: its playground is as it was found.
    ///
    /// # Errors
    /// If there is no session, or the volume cannot be read.
    pub(super) fn new(
        volume: &'a Planned,
        place: &'a Place,
        operator: &'a Operator,
        transcript: &'a mut Transcript,
        salt: u64,
    ) -> Result<Timeline<'a>, Error> {
        let client = connect(place, volume.name())?;
        let mut image = vec![0; usize::try_from(PLAYGROUND).expect("the playground is small")];
        let read = client.read_at(&mut image, 0);
        read.map_err(|source| Error::Volume { volume: volume.name().to_owned(), source })?;
        let expected = Expected::of(image, !volume.is_thin());
        Ok(Timeline { volume, place, operator, client, transcript, expected, salt })
    }

    /// Plays it.
    ///
    /// # Errors
    /// If the daemon goes away, or what is not the subject goes wrong.
    pub(super) fn play(mut self, helper: &Helper) -> Result<Played, Error> {
        self.transcript.heading(self.volume.name(), self.volume.policy.meaning());
        self.before()?;
        self.write_b()?;
        let id = self.first_flush()?;
        self.explain(id, "t3", B)?;
        if self.volume.policy == Policy::EvictImmediately {
            self.wait_for_loss()?;
        } else {
            self.new_session(id)?;
        }
        let crowd = crowd::press(&mut self)?;
        self.read_back(&crowd)?;
        self.look_beneath()?;
        self.flush_again()?;
        room::make(&mut self, helper)?;
        let lost = self.last_flush()?;
        self.status("t8", Exit::Ok, "HEALTHY")?;
        Ok(Played { volume: self.volume.clone(), expected: self.expected, lost })
    }

    pub(super) fn ink(&self, letter: u8) -> Ink {
        Ink { letter, salt: self.salt }
    }

    pub(super) fn lost(&self) -> Result<Vec<Extent>, Error> {
        self.operator.extents(self.volume.name(), ExtentState::Lost)
    }

    pub(super) fn flushed(&self) -> Result<Flushed, Error> {
        Flushed::of(&self.client, self.volume.name())
    }

    /// Writes, and takes note of what the volume may hold from now on.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Option<Errno>, Error> {
        let refused = refusal(self.client.write_at(bytes, offset), self.volume.name())?;
        match refused {
            None => self.expected.acknowledged(offset, bytes),
            Some(_) => self.expected.was_refused(offset, bytes),
        }
        Ok(refused.map(|(errno, _)| errno))
    }

    /// t0: A is on the disk. On a disk that is full already, A is what is there.
    fn before(&mut self) -> Result<(), Error> {
        if !self.volume.is_thin() {
            let what = step("t0", "", "A is what the disk holds now");
            self.transcript.check(what, "it can be read", "it was read", true);
            return Ok(());
        }
        for offset in lines(B) {
            let bytes = self.ink(b'A').bytes(offset, A_BYTES);
            self.write(offset, &bytes)?;
        }
        let flushed = self.flushed()?;
        let what = step("t0", "C1", "write A, flush");
        self.transcript.check(what, "success", &flushed.to_string(), flushed == Flushed::Stable);
        Ok(())
    }

    fn write_b(&mut self) -> Result<(), Error> {
        let bytes = self.ink(b'B').bytes(B.start, B.end - B.start);
        let refused = self.write(B.start, &bytes)?;
        let seen = refused.map_or("acknowledged".to_owned(), name);
        let what = step("t1", "", "write B over A, longer, to both reactors");
        self.transcript.check(what, "acknowledged", &seen, refused.is_none());
        if let Some(thin) = self.operator.volume(self.volume.name())?.thin {
            let left = thin.limit_bytes.saturating_sub(thin.allocated_bytes);
            let room = THIN_LIMIT - A_BYTES * (B.end - B.start) / LINE;
            let what = step("t2", "", "the disk has less room than B needs");
            let (expected, seen) = (format!("{} left", binary(room)), format!("{} left", binary(left)));
            self.transcript.check(what, &expected, &seen, left == room);
        }
        Ok(())
    }

    /// t3: the flush that everything else in this world gets wrong.
    fn first_flush(&mut self) -> Result<FailureId, Error> {
        let flushed = self.flushed()?;
        let (expected, holds) = self.failing(flushed, &[]);
        let what = step("t3", "C1 C3", "flush");
        self.transcript.check(what, &expected, &flushed.to_string(), holds);
        match flushed {
            Flushed::Failed { id: Some(id), .. } => Ok(id),
            _ if self.volume.is_thin() => Ok(FailureId(0)),
            _ => Err(Error::Backing {
                path: self.volume.path.clone(),
                why: "it took all of B, so its disk is not full, or the file has all its blocks already; fill the file \
                      system up and give a sparse file on it (`truncate -s 64M FILE`)"
                    .to_owned(),
            }),
        }
    }

    /// What a flush must answer while `lost` is lost, and whether it did.
    fn failing(&self, flushed: Flushed, lost: &[Extent]) -> (String, bool) {
        let errnos: &[Errno] = match (lost.is_empty(), self.volume.is_thin()) {
            (true, true) => &[Errno::NOSPC],
            // A loop device over a full file system says EIO for what did not fit as a whole.
            (true, false) => &[Errno::NOSPC, Errno::IO],
            (false, _) => &[Errno::IO],
        };
        let names: Vec<String> = errnos.iter().copied().map(name).collect();
        let holds = flushed.id().is_some() && flushed.errno().is_some_and(|errno| errnos.contains(&errno));
        (format!("{}, with an id", names.join(" or ")), holds)
    }

    /// `explain ID`: the ranges that are not stable, and why.
    fn explain(&mut self, id: FailureId, when: &'static str, within: Range<u64>) -> Result<(), Error> {
        let told = self.operator.explain(id)?;
        let inside = |extent: &Extent| {
            within.start <= extent.offset && extent.offset + extent.length <= within.end && extent.length > 0
        };
        let refusal = told.extents.iter().find_map(|extent| extent.refusal.as_ref());
        let errno = refusal.map_or("nothing", |refusal| refusal.errno.name.as_str());
        let right_errno = errno == "ENOSPC" || (!self.volume.is_thin() && errno == "EIO");
        let holds =
            told.unresolved && right_errno && !told.extents.is_empty() && told.extents.iter().all(inside);
        let bytes = binary(total(&told.extents));
        let seen = format!("{bytes} in {}, {errno}", counted(told.extents.len() as u64, "range"));
        self.transcript.check(
            step(when, "C3 C9", "holdfastctl explain ID"),
            "ranges of B, why refused",
            &seen,
            holds,
        );
        Ok(())
    }

    fn new_session(&mut self, id: FailureId) -> Result<(), Error> {
        let session = connect(self.place, self.volume.name())?;
        let flushed = Flushed::of(&session, self.volume.name())?;
        let same = flushed.id() == Some(id);
        let what = step("t3", "C3 C4", "a new session flushes");
        self.transcript.check(what, &format!("the same, id {id}"), &flushed.to_string(), same);
        Ok(())
    }

    fn wait_for_loss(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        let mut lost = self.lost()?;
        while lost.is_empty() && begun.elapsed() < LOSS_PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
            lost = self.lost()?;
        }
        let seen = format!("{} lost after {} ms", binary(total(&lost)), begun.elapsed().as_millis());
        let what = step("t3", "C8 C9", "refused again, a second later");
        self.transcript.check(what, "given up, listed as lost", &seen, !lost.is_empty());
        Ok(())
    }

    fn read_back(&mut self, crowd: &[u64]) -> Result<(), Error> {
        let (client, volume) = (&self.client, self.volume.name());
        let walk = |lines: &[u64]| Walk::over(client, volume, lines, &self.expected, || self.lost());
        let (b, crowd) = (walk(&lines(B).collect::<Vec<_>>())?, walk(crowd)?);
        let may_lose = self.volume.policy != Policy::HoldForever;
        let or_lost = if may_lose { ", or EIO where lost" } else { "" };
        for (what, expected, walk) in [
            (step("t5", "C5", "read B"), format!("B{or_lost}; never A"), b),
            (step("t5", "C5", "read what was written after it"), format!("the newest{or_lost}"), crowd),
        ] {
            self.transcript.check(
                what,
                &expected,
                &walk.to_string(),
                walk.holds() && (may_lose || walk.lost == 0),
            );
        }
        Ok(())
    }

    /// What a cache that forgets would have answered.
    fn look_beneath(&mut self) -> Result<(), Error> {
        let disk = image(self.volume)?;
        let older = self.expected.older_lines(&disk, B);
        let seen = format!("A in {older} of {} lines", (B.end - B.start) / LINE);
        let what = step("t5", "", "the disk itself, read past the daemon");
        self.transcript.check(what, "A, where B was refused", &seen, older > 0);
        Ok(())
    }

    /// t6: the old session and a new one flush again.
    fn flush_again(&mut self) -> Result<(), Error> {
        let session = connect(self.place, self.volume.name())?;
        let (mut old, mut new) = (self.flushed()?, Flushed::Stable);
        for _ in 0..PAIRS {
            new = Flushed::of(&session, self.volume.name())?;
            let again = self.flushed()?;
            // Where more is given up by the second, another failure has another id: compare two that frame the third.
            if std::mem::replace(&mut old, again) == again {
                break;
            }
        }
        let lost = self.lost()?;
        let (expected, holds) = self.failing(old, &lost);
        self.transcript.check(step("t6", "C2 C3", "flush again"), &expected, &old.to_string(), holds);
        let what = step("t6", "C2 C3", "a new session flushes");
        self.transcript.check(what, "the same error, the same id", &new.to_string(), new == old);
        match lost.is_empty() {
            true => self.status("t6", Exit::Incomplete, "DEGRADED"),
            false => self.status("t6", Exit::Faulted, "FAULTED"),
        }
    }

    fn status(&mut self, when: &'static str, exit: Exit, word: &str) -> Result<(), Error> {
        let health = self.operator.volume(self.volume.name())?.health.to_string();
        let what = step(when, "C9", "holdfastctl volumes");
        self.transcript.check(what, word, &health, health == word);
        let (seen, _) = self.operator.run(&["status"]);
        let what = step(when, "C9", "holdfastctl status");
        let codes = (format!("exit {}", exit.code()), format!("exit {}", seen.code()));
        self.transcript.check(what, &codes.0, &codes.1, seen == exit);
        Ok(())
    }

    /// t8: success, unless something is lost: then not before somebody has accepted that.
    fn last_flush(&mut self) -> Result<Vec<Extent>, Error> {
        let lost = self.lost()?;
        if !lost.is_empty() {
            let flushed = self.flushed()?;
            let (expected, holds) = self.failing(flushed, &lost);
            self.transcript.check(step("t8", "C2", "flush"), &expected, &flushed.to_string(), holds);
            if let Some(id) = flushed.id() {
                // The other reactor may still have been writing what the retry has freed: that was not stable, either.
                let told = self.operator.explain(id)?.extents;
                let told: Vec<Extent> =
                    told.into_iter().filter(|told| told.state == ExtentState::Lost).collect();
                let all = lost.iter().all(|lost| covers(&told, lost.offset));
                let seen =
                    format!("{} lost, in {}", binary(total(&told)), counted(told.len() as u64, "range"));
                let what = step("t8", "C9", "holdfastctl explain ID");
                let expected = format!("what is lost: {}", binary(total(&lost)));
                self.transcript.check(what, &expected, &seen, all && total(&told) == total(&lost));
            }
            let (exit, said) = self.operator.run(&["ack-loss", self.volume.name(), "--yes"]);
            let what = step("t8", "C2", "holdfastctl ack-loss");
            self.transcript.check(
                what,
                "exit 0, the loss acknowledged",
                &room::outcome(exit, &said),
                exit == Exit::Ok,
            );
        }
        let flushed = self.flushed()?;
        let what = step("t8", "C1", "flush");
        self.transcript.check(what, "success", &flushed.to_string(), flushed == Flushed::Stable);
        Ok(lost)
    }
}

/// A session with a volume.
///
/// # Errors
/// If the daemon refuses.
pub(super) fn connect(place: &Place, volume: &str) -> Result<Client, Error> {
    let connected = Client::connect(place.socket(), volume, child::options());
    connected.map_err(|source| Error::Connect { volume: volume.to_owned(), source })
}
