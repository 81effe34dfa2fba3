//! Volumes that come and go while the engine runs, and budgets that change under them.

use crate::disk::Disk;
use crate::reactors::Pair;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::State;
use holdfast_policy::errno::{EBUSY, ECANCELED, EIO, ENOSPC, ENXIO};
use std::cell::RefCell;
use std::rc::Rc;

fn disk() -> Rc<RefCell<Disk>> {
    Rc::new(RefCell::new(Disk::new(4 << 20)))
}

fn share(reactors: u32) -> &'static Share {
    Box::leak(Box::new(Share::new(reactors)))
}

fn room(plan: &Plan) -> u64 {
    (plan.slots - plan.limits.reserve_slots as usize) as u64
}

impl Shell {
    /// Gives a command and insists on its answer.
    fn done(&mut self, volume: u16, command: Command) -> Answer {
        let token = self.operator_of(volume, command);
        self.run_ms(200);
        self.answers.remove(&token).expect("it is answered")
    }

    /// Drains a volume, closes it and empties its place.
    fn remove(&mut self, volume: u16) {
        assert_eq!(self.done(volume, Command::Drain), Answer::Drained { left: 0 });
        assert_eq!(self.done(volume, Command::Close { give_up: false }), Answer::Done);
        assert_eq!(self.done(volume, Command::Detach), Answer::Done);
    }

    /// Attaches a fresh volume and waits until it may be used.
    fn add(&mut self, plan: &Plan, volume: u16, disk: &Rc<RefCell<Disk>>) {
        self.engine.reserve_places(8);
        let setup = setup(plan, volume, volume, room(plan), share(1));
        self.attach(setup, Rc::clone(disk));
        self.events.push_back(Event::Settled { volume: VolumeId(volume) });
        self.run_ms(5);
    }

    fn written(&mut self, volume: u16, offset: u64, value: u8) -> Option<u16> {
        let tag = self.write_to(volume, offset, LINE, value, false);
        self.run_ms(5);
        self.errno(tag)
    }

    fn first_byte(&mut self, volume: u16, offset: u64) -> u8 {
        let tag = self.send(volume, 1, Operation::Read, offset, LINE);
        self.run_ms(20);
        assert_eq!(self.errno(tag), Some(0));
        self.data(tag)[0]
    }
}

/// C5: what a removed volume left in the cache is never read through the volume that got its number, and no header of the
/// arena speaks of it.
#[test]
fn a_volume_in_an_old_place_does_not_see_what_was_there() {
    let plan = Plan::default();
    let mut shell = Shell::new(plan.clone());
    for line in 0..16 {
        shell.put(line * LINE, LINE, 7);
    }
    assert_eq!(shell.flushed(), 0);
    shell.disk().media[100 * LINE as usize] = 8;
    assert_eq!(shell.first_byte(0, 100 * LINE), 8, "and a line that was read");
    assert!(shell.headers.iter().any(|header| header.state() == State::Clean));
    shell.remove(0);
    assert!(shell.headers.iter().all(|header| header.state() == State::Free));
    assert_eq!(shell.shares[0].taken(), 0, "its budget went back");
    assert_eq!(shell.written(0, 0, 1), Some(ENXIO), "there is no volume");
    let other = disk();
    other.borrow_mut().media.fill(9);
    shell.add(&plan, 0, &other);
    assert_eq!([0, 100 * LINE].map(|offset| shell.first_byte(0, offset)), [9, 9]);
    assert_eq!(shell.written(0, 0, 3), Some(0));
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.first_byte(0, 0), 3);
    assert_eq!(other.borrow().stable[0], 3);
}

/// A volume that comes takes its part of the room, and gets on with its neighbours.
#[test]
fn a_volume_is_added_behind_the_others_and_serves() {
    let plan = Plan { budget: 64, ..Plan::default() };
    let mut shell = Shell::new(plan.clone());
    shell.put(0, LINE, 1);
    let other = disk();
    shell.add(&plan, 1, &other);
    assert_eq!(shell.written(1, LINE, 2), Some(0));
    assert_eq!(shell.done(1, Command::Drain), Answer::Drained { left: 0 });
    assert_eq!(other.borrow().stable[LINE as usize], 2);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(0), 1);
}

