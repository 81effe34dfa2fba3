//! A reactor that dies and is started again over what it left.

use crate::shell::{DEAD, Plan, Shell};
use holdfast_engine::*;
use std::sync::atomic::AtomicU64;

/// A reactor in its second life: it notes what a third one has to know.
pub(crate) fn reborn(plan: Plan) -> Shell {
    let mut shell = Shell::new(plan);
    shell.restart();
    // Until a device flush the lines that it reads are not cached.
    assert_eq!(shell.flushed(), 0);
    shell
}

/// An engine over headers and notes, with the volumes of a plan.
fn resume(
    plan: &Plan,
    headers: &'static [Header],
    notes: &'static [AtomicU64],
    shares: &[&'static Share],
    now: Instant,
) -> Engine<'static> {
    let mut engine = Engine::resume(plan.limits, headers, Notes::over(notes), now);
    plan.add_volumes(&mut engine, shares);
    engine
}

impl Shell {
    /// Dies between two turns.
    pub(crate) fn die(&mut self) {
        self.events.clear();
        self.out.clear();
        // What the ledger does not have durably, it never heard of.
        let ledger = std::mem::take(&mut self.ledger);
        (self.ledger.not_stable, self.ledger.lost) = (ledger.not_stable, ledger.lost);
        for disk in &self.disks {
            disk.borrow_mut().in_flight.iter_mut().for_each(|io| io.reactor = DEAD);
        }
        self.shares.iter().for_each(|share| share.forget());
    }

    /// Dies in the middle of a turn, after so many changes of its commit.
    pub(crate) fn die_in_commit(&mut self, changes: usize) {
        self.work();
        let out = std::mem::take(&mut self.out);
        self.note_and_copy(&out);
        self.engine.commit_first(changes);
        self.out = out;
        self.die();
    }

    /// Starts again, as the daemon does, with headers as `damage` leaves them. Operations of the dead are still under way
    /// until [`Shell::settle_volumes`].
    pub(crate) fn start_again_over(
        &mut self,
        damage: impl FnOnce(&mut [[u64; 4]]),
    ) -> Result<Rebuilt, Misfit> {
        let mut words: Vec<[u64; 4]> = self.headers.iter().map(Header::words).collect();
        damage(&mut words);
        let headers = words.into_iter().map(|words| Header::from_words(words.map(AtomicU64::new)));
        self.headers = Box::leak(headers.collect::<Vec<Header>>().into_boxed_slice());
        let now = Instant(self.now_ms * 1_000_000);
        self.engine = resume(&self.plan, self.headers, self.notes, &self.shares, now);
        let lost: Vec<(u64, u64)> =
            self.ledger.lost.iter().map(|(&sector, &generation)| (sector, generation)).collect();
        for (sector, generation) in lost {
            let range = ByteRange { offset: sector * 512, length: 512 };
            self.tell(Command::RestoreLoss { range, class: 2, errno: 5, first: now, generation });
        }
        let rebuilt = self.engine.rebuild(now, &mut self.out)?;
        self.ledger.entries.append(&mut self.out.ledger);
        let reported: Vec<u64> = self.ledger.not_stable.iter().copied().collect();
        for sector in reported {
            let range = ByteRange { offset: sector * 512, length: 512 };
            self.tell(Command::RestoreReport { range, first: now });
        }
        Ok(rebuilt)
    }

    pub(crate) fn start_again(&mut self) -> Rebuilt {
        self.start_again_over(|_| {}).expect("what an engine left")
    }

    /// Dies, starts again and finds the locks free.
    pub(crate) fn restart(&mut self) -> Rebuilt {
        self.die();
        let rebuilt = self.start_again();
        self.settle_volumes();
        rebuilt
    }

    /// No operation of the dead is under way any more.
    pub(crate) fn settle_volumes(&mut self) {
        for volume in 0..self.plan.volumes {
            self.events.push_back(Event::Settled { volume: VolumeId(volume) });
        }
    }

    fn tell(&mut self, command: Command) {
        let event = Event::Operator { token: Token(0), volume: VolumeId(0), command };
        self.engine.apply(Instant(self.now_ms * 1_000_000), event, &mut self.out);
        self.out.answers.clear();
    }

    /// A client sends again what was not answered, with the record that it has of it.
    pub(crate) fn send_again(&mut self, tag: u32) {
        let replay = self.begun.get(&tag).copied().unwrap_or(0);
        self.events.push_back(Event::Request(Request { replay, ..self.requests[&tag] }));
    }

    /// The slots that say this.
    pub(crate) fn slots_in(&self, wanted: holdfast_policy::State) -> Vec<usize> {
        (0..self.headers.len()).filter(|&slot| self.headers[slot].state() == wanted).collect()
    }
}
