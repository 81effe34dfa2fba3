//! A volume's budget, as one reactor has it: what it took of it, and what it knows of the other reactors.
//!
//! Admission compares with [`Allowance::limit`], a number of this reactor's own. Only when that is used up, and once a
//! turn, does a reactor look at the words that all share. Requests that wait for room in the budget get it in the order
//! of their age, on whatever reactor they wait: a younger one's reactor takes nothing and gives back what it has free.

use crate::engine::Engine;
use crate::share::{Share, Words};
use crate::{Actions, Instant};
use holdfast_mutants::mutant;
use holdfast_policy::{ErrorClass, FailurePolicy, Pressure, PressureVerdict};

/// Slots that a reactor takes at a time, beyond what it needs, so that one request in many touches shared memory.
const CHUNK_MAX: u64 = 64;
/// A reactor keeps two chunks at most. All of them together keep at most this part of a budget, for a moment.
const KEPT_PART: u64 = 16;
/// Nanoseconds after a volume's last write here that free slots are kept for the next one.
const KEEP_NS: u64 = 1_000_000;
/// Nanoseconds after which what the other reactors said is looked at again before a request is taken in: a reactor that
/// slept must not go by what held before. A busy reactor's turns are shorter.
const HEARSAY_NS: u64 = 50_000;

/// One reactor's part of a volume's budget.
#[derive(Debug)]
pub(crate) struct Allowance<'a> {
    share: &'a Share,
    reactor: u32,
    /// There is no other reactor: all of the budget is taken from the start, and nothing ever changes.
    alone: bool,
    budget: u64,
    /// Slots of this reactor that the volume may use.
    room: u64,
    /// Slots of the budget that this reactor has taken. What is not clean never exceeds it, but for overwrites between
    /// their acceptance and the commit of their turn.
    credit: u64,
    /// How many slots may be not clean for a write to be admitted without a further question.
    pub(crate) limit: u64,
    /// Slots that the other reactors have taken, as of the last look.
    elsewhere: u64,
    /// A request that has waited for longer than any here waits on another reactor.
    yields: bool,
    /// Any request waits on another reactor.
    pub(crate) short_elsewhere: bool,
    /// What the volume fails with on another reactor.
    class_elsewhere: Option<ErrorClass>,
    /// Another reactor's device operation, which may be a flush for all of them, does not end or was refused, and no line.
    unrefused_elsewhere: bool,
    /// A policy wants writes to be written through, because another reactor finds that the disk refuses.
    pub(crate) through: bool,
    /// Writes that were counted at the last look, and when that changed.
    writes: u64,
    written_at: Instant,
    /// Since when the oldest request here waits for room in the budget; as of this turn.
    short_since: u64,
    /// For how many lines its policy wants failures to be given up; as of this turn.
    wanted: u64,
    /// The oldest failure that could be given up for the oldest wish.
    oldest: u64,
    said: Words,
}

