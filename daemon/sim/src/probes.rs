//! What a closed gate lets through (M12): one probe in a backoff window, whoever asks, but for an operator's retry.

use crate::shell::{Shell, name};
use crate::violation::{Clause, demand};
use holdfast_engine::{Command, Event, Io, IoKind, VolumeId};
use holdfast_policy::{ErrorClass, class_of_errno};
use std::collections::{BTreeMap, BTreeSet};

/// The probes that were seen.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// The gates of the reactor whose turn it is, when it began.
    gates: Vec<u8>,
    /// Operations that end in this turn: what goes out under their names goes on with them.
    ended: BTreeSet<u32>,
    /// In this turn the device has accepted something that may have opened a gate.
    accepted: bool,
    /// Writes of this turn.
    begun: Vec<Io>,
    /// When the last probe went out, by reactor and volume.
    last: BTreeMap<(usize, u16), u64>,
    /// Lines whose last refusal spoke of them alone: nothing gates them, until what the device took after it is stable.
    medium: BTreeSet<(u16, u64)>,
    /// Of these, what the device has taken since, and has not flushed.
    taken: BTreeSet<(u16, u64)>,
    /// When an operator last asked, by volume.
    asked: BTreeMap<u16, u64>,
}

impl Probes {
    /// An operator wants the failed lines of a volume tried.
    pub(crate) fn asked(&mut self, now: u64, volume: u16) {
        self.asked.insert(volume, now);
    }

    /// The daemon starts again: its gates are open, and what it knows of bad blocks it knows from what it left.
    pub(crate) fn restarted(&mut self) {
        self.last.clear();
        self.begun.clear();
    }

    /// A volume is gone, with what was known of its device.
    pub(crate) fn left(&mut self, volume: u16) {
        self.last.retain(|(_, of), _| *of != volume);
        self.medium.retain(|(of, _)| *of != volume);
        self.taken.retain(|(of, _)| *of != volume);
    }

    /// A device operation ended; a flush was for the volumes `flushed`.
    pub(crate) fn ended(&mut self, io: &Io, result: i32, line_bytes: u64, flushed: impl Fn(u16) -> bool) {
        if io.kind == IoKind::Flush && result >= 0 {
            let (stable, taken) =
                std::mem::take(&mut self.taken).into_iter().partition(|(of, _)| flushed(*of));
            self.taken = taken;
            let stable: BTreeSet<_> = stable;
            self.medium.retain(|line| !stable.contains(line));
        }
        if io.kind != IoKind::Write {
            return;
        }
        let lines = io.offset / line_bytes..=(io.offset + io.length - 1) / line_bytes;
        let alone = lines.start() == lines.end();
        let refused = u16::try_from(-result).is_ok_and(|errno| class_of_errno(errno) == ErrorClass::Medium);
        for line in lines {
            let line = (io.volume.0, line);
            if alone && result < 0 && refused {
                self.medium.insert(line);
                self.taken.remove(&line);
            } else if result > 0 {
                self.taken.extend(self.medium.get(&line));
            } else if alone {
                self.medium.remove(&line);
            }
        }
    }

    /// Whether an operation goes on with one that ended in this turn.
    pub(crate) fn goes_on(&self, op: u32) -> bool {
        self.ended.contains(&op)
    }

    /// A device operation begins.
    pub(crate) fn begun(&mut self, io: Io) {
        if io.kind == IoKind::Write {
            self.begun.push(io);
        }
    }
}

