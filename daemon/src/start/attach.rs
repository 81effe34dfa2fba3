//! A volume that comes while the daemon runs: its device is opened, the ledger and the arena know it, every reactor has it;
//! only then is anybody told.

use super::hub::Hub;
use super::reactors::{lost_again, setup, share, sheet};
use super::table::{DeviceHold, Served, Table};
use super::volumes::{self, Volume};
use super::{Records, arena_volume, origins};
use crate::admin::BackendError;
use crate::config::{Settings, VolumeSettings};
use crate::device::DomainKey;
use crate::ledger::OpenMark;
use crate::reactor::{Mail, Plug};
use holdfast_engine::{Answer, ByteRange, Command, Event, LooseVolume, Token, VolumeId, VolumeSetup};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How long reactors that turn may take for what takes them one turn.
pub(super) const TURNS: Duration = Duration::from_secs(5);
/// Lines of a record that an engine takes in at a time: it does other things in between.
const LINES_A_LETTER: u64 = 1024;
/// Letters that are sent to a reactor without a pause.
const LETTERS_AT_A_TIME: usize = 16;

pub(super) fn refused(what: String, remedy: &str) -> BackendError {
    BackendError::Refused { what, remedy: format!("Nothing was changed. {remedy}") }
}

/// What no state of the daemon would make right.
pub(super) fn senseless(what: String, remedy: &str) -> BackendError {
    BackendError::Senseless { what, remedy: format!("Nothing was changed. {remedy}") }
}

impl Hub {
    /// Brings a volume in, beside those of `table`, to which it is added. Nobody is let in yet. The devices of volumes that
    /// share a flush domain with it are added to `holds`, until the table is everybody's.
    pub(super) fn bring_in(
        &self,
        volume: &VolumeSettings,
        after: &Settings,
        table: &mut Table,
        holds: &mut Vec<DeviceHold>,
    ) -> Result<Arc<Served>, BackendError> {
        let places = self.arena.volumes.places();
        let id = table.vacancy(places).ok_or_else(|| {
            let what = format!("The arena has places for {places} volumes, and all are taken.");
            refused(what, "Remove a volume, or put it into the configuration and start the daemon again.")
        })?;
        let volume = self.open(volume, after, id, table)?;
        join(&volume, table, holds)?;
        let records = self.enroll(&volume)?;
        if let Some(warning) = origins::mark(&volume.settings, volume.backing(), after) {
            tracing::warn!("{warning}");
        }
        // Before any header can have its number.
        self.arena.volumes.put(id.0, Some(&arena_volume(&volume)));
        let served = self.plug(&volume, after).inspect_err(|_| {
            self.strike_off(id);
            if let Some(backing) = volume.backing() {
                origins::clear_from(&volume.settings, backing);
            }
            let mut known = Table::clone(&self.table());
            known.spoil(id);
            self.put_table(known);
        })?;
        self.restore(id, &volume, &records);
        table.put(Arc::clone(&served));
        Ok(served)
    }

    fn open(
        &self,
        volume: &VolumeSettings,
        after: &Settings,
        id: VolumeId,
        table: &Table,
    ) -> Result<Volume, BackendError> {
        let place = |key| self.domain_of(key, table);
        let cannot = |error| refused(format!("It cannot be opened: {error}."), "Mend that, and do it again.");
        // A device that was just let go keeps its lock for a moment: the opening waits for that.
        let volume = volumes::open_one(after, volume, id, place).map_err(cannot)?;
        origins::check(&volume.settings, volume.backing(), after).map_err(cannot)?;
        Ok(volume)
    }

    /// The number of a flush domain: its own, that of one which no volume is in any more, or the next.
    fn domain_of(&self, key: DomainKey, table: &Table) -> usize {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = |at: &usize| table.iter().any(|served| usize::from(served.domain.0) == *at);
        let found = domains.iter().position(|known| *known == key);
        let found = found.or_else(|| (0..domains.len()).find(|at| !in_use(at)));
        match found {
            Some(at) => domains[at] = key,
            None => domains.push(key),
        }
        found.unwrap_or(domains.len() - 1)
    }

    /// Makes the volume known to the ledger. What was held of it in an earlier boot becomes lost before anybody can read (C11).
    fn enroll(&self, volume: &Volume) -> Result<Records, BackendError> {
        let (id, name) = (volume.id, &volume.settings.name);
        let mut ledger = self.book.ledger();
        ledger.register_volume(id, name, &volume.device.identity, volume.device.bytes).map_err(|error| {
            refused(format!("The ledger says no: {error}."), "See 'holdfastctl runbook'.")
        })?;
        let (boot, arena) = (self.arena.boot, u128::from(self.arena.id));
        let mark = ledger.open_mark(id);
        if mark.is_some_and(|mark| mark.boot == boot && mark.arena != arena) {
            ledger.forget(id);
            let what = format!("Volume '{name}' has data in the arena of another daemon of this boot.");
            return Err(refused(
                what,
                "Start that daemon again, and stop it with SIGTERM; then add the volume.",
            ));
        }
        let held = !ledger.not_stable(id).is_empty();
        if held {
            // It is in no memory: this arena does not have the volume, and the boot of the other is over.
            ledger.turn_into_lost(self.book.now(), id);
        }
        ledger.mark_open(id, OpenMark { boot, arena });
        let records = Records { lost: ledger.lost(id), not_stable: ledger.not_stable(id) };
        drop(ledger);
        if let Some(stuck) = self.book.commit(&self.links).filter(|_| held) {
            self.book.ledger().forget(id);
            let what = format!(
                "What was held of '{name}' is lost, and the ledger cannot record it: {}.",
                stuck.text
            );
            return Err(refused(what, "Give the ledger's file system room, and do it again."));
        }
        Ok(records)
    }