impl<'a> Allowance<'a> {
    /// The part of a reactor that has room for `room` slots of a budget. A reactor that is alone takes all of that.
    pub(crate) fn new(share: &'a Share, reactor: u32, budget: u64, room: u64) -> Allowance<'a> {
        let room = room.min(budget);
        let alone = share.reactors() == 1;
        let credit = if alone { room } else { 0 };
        share.take_all(credit);
        Allowance {
            share,
            reactor,
            alone,
            budget,
            room,
            credit,
            limit: credit,
            elsewhere: 0,
            yields: false,
            short_elsewhere: false,
            class_elsewhere: None,
            unrefused_elsewhere: false,
            through: false,
            writes: 0,
            written_at: Instant(0),
            short_since: 0,
            wanted: 0,
            oldest: 0,
            said: Words::default(),
        }
    }

    /// Slots of this reactor that the volume may use.
    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// Another budget holds from now on. What is free goes back at once, so that a smaller one is soon kept to.
    pub(crate) fn set_budget(&mut self, budget: u64, not_clean: u64) {
        self.budget = budget;
        if !self.alone {
            self.give_back(not_clean, true);
            self.limit = self.limit.min(self.credit);
        }
    }

    /// Another room holds from now on: not less than what is held. Who is alone has all of it as credit.
    pub(crate) fn set_room(&mut self, room: u64, not_clean: u64) {
        self.room = room;
        let credit = if self.alone { room } else { self.credit.min(room.max(not_clean)) };
        match credit.checked_sub(self.credit) {
            Some(more) => self.share.take_all(more),
            None => self.share.give_back(self.credit - credit),
        }
        self.credit = credit;
        self.limit = if self.alone { credit } else { self.limit.min(credit) };
    }

    /// The volume is gone from here: all goes back, and nothing is said.
    pub(crate) fn leave(&mut self) {
        self.share.give_back(self.credit);
        (self.credit, self.limit, self.room) = (0, 0, 0);
        if self.said != Words::default() {
            self.said = Words::default();
            self.share.say(self.reactor, self.said);
        }
    }

    /// What is not clean on all reactors, of which `here` is this one's.
    pub(crate) fn total(&self, here: u64) -> u64 {
        self.elsewhere + here
    }

    /// Whether it holds slots of the budget or words that a later tick is to take back.
    pub(crate) fn is_engaged(&self) -> bool {
        !self.alone && (self.credit > 0 || self.said != Words::default())
    }

    /// Takes more of the budget, so that `not_clean` slots may be not clean. Whether it could.
    fn grow(&mut self, not_clean: u64) -> bool {
        if self.alone || self.yields || not_clean > self.room {
            return false;
        }
        if let Some(least) = not_clean.checked_sub(self.credit).filter(|&least| least > 0) {
            if self.said.wanted > 0 {
                self.share.withdraw(self.reactor);
                self.said.wanted = 0;
            }
            let most = (least + self.chunk()).min(self.room - self.credit);
            self.credit += self.share.take(self.budget, least, most);
        }
        self.limit = self.credit;
        not_clean <= self.credit
    }

    fn chunk(&self) -> u64 {
        let reactors = u64::from(self.share.reactors());
        (self.budget / (KEPT_PART * 2 * reactors)).clamp(1, CHUNK_MAX)
    }

    /// Takes what is not clean already, whatever the budget says: an earlier life has taken it in.
    pub(crate) fn cover(&mut self, not_clean: u64) {
        let more = not_clean.saturating_sub(self.credit);
        if more > 0 {
            self.share.take_all(more);
            self.credit += more;
            self.limit = self.credit;
        }
    }

    /// Gives back what this reactor has free: all of it, if others wait or the volume fails; else what is more than a
    /// reserve for the next writes.
    fn give_back(&mut self, not_clean: u64, generous: bool) {
        let free = self.credit.saturating_sub(not_clean);
        let keep = if generous { 0 } else { self.chunk() };
        // Between one and two reserves nothing moves, so that slots do not go back and forth.
        if free > 2 * keep {
            self.credit -= free - keep;
            self.share.give_back(free - keep);
        }
    }

    /// A request finds no room in the budget: it waits since then.
    pub(crate) fn is_short(&mut self, since: Instant) {
        let since = since.0.max(1);
        self.short_since = if self.short_since == 0 { since } else { self.short_since.min(since) };
    }

    /// Its policy wants failures to be given up for so many lines of it.
    pub(crate) fn wants(&mut self, lines: u64) {
        self.wanted = self.wanted.max(lines);
    }

    /// Whether another reactor may give something up for a wish that was told, as far as is known. Who fails because its
    /// device refuses to flush or hangs, and has looked in vain, will not; nor who does not fail. One at least has to say
    /// so, unless `known`.
    pub(crate) fn others_may_give_up(&self, known: bool) -> bool {
        let (mut may, mut in_vain) = (self.said.wanted == 0, known);
        for (_, words) in self.share.heard(self.reactor).filter(|(_, words)| class_of(words.fails).is_some())
        {
            let nothing = words.fails & Words::KEEPS_UNREFUSED != 0 && words.oldest == Words::NOTHING;
            may |= !nothing;
            in_vain |= nothing;
        }
        may || !in_vain
    }

    fn speak(&mut self, fails: u64) {
        let (since, wanted) = (self.short_since, self.wanted);
        let words = Words { fails, since, wanted, oldest: self.oldest };
        if words != self.said {
            self.share.say(self.reactor, words);
            self.said = words;
        }
    }
}

impl Engine<'_> {
    /// Whether `lines` more of a volume may be not clean here: by the policy, if the volume fails, and by the budget.
    pub(crate) fn fits(&mut self, index: usize, lines: u64) -> bool {
        if let Some(class) = self.pressing_class(index) {
            let policy = self.volumes[index].setup.rules.for_class(class).policy;
            // Asked first: slots that are taken for nothing would count as use in the others' eyes.
            if policy.on_pressure(self.pressure(index, lines, None)) != PressureVerdict::Admit {
                return false;
            }
        }
        self.has_budget(index, lines)
    }