impl Shell<'_> {
    fn gates(&self, number: usize) -> Vec<u8> {
        let class = |volume| self.reactors[number].engine.stats(VolumeId(name(volume))).gate_class;
        (0..self.plan.volumes.len()).map(class).collect()
    }

    /// A reactor's turn begins.
    pub(crate) fn before_turn(&mut self, number: usize) {
        self.rules.begin(self.now, number, self.reactors[number].inbox.iter());
        self.probes.gates = self.gates(number);
        self.probes.begun.clear();
        self.probes.ended.clear();
        self.probes.accepted = false;
        for event in &self.reactors[number].inbox {
            match event {
                Event::Completed { op, result } => {
                    self.probes.ended.insert(op.0);
                    self.probes.accepted |= *result >= 0;
                }
                Event::Flushed { errno: 0, .. } => self.probes.accepted = true,
                _ => {}
            }
        }
    }

    /// It is over: what went out through its closed gates?
    pub(crate) fn check_probes(&mut self, number: usize) {
        for (at, gate) in self.gates(number).into_iter().enumerate() {
            let (volume, key) = (name(at), (number, name(at)));
            // A device flush that fails speaks of all lines, whatever its errno.
            let flushes = self.disks[usize::from(self.plan.volumes[at].domain)].harm[&volume].flushes;
            demand(Clause::M12, gate != ErrorClass::Medium as u8 || flushes > 0, || {
                format!("bad blocks of volume {volume} gate all others on reactor {number}")
            });
            // A device flush that fails with EIO closes the gate, too, but what it made fail is tried line by line, each after
            // its own backoff, as bad blocks are (seed 1852).
            let by_line = gate == ErrorClass::Medium as u8;
            if self.probes.gates[at] == 0 || gate == 0 || by_line || self.probes.accepted {
                self.probes.last.remove(&key);
                continue;
            }
            let line_bytes = u64::from(self.plan.line_bytes);
            let probes = self.probes.begun.iter().filter(|io| {
                io.volume.0 == volume
                    && !self.probes.ended.contains(&io.op.0)
                    && !self.probes.medium.contains(&(volume, io.offset / line_bytes))
            });
            let retry = |command: &Command| matches!(command, Command::Retry { .. } | Command::Drain);
            let retrying = self.owed().any(|(&(_, reactor), command)| reactor == number && retry(command));
            let floor = self.rules.floor_ns(volume);
            let mut last = self.probes.last.get(&key).copied();
            for io in probes {
                let asked = last.is_some_and(|last| self.probes.asked.get(&volume) >= Some(&last));
                let civil = last.is_none_or(|last| self.now - last >= floor);
                demand(Clause::M12, civil || asked || retrying, || {
                    format!(
                        "{io:?} passes a closed gate; the last probe went out at {last:?}, the floor is {floor} ns"
                    )
                });
                last = Some(self.now);
            }
            if let Some(last) = last {
                self.probes.last.insert(key, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_engine::OpId;

    /// A bad block is one for the next life, too: what goes out to it through a closed gate is no probe (seed 448).
    #[test]
    fn what_is_known_of_bad_blocks_outlives_a_kill() {
        let (volume, kind) = (VolumeId(0), IoKind::Write);
        let io = Io { op: OpId(1), volume, kind, offset: 8192, length: 4096, first_segment: 0, segments: 1 };
        let mut probes = Probes::default();
        let all = |_| true;
        probes.ended(&io, -5, 4096, all);
        probes.begun(io);
        probes.restarted();
        assert!(probes.medium.contains(&(0, 2)) && probes.begun.is_empty());
        probes.ended(&io, 4096, 4096, all);
        probes.ended(&Io { kind: IoKind::Flush, ..io }, 0, 4096, all);
        assert!(probes.medium.is_empty());
    }

    /// What a bad block has taken is as bad as before if the flush is refused: it is tried by its own backoff (seed 10083).
    #[test]
    fn a_bad_block_is_one_until_what_it_took_is_stable() {
        let (volume, kind) = (VolumeId(0), IoKind::Write);
        let io = Io { op: OpId(1), volume, kind, offset: 8192, length: 4096, first_segment: 0, segments: 1 };
        let flush = Io { kind: IoKind::Flush, ..io };
        let mut probes = Probes::default();
        probes.ended(&io, -5, 4096, |_| true);
        probes.ended(&io, 4096, 4096, |_| true);
        probes.ended(&flush, -28, 4096, |_| true);
        probes.ended(&flush, 0, 4096, |volume| volume == 7);
        assert!(probes.medium.contains(&(0, 2)), "its domain was not flushed");
        probes.ended(&flush, 0, 4096, |volume| volume == 0);
        assert!(probes.medium.is_empty() && probes.taken.is_empty());
        probes.ended(&io, -5, 4096, |_| true);
        probes.ended(&io, -28, 4096, |_| true);
        assert!(probes.medium.is_empty(), "the device speaks of all lines now");
    }
}
