//! A domain over several reactors: messages, and a verifier that says no when it must.

use crate::disk::Disk;
use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::EIO;
use std::cell::RefCell;
use std::rc::Rc;

/// Two reactors over one disk; messages are delivered at the end of each round.
pub(crate) struct Pair(pub(crate) [Shell; 2]);

impl Pair {
    pub(crate) fn new() -> Pair {
        Pair::with(&Plan::default())
    }

    pub(crate) fn with(plan: &Plan) -> Pair {
        let limits = |reactor| Limits { reactor, reactors: 2, ..plan.limits };
        let plan = |reactor| Plan { limits: limits(reactor), ..plan.clone() };
        let disks: Vec<_> = (0..plan(0).volumes).map(|_| Rc::new(RefCell::new(Disk::new(4 << 20)))).collect();
        let shares = shares(&plan(0));
        Pair([0, 1].map(|reactor| Shell::over(plan(reactor), disks.clone(), &shares)))
    }

    pub(crate) fn deliver(&mut self) {
        for from in 0..2u32 {
            for (to, message) in std::mem::take(&mut self.0[from as usize].peers) {
                self.0[to as usize].events.push_back(match message {
                    PeerMessage::FlushWanted { domain, number } => {
                        Event::FlushWanted { domain, from, number }
                    }
                    PeerMessage::Flushed { domain, number, errno, verifier } => {
                        Event::Flushed { domain, number, errno, verifier }
                    }
                    PeerMessage::DeviceChanged { domain } => Event::DeviceChanged { domain },
                });
            }
        }
    }

    pub(crate) fn run_ms(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            for shell in &mut self.0 {
                shell.run_ms(1);
            }
            self.deliver();
        }
    }

    /// Flushes both, as the client library does, and returns both answers.
    pub(crate) fn flushed(&mut self) -> [Option<u16>; 2] {
        let tags = [0, 1].map(|reactor: usize| self.0[reactor].flush());
        self.run_ms(20);
        [0, 1].map(|reactor| self.0[reactor].errno(tags[reactor]))
    }
}

pub(crate) const STRIPE: u64 = 1 << 20;

/// M5: both reactors' data becomes stable by device flushes that one of them issues.
#[test]
fn one_reactor_issues_the_flushes_of_all() {
    let mut pair = Pair::new();
    pair.0[0].put(0, LINE, 1);
    pair.0[1].put(STRIPE, LINE, 2);
    assert_eq!(pair.flushed(), [Some(0), Some(0)]);
    assert_eq!((pair.0[0].stable(0), pair.0[0].stable(1 << 20)), (1, 2));
    assert_eq!(pair.0[1].stats().device_flushes, 0, "reactor 0 owns the domain");
    let foreign = pair.0[1].write(0, LINE, 3);
    pair.0[1].turn();
    assert_eq!(pair.0[1].errno(foreign), Some(holdfast_policy::errno::EINVAL), "not its stripe");
}

/// C7: a device flush that fails while one reactor waits puts the other one's written data in doubt, too.
#[test]
fn a_failed_flush_reaches_every_reactor() {
    let mut pair = Pair::new();
    pair.0[1].put(STRIPE, LINE, 2);
    // Reactor 1 has written, and waits for a flush of its own when reactor 0's fails.
    pair.0[0].disk().hold(IoKind::Flush);
    let late = pair.0[1].flush();
    pair.0[0].put(0, LINE, 1);
    let flush = pair.0[0].flush();
    pair.run_ms(10);
    assert_eq!(pair.0[1].stats().unstable, 1);
    pair.0[0].disk().refuse(IoKind::Flush, EIO);
    pair.0[0].disk().release();
    pair.run_ms(1);
    let forgotten = pair.0[0].disk().stable.clone();
    pair.0[0].disk().media = forgotten;
    pair.0[0].disk().heal();
    pair.run_ms(2_000);
    assert!(pair.0[0].errno(flush).is_some() && pair.0[1].errno(late).is_some());
    assert_eq!(pair.flushed(), [Some(0), Some(0)]);
    assert_eq!((pair.0[0].stable(0), pair.0[0].stable(1 << 20)), (1, 2));
}

/// C7: a reactor that heard of a change first counts the owner's verifier, not its own: a flush that failed since is not
/// mistaken for the change.
#[test]
fn a_change_heard_early_does_not_hide_a_failed_flush() {
    let mut pair = Pair::new();
    pair.0[1].events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    pair.run_ms(1);
    pair.0[1].put(STRIPE, LINE, 2);
    let drain = pair.0[1].operator(Command::Drain);
    // Reactor 1 writes; its request for a flush is on its way while reactor 0's own flush fails.
    pair.0[1].settle();
    assert_eq!(pair.0[1].stats().unstable, 1);
    pair.0[0].put(0, LINE, 1);
    pair.0[0].disk().refuse(IoKind::Flush, EIO);
    pair.0[0].flush();
    pair.0[0].settle();
    let forgotten = pair.0[0].disk().stable.clone();
    pair.0[0].disk().media = forgotten;
    pair.0[0].disk().heal();
    pair.run_ms(3_000);
    assert!(pair.0[1].answers.contains_key(&drain));
    assert_eq!(pair.0[0].stable(1 << 20), 2, "it was written again");
}

/// C8: after a change of the device the next flush of a reactor that does not own the domain shows a verifier that it did not
/// know, and everything is written once more. An operator's retry is about what comes of that: nothing was refused.
#[test]
fn a_retry_does_not_take_a_doubt_for_a_refusal() {
    let mut pair = Pair::new();
    pair.0[0].events.push_back(Event::DeviceChanged { domain: DomainId(0) });
    pair.run_ms(2);
    pair.0[1].put(STRIPE, LINE, 2);
    let retry = Command::Retry { range: ByteRange::ALL, classes: holdfast_policy::ClassSet::ANY };
    let token = pair.0[1].operator(retry);
    pair.run_ms(2_500);
    assert_eq!(pair.0[1].answers[&token], Answer::Retried { tried: 0, failed: 0 });
    assert_eq!(
        pair.0[0].stable(1 << 20),
        2,
        "it is on stable media before the operator hears that all is well"
    );
}

/// A discard over many stripes: each reactor takes its own.
#[test]
fn each_reactor_discards_its_own_stripes() {
    let mut pair = Pair::new();
    pair.0[0].put(0, LINE, 1);
    pair.0[1].put(STRIPE, LINE, 2);
    let tags =
        [0, 1].map(|reactor: usize| pair.0[reactor].send(0, 1, Operation::Discard, 512, (3 << 20) + 1024));
    pair.run_ms(10);
    assert_eq!([0, 1].map(|reactor| pair.0[reactor].errno(tags[reactor])), [Some(0), Some(0)]);
    assert_eq!(pair.flushed(), [Some(0), Some(0)]);
    let disk = pair.0[0].disk();
    assert_eq!((disk.stable[0], disk.stable[(3 << 20) + 1536]), (1, 0xd5));
    assert!(disk.stable[512..(3 << 20) + 1536].iter().all(|&byte| byte == 0));
}