    /// Whether `lines` more of a volume may be not clean here by its budget, of which this may take more, and by this
    /// reactor's room.
    pub(crate) fn has_budget(&mut self, index: usize, lines: u64) -> bool {
        let volume = &mut self.volumes[index];
        let not_clean = volume.counts.not_clean() + lines;
        not_clean <= volume.allowance.limit || volume.allowance.grow(not_clean) || mutant!(BudgetIsNotAsked)
    }

    /// The volume's use of its budget on all reactors, with `lines` more.
    pub(crate) fn pressure(&self, index: usize, lines: u64, stalled_ms: Option<u64>) -> Pressure {
        let volume = &self.volumes[index];
        let not_clean = volume.allowance.total(volume.counts.not_clean() + lines);
        Pressure { not_clean, budget: volume.setup.budget_slots, stalled_ms }
    }

    /// What the volume fails with, here or on another reactor.
    pub(crate) fn pressing_class(&self, index: usize) -> Option<ErrorClass> {
        let volume = &self.volumes[index];
        volume.failure_class().or(volume.allowance.class_elsewhere)
    }

    /// The error class by which its policy judges a request that this reactor's own room is too small for: of what fails
    /// here; or of what another reactor waits for, which may be a flush of what takes the room here.
    pub(crate) fn cramping_class(&self, index: usize) -> Option<ErrorClass> {
        let volume = &self.volumes[index];
        let elsewhere = volume.allowance.class_elsewhere.filter(|_| volume.allowance.unrefused_elsewhere);
        volume.failure_class().or(elsewhere)
    }

    /// Whether there may be nothing to give up here although a policy says that something should be.
    pub(crate) fn keeps_unrefused(&self, index: usize) -> bool {
        let volume = &self.volumes[index];
        match volume.failure_class() {
            Some(_) => volume.keeps_unrefused(),
            None => volume.allowance.unrefused_elsewhere,
        }
    }

    /// Whether `lines` more are more than this reactor has room for, whatever the budget says.
    pub(crate) fn exceeds_room(&self, index: usize, lines: u64) -> bool {
        let volume = &self.volumes[index];
        volume.counts.not_clean() + lines > volume.allowance.room
    }

    /// Looks at the others' words if it slept for so long that they may be of another time.
    #[inline]
    pub(crate) fn hear_anew(&mut self, now: Instant) {
        if now > self.hearsay_until {
            self.facts += 1;
            (0..self.volumes.len()).for_each(|index| self.hear(now, index));
            self.hearsay_until = Instant(now.0.saturating_add(HEARSAY_NS));
        }
    }

    /// The beginning of a volume's tick: gives back, and looks at what the others say.
    pub(crate) fn begin_turn(&mut self, now: Instant, index: usize) {
        let allowance = &mut self.volumes[index].allowance;
        (allowance.short_since, allowance.wanted) = (0, 0);
        self.hear(now, index);
        if !self.volumes[index].allowance.alone {
            self.hearsay_until = Instant(now.0.saturating_add(HEARSAY_NS));
        }
    }

    fn hear(&mut self, now: Instant, index: usize) {
        let volume = &self.volumes[index];
        if volume.allowance.alone {
            return;
        }
        let (fails_here, writes) = (volume.failure_class().is_some(), volume.stats.writes);
        let (not_clean, rules) = (volume.counts.not_clean(), volume.setup.rules);
        let allowance = &mut self.volumes[index].allowance;
        if allowance.writes != writes {
            (allowance.writes, allowance.written_at) = (writes, now);
        }
        let idle = now.since_ns(allowance.written_at) >= KEEP_NS;
        let fails = fails_here || allowance.class_elsewhere.is_some();
        // In this order: what was given up for a wish is back before anybody looks whether the wish still stands.
        allowance.give_back(not_clean, idle || fails || allowance.short_elsewhere);
        allowance.elsewhere = allowance.share.taken() - allowance.credit;
        let own = if allowance.said.since == 0 { u64::MAX } else { allowance.said.since };
        let (mut yields, mut short, mut class, mut through) = (false, false, None, false);
        let mut unrefused = false;
        for (reactor, words) in allowance.share.heard(allowance.reactor) {
            short |= words.since != 0;
            yields |= words.since != 0 && (words.since, reactor) < (own, allowance.reactor);
            class = class.or(class_of(words.fails));
            unrefused |= words.fails & Words::KEEPS_UNREFUSED != 0;
            let gate = class_of(words.fails >> 8);
            through |= gate.is_some_and(|gate| rules.for_class(gate).policy.write_through_while_refused());
        }
        (allowance.yields, allowance.short_elsewhere) = (yields, short);
        (allowance.class_elsewhere, allowance.through) = (class, through);
        allowance.unrefused_elsewhere = unrefused;
        allowance.limit = if yields { 0 } else { allowance.credit };
    }