/// C3, C6: until a volume that comes is settled, no flush of its domain is asked for. A neighbour's flush waits for that from
/// when it came, though the last flush of the domain was long ago; it does not fail at once.
#[test]
fn a_volume_that_comes_does_not_fail_its_neighbours_flush() {
    let plan = Plan { budget: 64, ..Plan::default() };
    let mut shell = Shell::new(plan.clone());
    shell.put(0, LINE, 1);
    assert_eq!(shell.flushed(), 0);
    shell.run_ms(60_000);
    shell.engine.reserve_places(8);
    let same = Rc::clone(&shell.disks[0]);
    shell.attach(setup(&plan, 1, 0, room(&plan), share(1)), same);
    shell.put(0, LINE, 2);
    let flush = shell.flush();
    shell.run_ms(50);
    assert_eq!(shell.errno(flush), None, "it waits for the newcomer");
    shell.events.push_back(Event::Settled { volume: VolumeId(1) });
    shell.run_ms(50);
    assert_eq!(shell.errno(flush), Some(0));
    assert_eq!(shell.stable(0), 2);
}

/// What the device refuses keeps a volume from being closed; it can be opened again and has what it had.
#[test]
fn a_volume_that_holds_failed_data_does_not_close() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().refuse(IoKind::Write, ENOSPC);
    shell.put(0, LINE, 1);
    assert_eq!(shell.flushed(), ENOSPC);
    let token = shell.operator(Command::Close { give_up: true });
    shell.run_ms(2_000);
    assert_eq!(shell.answers.get(&token), None);
    assert_eq!(shell.done(0, Command::Drain), Answer::Refused { errno: EBUSY });
    assert_eq!(shell.done(0, Command::Reopen), Answer::Done);
    assert_eq!(shell.answers[&token], Answer::Refused { errno: ECANCELED });
    assert_eq!(shell.get(0, LINE).unwrap(), all(1, LINE as usize));
    shell.put(LINE, LINE, 2);
}

/// Given up, with the loss on record before anything is freed: then it closes.
#[test]
fn a_volume_closes_once_its_data_is_recorded_as_lost() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().refuse(IoKind::Write, EIO);
    shell.put(0, LINE, 1);
    assert_eq!(shell.flushed(), EIO);
    let Answer::Dropped { bytes } = shell.done(0, Command::Abandon) else { panic!("nothing given up") };
    assert_eq!(bytes, LINE);
    assert_eq!(shell.done(0, Command::Close { give_up: true }), Answer::Done);
    assert_eq!(shell.done(0, Command::Detach), Answer::Done);
    assert_eq!(shell.ledger.lost.len(), 8, "the record of the line's sectors stays");
    assert!(shell.headers.iter().all(|header| header.state() == State::Free));
}

/// Zeroes that a device accepted and lost are held like data, and are given up like data: on record first.
#[test]
fn zeroes_that_are_not_stable_hold_a_volume_until_they_are_given_up() {
    let mut shell = Shell::new(Plan::default());
    let discard = shell.send(0, 1, Operation::Discard, 0, 4 * LINE);
    shell.run_ms(5);
    assert_eq!(shell.errno(discard), Some(0));
    shell.disk().refuse(IoKind::Flush, EIO);
    shell.disk().refuse(IoKind::Discard, EIO);
    shell.disk().refuse(IoKind::Zero, EIO);
    shell.run_ms(3_000);
    let token = shell.operator(Command::Close { give_up: false });
    shell.run_ms(1_000);
    assert_eq!(shell.answers.get(&token), None, "they are held");
    assert_eq!(shell.done(0, Command::Reopen), Answer::Done);
    let token = shell.operator(Command::Close { give_up: true });
    shell.run_ms(3_000);
    assert_eq!(shell.answers.get(&token), Some(&Answer::Done));
    assert!(!shell.ledger.lost.is_empty(), "and it is on record");
}

/// C2: a removal that another reactor holds up is taken back after this one has closed the volume and has its zeroes on record
/// as lost. They are held again, and no flush says that all is well before they are done.
#[test]
fn zeroes_that_were_given_up_are_held_again_when_the_removal_is_taken_back() {
    let mut shell = Shell::new(Plan::default());
    let discard = shell.send(0, 1, Operation::Discard, 0, 4 * LINE);
    shell.run_ms(5);
    assert_eq!(shell.errno(discard), Some(0));
    shell.disk().refuse(IoKind::Flush, EIO);
    shell.disk().refuse(IoKind::Discard, EIO);
    shell.disk().refuse(IoKind::Zero, EIO);
    shell.run_ms(3_000);
    assert_eq!(shell.done(0, Command::Close { give_up: true }), Answer::Done);
    assert_eq!(shell.ledger.lost.len(), 32);
    assert_eq!(shell.done(0, Command::Reopen), Answer::Done);
    shell.run_ms(10);
    assert!(shell.ledger.lost.is_empty(), "it is not lost after all");
    assert_eq!(shell.flushed(), EIO);
    shell.disk().heal();
    shell.run_ms(20_000);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.get(0, LINE).unwrap(), all(0, LINE as usize));
}

