//! A turn of a reactor: what it is told, and what it wants done, in the documented order.

use crate::Note;
use crate::happening::Happening;
use crate::ledger::Entry;
use crate::shell::{Shell, content, name, name32};
use crate::violation::{Clause, demand};
use holdfast_engine::{
    Actions, Command, Event, Instant, Io, IoKind, LedgerEntry, LedgerSeq, PeerMessage, VolumeId,
};
use holdfast_policy::{ErrorClass, Policy};

impl Shell<'_> {
    pub(crate) fn turn(&mut self, number: usize) {
        let given_up = self.given_up(number);
        self.think(number);
        let mut actions = std::mem::take(&mut self.reactors[number].actions);
        self.reactors[number].check_capacities(&actions);
        self.perform(number, &actions);
        actions.clear();
        let reactor = &mut self.reactors[number];
        reactor.actions = actions;
        let released = reactor.observe(self.plan, &self.disks, &self.civil, &mut self.coverage);
        self.check_given_up(number, &given_up, &released);
        self.ledger.heard(number);
        self.check_budgets(number);
        self.check_probes(number);
    }

    /// The first half of a turn: everything that a reactor is told.
    pub(crate) fn think(&mut self, number: usize) {
        self.before_turn(number);
        let now = Instant(self.now);
        for volume in std::mem::take(&mut self.reactors[number].plugs) {
            self.plug(number, volume);
        }
        let mut reactor = &mut self.reactors[number];
        reactor.turns += 1;
        while let Some(event) = reactor.inbox.pop_front() {
            reactor.engine.apply(now, event, &mut reactor.actions);
        }
        // Drawn from what other draws do not depend on.
        let group = [0, 1, 3, 4][usize::try_from((self.plan.seed ^ reactor.turns) % 4).expect("below 4")];
        let mut taken = 0;
        while taken < reactor.limits.requests_a_turn
            && reactor.actions.has_room(&reactor.limits)
            && let Some(next) = reactor.next_request()
        {
            let request = reactor.requests.remove(next).expect("a request that was just seen");
            reactor.engine.apply(now, Event::Request(request), &mut reactor.actions);
            taken += 1;
            let ripe = group > 0 && taken.is_multiple_of(group) && reactor.actions.is_plain();
            if ripe {
                self.perform_group(number);
            }
            reactor = &mut self.reactors[number];
        }
        reactor.engine.tick(now, &mut reactor.actions);
    }

    /// Hits need not wait for the tick.
    fn perform_group(&mut self, number: usize) {
        let mut actions = std::mem::take(&mut self.reactors[number].actions);
        self.perform(number, &actions);
        if !actions.completions.is_empty() {
            self.coverage.event("turn: answered before its tick");
        }
        actions.clear();
        self.reactors[number].actions = actions;
    }

    /// The documented order: copies, commit, then ledger, peers and answers, then operations, then completions.
    fn perform(&mut self, number: usize, actions: &Actions) {
        actions.begun.iter().for_each(|begun| self.clients.begun(number, begun));
        for copy in &actions.copies {
            self.trace.line(self.now, format_args!("r{number} {copy:?}"));
            self.reactors[number].copy(copy, &mut self.clients);
        }
        self.reactors[number].engine.commit();
        self.send_ledger(number, &actions.ledger);
        actions.peers.iter().for_each(|&(to, message)| self.send_peer(number, to as usize, message));
        for (token, answer) in &actions.answers {
            self.trace.line(self.now, format_args!("r{number} answer {token:?} {answer:?}"));
            let owed = self.owed.remove(&(token.0, number));
            demand(Clause::Seam, owed.is_some(), || {
                format!("reactor {number} answers {token:?} again: {answer:?}")
            });
            if let Some((volume, command)) = owed {
                self.check_listed(number, volume, &command, answer);
            }
            self.answers.insert((token.0, number), answer.clone());
        }
        for &io in &actions.ios {
            self.submit(number, io, actions);
        }
        actions.completions.iter().for_each(|completion| self.answered(number, completion));
    }

    pub(crate) fn send_ledger(&mut self, number: usize, entries: &[(LedgerSeq, LedgerEntry)]) {
        for (seq, entry) in entries {
            self.trace.line(self.now, format_args!("r{number} ledger {seq:?} {entry:?}"));
            let ours = Entry::of(entry);
            let expected = self.ledger.take(number, ours);
            demand(Clause::Seam, seq.0 == expected, || {
                format!("entry {seq:?} should have number {expected}")
            });
            self.trace.mix(&[seq.0]);
            if let Entry::Noted(noted) = ours {
                self.check_loss(number, entry);
                self.count_yielded(number, entry);
                self.coverage.event(noted.note.name());
                let content = content(&self.disks, self.plan, noted.volume);
                self.model.noted(noted.volume, noted.note, noted.range, false, &content);
            }
        }
        if let Some((up_to, _)) = entries.last() {
            let time = self.ledger.durable_at(self.now, number);
            self.queue.push(time, Happening::Durable { reactor: number, up_to: up_to.0 });
        }
    }

    /// C4: what the policy holds for ever is given up by nobody but an operator; any policy that the reactor had in this turn
    /// may have judged.
    fn check_loss(&self, number: usize, entry: &LedgerEntry) {
        let LedgerEntry::Lost { volume, extent, .. } = entry else { return };
        let mut judges = ErrorClass::from_u8(extent.class)
            .into_iter()
            .flat_map(|class| self.rules.judges(number, volume.0, class));
        let class = ErrorClass::from_u8(extent.class);
        let held = judges.all(|rule| matches!(rule.policy, Policy::HoldForever(_)));
        let asked = self.dropped[usize::from(volume.0)];
        let tried = class.is_some() || self.abandoned[usize::from(volume.0)];
        demand(Clause::C4, tried, || format!("{extent:?} was given up and never refused"));
        demand(Clause::C4, asked || !held, || {
            format!("{extent:?} of {volume:?} was given up, its policy holds it for ever")
        });
    }

    fn send_peer(&mut self, from: usize, to: usize, message: PeerMessage) {
        let event = match message {
            PeerMessage::FlushWanted { domain, number } => {
                Event::FlushWanted { domain, from: name32(from), number }
            }
            PeerMessage::Flushed { domain, number, errno, verifier } => {
                Event::Flushed { domain, number, errno, verifier }
            }
            PeerMessage::DeviceChanged { domain } => Event::DeviceChanged { domain },
        };
        self.trace.line(self.now, format_args!("r{from} -> r{to} {message:?}"));
        let most = self.random.pick(&[1_000, 50_000, 50_000, 5_000_000]);
        let last = self.peers.entry((from, to)).or_default();
        *last = (*last).max(self.now + self.random.between(500, most));
        self.queue.push(*last, Happening::Arrives { reactor: to, event: Box::new(event) });
    }

    pub(crate) fn submit(&mut self, number: usize, io: Io, actions: &Actions) {
        self.trace.line(self.now, format_args!("r{number} begin {io:?}"));
        self.trace.mix(&[u64::from(io.op.0), io.kind as u64, io.offset, io.length]);
        let volume = &self.plan.volumes[usize::from(io.volume.0)];
        let domain = usize::from(volume.domain);
        if io.kind == IoKind::Flush {
            let owner = self.places.domain(volume.domain).map(|id| usize::from(id) % self.reactors.len());
            let (alone, owner) = (!self.flushing[domain], owner == Some(number));
            demand(Clause::Seam, alone && owner, || {
                format!("{io:?} of reactor {number}: alone {alone}, owner {owner}")
            });
            self.flushing[domain] = true;
        }
        self.check_patience(number, io, actions);
        self.probes.begun(io);
        let operation = self.reactors[number].submit(io, &actions.segments, volume);
        let key = self.key(number, io.op.0);
        let ends = self.disks[domain].submit(self.now, key, operation, &mut self.coverage);
        self.queue.push(ends, Happening::Ends { reactor: number, op: io.op.0 });
    }

    /// Lines of each volume that a reactor has given up in its life.
    fn given_up(&self, number: usize) -> Vec<u64> {
        let volumes = (0..self.plan.volumes.len()).map(|volume| VolumeId(name(volume)));
        volumes.map(|volume| self.reactors[number].engine.stats(volume).given_up).collect()
    }

    /// M8: what was given up in a turn is on record, durably, and was before that turn.
    fn check_given_up(&mut self, number: usize, before: &[u64], released: &[(u16, u64)]) {
        for (at, (now, before)) in self.given_up(number).into_iter().zip(before).enumerate() {
            // A volume that has gone counts from nothing.
            if now <= *before {
                continue;
            }
            let (volume, line_sectors) = (name(at), u64::from(self.plan.line_bytes) / 512);
            let geometry = self.plan.volumes[at].geometry_of(name32(number));
            let ours = released.iter().filter(|(of, _)| *of == volume);
            let first = ours.map(|(_, line)| geometry.offset_of(*line) / 512);
            let first: Vec<u64> = first.collect();
            let recorded =
                first.iter().filter(|&&first| self.model.on_record(volume, first, first + line_sectors));
            let recorded = recorded.count() as u64;
            demand(Clause::M8, now - before <= recorded, || {
                format!(
                    "{} lines of volume {volume} are given up, of {first:?} {recorded} are on record",
                    now - before
                )
            });
        }
    }

    /// C8: bad blocks are tried again after their floor; what goes on under an old name was judged when that began.
    fn check_patience(&self, number: usize, io: Io, actions: &Actions) {
        let retry = |command: &Command| matches!(command, Command::Retry { .. } | Command::Drain);
        let retrying = self.owed().any(|(&(_, reactor), command)| reactor == number && retry(command));
        if io.kind != IoKind::Write || retrying || self.probes.goes_on(io.op.0) {
            return;
        }
        let line = io.offset / u64::from(self.plan.line_bytes);
        let first = io.first_segment as usize;
        let segments = &actions.segments[first..first + io.segments as usize];
        for (line, segment) in (line..).zip(segments) {
            let status = self.reactors[number].header(segment.slot).status();
            if status.attempts > 0 && status.class == ErrorClass::Medium as u8 {
                self.civil.tried(self.now, io.volume.0, line, self.rules.floor_ns(io.volume.0));
            }
        }
    }

    /// C6: what is not clean on all reactors together is within the budget, and so is what they have taken of it; on each
    /// it is within its room.
    fn check_budgets(&mut self, number: usize) {
        for (volume, plan) in self.plan.volumes.iter().enumerate() {
            let id = VolumeId(name(volume));
            let held = self.reactors.iter().map(|reactor| reactor.engine.stats(id).not_clean);
            let held: Vec<u64> = held.collect();
            let (all, here, taken) = (held.iter().sum::<u64>(), held[number], self.shares[volume].taken());
            demand(Clause::C6, all <= taken && taken <= plan.budget_slots, || {
                let budget = plan.budget_slots;
                format!("volume {volume} has {held:?} slots; taken are {taken} of a budget of {budget}")
            });
            let room = self.plan.room_slots(volume);
            demand(Clause::C6, here <= room, || {
                format!("volume {volume} has {here} slots of reactor {number}, of {room}")
            });
            if here * self.reactors.len() as u64 > plan.budget_slots {
                self.coverage.event("budget: more than an even share");
            }
        }
    }

    /// Counts when a failure is given up for a request that waits on another reactor.
    fn count_yielded(&mut self, number: usize, entry: &LedgerEntry) {
        let LedgerEntry::Lost { volume, .. } = entry else { return };
        let waits = |at: usize| self.reactors[at].engine.stats(*volume).stalled_writes > 0;
        let elsewhere = (0..self.reactors.len()).any(|at| at != number && waits(at));
        if elsewhere && !waits(number) && !self.dropped[usize::from(volume.0)] {
            self.coverage.event("budget: given up for another reactor");
        }
    }
}

impl Note {
    const fn name(self) -> &'static str {
        match self {
            Note::NotStable => "ledger: not stable",
            Note::Healed => "ledger: healed",
            Note::Lost(_) => "ledger: lost",
            Note::Rescinded(_) => "ledger: rescinded",
            Note::LossHealed => "ledger: loss healed",
            Note::Acknowledged => "ledger: loss acknowledged",
        }
    }
}