    /// Takes back what [`Hub::enroll`] and the arena's table say of a volume that does not come.
    pub(super) fn strike_off(&self, id: VolumeId) {
        self.arena.volumes.put(id.0, None);
        let mut ledger = self.book.ledger();
        ledger.mark_drained(id);
        ledger.forget(id);
        drop(ledger);
        // If it is not durable, a mark stands of a volume that has no data: harmless, and the next commit takes it off.
        let _ = self.book.commit(&self.links);
    }

    fn plug(&self, volume: &Volume, after: &Settings) -> Result<Arc<Served>, BackendError> {
        let share = share(after);
        let setups: Result<Vec<VolumeSetup<'static>>, _> =
            (0..after.daemon.reactors).map(|reactor| setup(volume, after, reactor, share)).collect();
        let setups = setups.map_err(|error| refused(format!("{error}."), "Free some memory."))?;
        let sheets = setups.iter().map(sheet).collect();
        let mut loose = setups.into_iter().zip(0..).map(|(setup, reactor)| {
            // The seed is for maps, of which a volume has none.
            Some(LooseVolume::new(setup, &after.limits(reactor, 0)))
        });
        let answers = self.ask_each(volume.id, |token, _| {
            let plug = Plug {
                token,
                volume: loose.next().flatten().expect("one for each reactor"),
                backing: Arc::clone(volume.backing().expect("an operator's volume is open")),
                faults: volume.faults.clone(),
            };
            Mail::Plug(Box::new(plug))
        });
        let answers = self.collect(answers, Instant::now() + TURNS);
        if answers.is_some_and(|answers| answers.iter().all(|answer| *answer == Answer::Done)) {
            return Ok(Arc::new(Served::new(volume, sheets)));
        }
        // Those that took it keep it, in a place that is given to nobody: a ring that takes no file is about to fail altogether.
        let what = format!("A reactor does not take volume '{}'.", volume.settings.name);
        Err(refused(what, "See 'holdfastctl status' for a reactor that does not turn."))
    }

    /// Tells the engines what is on record, in small pieces, and that the device may be used.
    fn restore(&self, id: VolumeId, volume: &Volume, records: &Records) {
        let line = u64::from(self.settings.arena.line_bytes);
        let losses: Vec<Command> = lost_again(records, self.clock).collect();
        for link in self.links.iter() {
            let mut sent = 0;
            for command in
                losses.iter().flat_map(|loss| pieces(loss, line * LINES_A_LETTER, volume.device.bytes))
            {
                self.post(link, Mail::Event(Event::Operator { token: Token(0), volume: id, command }));
                sent += 1;
                if sent % LETTERS_AT_A_TIME == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            self.post(link, Mail::Event(Event::Settled { volume: id }));
        }
    }
}

/// Keeps the devices of the volumes in its flush domain as they are: one that is exchanged must be alone in its domain.
fn join(volume: &Volume, table: &Table, holds: &mut Vec<DeviceHold>) -> Result<(), BackendError> {
    for mate in table.iter().filter(|mate| mate.domain == volume.domain) {
        if !holds.iter().any(|hold| hold.is_of(mate)) {
            holds.push(mate.change_device()?);
        }
        if mate.backing().is_none() {
            let what = format!("Volume '{}', whose device is let go of, is on the same disk.", mate.name());
            return Err(refused(what, "Open that again first ('holdfastctl volume reopen')."));
        }
    }
    Ok(())
}

/// A loss in pieces of so many bytes at most.
fn pieces(loss: &Command, bytes: u64, volume_bytes: u64) -> impl Iterator<Item = Command> {
    let Command::RestoreLoss { range, class, errno, first, generation } = *loss else {
        unreachable!("only losses are restored in pieces")
    };
    let end = range.end().min(volume_bytes);
    let starts = std::iter::successors(Some(range.offset), move |at| Some((at / bytes + 1) * bytes));
    starts.take_while(move |at| *at < end).map(move |offset| {
        let length = ((offset / bytes + 1) * bytes).min(end) - offset;
        Command::RestoreLoss { range: ByteRange { offset, length }, class, errno, first, generation }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_engine::Instant;

    #[test]
    fn a_long_loss_is_told_piece_by_piece() {
        let loss = Command::RestoreLoss {
            range: ByteRange { offset: 1536, length: 8192 },
            class: 3,
            errno: 5,
            first: Instant(7),
            generation: 9,
        };
        let ranges: Vec<(u64, u64)> = pieces(&loss, 4096, 9000)
            .map(|piece| match piece {
                Command::RestoreLoss { range, generation: 9, .. } => (range.offset, range.length),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ranges, [(1536, 2560), (4096, 4096), (8192, 808)]);
    }
}