/// The reactor that owns a domain flushes for the others after it has closed the volume itself.
#[test]
fn a_domain_is_flushed_until_every_reactor_has_closed_its_part() {
    let mut pair = Pair::new();
    // The other reactor's first stripe, and not this one's.
    let [owner, other] = &mut pair.0;
    other.put(1 << 20, LINE, 5);
    let closed = owner.operator(Command::Close { give_up: false });
    pair.run_ms(50);
    assert_eq!(pair.0[0].answers[&closed], Answer::Done, "nothing of it is there");
    let drained = pair.0[1].operator(Command::Drain);
    pair.run_ms(50);
    assert_eq!(pair.0[1].answers[&drained], Answer::Drained { left: 0 });
    let closed = pair.0[1].operator(Command::Close { give_up: false });
    pair.run_ms(50);
    assert_eq!(pair.0[1].answers[&closed], Answer::Done);
    let gone = [0, 1].map(|reactor: usize| pair.0[reactor].operator(Command::Detach));
    pair.run_ms(50);
    assert_eq!(
        gone.map(|token| pair.0[0].answers.get(&token).or(pair.0[1].answers.get(&token))),
        [Some(&Answer::Done), Some(&Answer::Done)]
    );
    assert_eq!(pair.0[0].shares[0].taken(), 0);
}

/// M11: a budget below what is held keeps what is held, and new writes wait until it is written.
#[test]
fn a_smaller_budget_keeps_what_is_held_and_stalls_what_is_new() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Write);
    for line in 0..100 {
        shell.put(line * LINE, LINE, 1);
    }
    let command = Command::SetBudget { budget_slots: 40, room_slots: 40 };
    assert_eq!(shell.done(0, command), Answer::Done);
    assert_eq!((shell.stats().budget, shell.stats().not_clean), (40, 100));
    let late = shell.write(200 * LINE, LINE, 2);
    shell.run_ms(100);
    assert_eq!(shell.errno(late), None, "it waits");
    shell.disk().release();
    shell.run_ms(100);
    assert_eq!(shell.errno(late), Some(0));
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(99 * LINE as usize), 1);
    assert!(shell.shares[0].taken() <= 40, "{} are taken", shell.shares[0].taken());
}

/// M11: nobody is given the room that another volume still fills: the reserve stays what it is, in whatever order budgets
/// change.
#[test]
fn room_is_given_only_once_it_is_free() {
    let plan = Plan { volumes: 2, budget: 112, ..Plan::default() };
    let mut shell = Shell::new(plan.clone());
    shell.disks[0].borrow_mut().hold(IoKind::Write);
    shell.disks[1].borrow_mut().hold(IoKind::Write);
    for line in 0..100 {
        assert_eq!(shell.written(0, line * LINE, 1), Some(0));
    }
    let most = room(&plan);
    // The neighbour is to have nearly all, and gets what is left.
    assert_eq!(
        shell.done(1, Command::SetBudget { budget_slots: most - 24, room_slots: most - 24 }),
        Answer::Done
    );
    assert_eq!(shell.done(0, Command::SetBudget { budget_slots: 24, room_slots: 24 }), Answer::Done);
    let tags: Vec<u32> = (0..200).map(|line| shell.write_to(1, line * LINE, LINE, 2, false)).collect();
    shell.run_ms(100);
    let taken = |shell: &Shell| tags.iter().filter(|&&tag| shell.errno(tag) == Some(0)).count() as u64;
    assert_eq!(taken(&shell), most - 100);
    assert!(shell.engine.cache_stats().not_clean <= most, "the reserve is nobody's");
    shell.disks[0].borrow_mut().release();
    assert_eq!(shell.done(0, Command::Drain), Answer::Drained { left: 0 });
    assert_eq!(taken(&shell), most - 24);
}

/// A budget that does not hold one request would stop the volume for ever.
#[test]
fn a_budget_holds_a_request_at_least() {
    let mut shell = Shell::new(Plan::default());
    let command = Command::SetBudget { budget_slots: 3, room_slots: 3 };
    assert!(matches!(shell.done(0, command), Answer::Refused { .. }));
    shell.put(0, LINE, 1);
}