    /// Gives up failures for the oldest request that waits for them, on whatever reactor, if the oldest failure is here.
    pub(crate) fn give_up_for_oldest(&mut self, now: Instant, index: usize, out: &mut Actions) {
        let allowance = &self.volumes[index].allowance;
        if allowance.alone {
            return;
        }
        if self.volumes[index].failure_class().is_none() {
            self.volumes[index].allowance.oldest = 0;
            return;
        }
        let own = Words { since: allowance.short_since, wanted: allowance.wanted, ..Words::default() };
        let others = || allowance.share.heard(allowance.reactor).map(|(_, words)| words);
        let wishes = others().chain([own]).filter(|words| words.wanted > 0 && words.since > 0);
        let Some(wish) = wishes.min_by_key(|words| words.since) else {
            self.volumes[index].allowance.oldest = 0;
            return;
        };
        let stalled_ms = now.since_ms(Instant(wish.since));
        let pressure = self.pressure(index, wish.wanted, Some(stalled_ms));
        let here = self.oldest_to_give_up(index, pressure);
        let allowance = &self.volumes[index].allowance;
        // Those that fail have all looked for theirs; so have we, and they have seen it.
        let mut answered = allowance.oldest != 0;
        let (mut first, mut none_elsewhere) = (true, true);
        for (reactor, words) in allowance.share.heard(allowance.reactor) {
            if class_of(words.fails).is_none() {
                continue;
            }
            answered &= words.oldest != 0;
            none_elsewhere &= words.oldest == Words::NOTHING;
            first &= (here, allowance.reactor) < (words.oldest, reactor);
        }
        self.volumes[index].allowance.oldest = here;
        if answered && (first || none_elsewhere) {
            self.give_up_oldest(now, index, wish.wanted, pressure, out);
        }
    }

    /// The end of a volume's tick: says what others have to know before this turn has any effect that can be seen.
    pub(crate) fn end_turn(&mut self, index: usize) {
        let volume = &mut self.volumes[index];
        if volume.allowance.alone {
            return;
        }
        let class = volume.failure_class().map_or(0, |class| class as u64);
        let gate = volume.gate.map_or(0, |gate| gate.class as u64);
        let unrefused = if volume.keeps_unrefused() { Words::KEEPS_UNREFUSED } else { 0 };
        volume.allowance.speak(class | gate << 8 | unrefused);
    }
}

fn class_of(number: u64) -> Option<ErrorClass> {
    u8::try_from(number & 0xff).ok().and_then(ErrorClass::from_u8)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::thread;

    /// Who sees that room was taken for a wish does not see the wish any more: else it would give up for it again.
    #[test]
    fn a_wish_ends_before_what_it_wanted_is_taken() {
        const BUDGET: u64 = 100_000;
        let share = Share::new(2);
        let mut asker = Allowance::new(&share, 0, BUDGET, BUDGET);
        thread::scope(|scope| {
            scope.spawn(|| {
                // What the giver does: it looks at the budget, then at the wishes.
                loop {
                    let taken = share.taken();
                    for (_, words) in share.heard(1).filter(|(_, words)| words.wanted > 0) {
                        assert!(words.since > taken, "{taken} are taken, and {words:?}");
                    }
                    if taken > BUDGET / 2 {
                        break;
                    }
                    thread::yield_now();
                }
            });
            while asker.credit <= BUDGET / 2 {
                let next = asker.credit + 1;
                asker.is_short(Instant(next));
                asker.wants(1);
                asker.speak(0);
                assert!(asker.grow(next));
                (asker.short_since, asker.wanted) = (0, 0);
            }
        });
    }
}