/// Places without a volume, as a restart leaves them, are looked at by nobody and taken by who comes.
#[test]
fn a_vacancy_is_filled() {
    let plan = Plan::default();
    let mut shell = Shell::new(plan.clone());
    let geometry = setup(&plan, 0, 0, 0, shell.shares[0]).geometry;
    let index = setup(&plan, 0, 0, 0, shell.shares[0]).index;
    shell.engine.add_vacancy(vacancy(VolumeId(1), geometry, plan.rules, share(1), index));
    shell.put(0, LINE, 1);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.written(1, 0, 1), Some(ENXIO));
    let other = disk();
    shell.add(&plan, 1, &other);
    assert_eq!(shell.written(1, 0, 4), Some(0));
    assert_eq!(shell.done(1, Command::Drain), Answer::Drained { left: 0 });
    assert_eq!(other.borrow().stable[0], 4);
}

/// C6: a budget that changes in the turn of an overwrite, which counts twice until its commit, is not exceeded by that
/// (seed 545 of the simulator).
#[test]
fn an_overwrite_beside_another_budget_takes_no_more() {
    let plan = Plan { budget: 64, ..Plan::default() };
    let mut shell = Shell::new(plan);
    for line in 0..63 {
        shell.put(line * LINE, LINE, 1);
    }
    let last = shell.write(63 * LINE, LINE, 1);
    let overwrite = shell.write(0, LINE, 2);
    let token = shell.operator(Command::SetBudget { budget_slots: 40, room_slots: 40 });
    shell.turn();
    assert_eq!([last, overwrite].map(|tag| shell.errno(tag)), [Some(0); 2]);
    assert_eq!(shell.answers[&token], Answer::Done);
    assert_eq!(shell.shares[0].taken(), 64);
}

/// C6: what a volume had of the tables that all share is its neighbour's once it has gone, and its own again when another
/// comes in its place: requests, operations and fills.
#[test]
fn the_part_of_a_volume_that_went_is_its_neighbours() {
    let plan = Plan { volumes: 2, budget: 64, ..Plan::default() };
    let mut shell = Shell::new(plan.clone());
    let taken = |shell: &mut Shell| {
        shell.disks[0].borrow_mut().hold(IoKind::Read);
        for line in 0..200 {
            shell.send(0, 1, Operation::Read, line * LINE, LINE);
        }
        shell.run_ms(5);
        let stats = (shell.engine.cache_stats().requests, shell.engine.cache_stats().ops);
        shell.disks[0].borrow_mut().release();
        shell.run_ms(50);
        assert_eq!(shell.engine.cache_stats().requests, 0, "all are answered");
        stats
    };
    let beside = taken(&mut shell);
    shell.remove(1);
    // Lines that are clean would be hits.
    shell.remove(0);
    let own = disk();
    shell.add(&plan, 0, &own);
    let alone = taken(&mut shell);
    assert!(alone.0 > beside.0 && alone.1 > beside.1, "{beside:?} beside another, {alone:?} alone");
    let other = disk();
    shell.add(&plan, 1, &other);
    shell.remove(0);
    let own = disk();
    shell.add(&plan, 0, &own);
    assert_eq!(taken(&mut shell), beside);
}

/// A reactor that has closed its part may ask for one more device flush on its way out, and is not detached before it has an
/// answer. The owner of the domain, which has let the volume go meanwhile, does not keep it waiting for ever.
#[test]
fn a_flush_that_is_wanted_after_the_volume_has_gone_is_answered() {
    let mut pair = Pair::new();
    for command in [Command::Close { give_up: false }, Command::Detach] {
        let token = pair.0[0].operator(command);
        pair.run_ms(50);
        assert_eq!(pair.0[0].answers[&token], Answer::Done);
    }
    let domain = DomainId(0);
    pair.0[0].events.push_back(Event::FlushWanted { domain, from: 1, number: 7 });
    pair.0[0].run_ms(1);
    let [(1, PeerMessage::Flushed { number: 7, errno, .. })] = pair.0[0].peers[..] else {
        panic!("{:?}", pair.0[0].peers)
    };
    assert_ne!(errno, 0, "nothing was flushed");
}

/// C7: the device of a volume that is being added changes when one reactor has the volume and the other does not yet: there is
/// nothing of it to doubt there, and the first volume of that domain comes after (seed 6064).
#[test]
fn a_device_may_change_before_every_reactor_has_its_volume() {
    let plan = Plan { budget: 64, ..Plan::default() };
    let mut shell = Shell::new(plan.clone());
    shell.events.push_back(Event::DeviceChanged { domain: DomainId(1) });
    shell.put(0, LINE, 1);
    assert_eq!(shell.flushed(), 0);
    shell.add(&plan, 1, &disk());
    assert_eq!(shell.written(1, 0, 2), Some(0));
    assert_eq!(shell.done(1, Command::Drain), Answer::Drained { left: 0 });
}
