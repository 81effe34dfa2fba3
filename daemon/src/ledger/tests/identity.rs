//! Failure ids: what they name, and what `explain` says later.

use super::super::explain::UnknownId;
use super::super::facade::Ledger;
use super::super::outcome::CommitOutcome;
use super::super::record::{Ending, Kind, Report};
use super::super::run::step;
use super::fake::FakeDisk;
use super::model::{Feeder, SECTOR, SECTORS};
use super::places::{committed, open};
use super::*;
use holdfast_engine::{Event, LedgerSeq};

const VM2: VolumeId = VolumeId(2);

#[test]
fn a_flush_that_fails_again_for_the_same_reason_gets_the_same_id() {
    let (mut ledger, mut feeder) = (open(&FakeDisk::default()), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(1), report(VM1, 1));
    let first = committed(ledger.commit(at(1)));
    // The same extents, tried again and said in other pieces.
    feeder.feed(&mut ledger, at(2), not_stable(VM1, bytes(0, 512), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(2), not_stable(VM1, bytes(512, 3584), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(2), report(VM1, 2));
    assert_eq!(committed(ledger.commit(at(2))), first);
    // Another errno is another set.
    feeder.feed(&mut ledger, at(3), not_stable(VM1, bytes(0, 512), MEDIUM, EIO));
    feeder.feed(&mut ledger, at(3), report(VM1, 3));
    assert_ne!(committed(ledger.commit(at(3))), first);
}

#[test]
fn all_reactors_that_report_one_flush_get_one_id() {
    let mut ledger = open(&FakeDisk::default());
    let batch = [
        (0, LedgerSeq(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC)),
        (0, LedgerSeq(2), report(VM1, 7)),
        (1, LedgerSeq(1), not_stable(VM1, bytes(8192, 4096), SPACE, ENOSPC)),
        (1, LedgerSeq(2), report(VM1, 8)),
    ];
    let mut events = Vec::new();
    assert_eq!(step(&mut ledger, at(1), batch, &mut events), None);
    assert_eq!(
        events,
        [
            (0, Event::LedgerDurable { up_to: LedgerSeq(2) }),
            (1, Event::LedgerDurable { up_to: LedgerSeq(2) }),
            (0, Event::Reported { token: Token(7), failure_id: 1 }),
            (1, Event::Reported { token: Token(8), failure_id: 1 }),
        ]
    );
    events.clear();
    assert_eq!(step(&mut ledger, at(2), [], &mut events), None);
    assert_eq!(events, [], "nothing is said twice");
}

#[test]
fn a_report_names_the_set_from_before_a_heal_of_the_same_batch() {
    let (mut ledger, mut feeder) = (open(&FakeDisk::default()), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(1), report(VM1, 1));
    feeder.feed(&mut ledger, at(1), healed(VM1, bytes(0, 4096)));
    let ids = committed(ledger.commit(at(1)));
    let explained = ledger.explain(ids[0], 10).expect("it was just given");
    assert_eq!(explained.ranges.len(), 1);
    assert_eq!(explained.ranges[0].ended, Some((Ending::Healed, at(1).wall_ms)));
    assert!(!explained.current && explained.complete);
}

#[test]
fn explains_a_set_and_what_became_of_it() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 4096), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(1), lost(VM1, bytes(8192, 1024), 3));
    let id = ledger.report(at(1), VM1);
    feeder.feed(&mut ledger, at(2), healed(VM1, bytes(0, 1024)));
    feeder.feed(&mut ledger, at(3), lost(VM1, bytes(1024, 1024), 4));
    feeder.feed(&mut ledger, at(4), loss_healed(VM1, bytes(8192, 512), true));
    feeder.feed(&mut ledger, at(5), not_stable(VM1, bytes(16384, 512), SPACE, ENOSPC));
    let later = ledger.report(at(6), VM1);
    committed(ledger.commit(at(6)));
    let before = ledger.explain(id, 10).expect("it was given");
    drop(ledger);
    let ledger = open(&disk);
    let explained = ledger.explain(id, 10).expect("it was given before the restart");
    assert_eq!(explained, before, "a restart changes no explanation");
    assert_eq!((explained.volume.as_str(), explained.at_ms), ("vm1", at(1).wall_ms));
    let seen: Vec<_> = explained
        .ranges
        .iter()
        .map(|range| (range.range.offset, range.range.length, range.kind, range.ended.map(|ended| ended.0)))
        .collect();
    let expected = [
        (0, 1024, Kind::NotStable, Some(Ending::Healed)),
        (1024, 1024, Kind::NotStable, Some(Ending::GivenUp)),
        (2048, 2048, Kind::NotStable, None),
        (8192, 512, Kind::Lost, Some(Ending::Acknowledged)),
        (8704, 512, Kind::Lost, None),
    ];
    assert_eq!(seen, expected);
    assert_eq!((explained.bytes.not_stable, explained.bytes.lost, explained.bytes.ended), (2048, 512, 2560));
    let part = ledger.explain(id, 2).expect("it was given");
    assert_eq!((part.ranges.len(), part.omitted, part.bytes), (2, 3, explained.bytes));
    let later = ledger.explain(later, 10).expect("it was given");
    assert!(later.current);
    assert!(later.ranges.iter().all(|range| range.ended.is_none()));
    assert_eq!(later.ranges.iter().map(|range| range.range.length).sum::<u64>(), 2048 + 1024 + 512 + 512);
}

#[test]
fn ids_are_of_one_count_for_all_volumes_and_never_used_twice() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    ledger.register_volume(VM2, "vm2", "serial-2", SECTORS * SECTOR).expect("it is new");
    let mut ids = vec![ledger.report(at(1), VM1), ledger.report(at(1), VM2)];
    feeder.feed(&mut ledger, at(2), not_stable(VM2, bytes(0, 512), SPACE, ENOSPC));
    ids.push(ledger.report(at(2), VM2));
    committed(ledger.commit(at(2)));
    drop(ledger);
    let mut ledger = open(&disk);
    assert_eq!(ledger.report(at(3), VM1), ids[0], "the same set across a restart");
    Feeder::default().feed(&mut ledger, at(3), not_stable(VM1, bytes(0, 512), SPACE, ENOSPC));
    ids.push(ledger.report(at(3), VM1));
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[test]
fn an_old_explanation_says_that_it_is_not_whole_and_older_ids_are_forgotten() {
    let disk = FakeDisk::default();
    let mut ledger = Ledger::open_on(Box::new(disk.clone()), at(0), 4).expect("the disk is sound");
    ledger.register_volume(VM1, "vm1", "serial-1", SECTORS * SECTOR).expect("it is new");
    let mut feeder = Feeder::default();
    let mut ids = Vec::new();
    for sector in 0..6 {
        feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(sector * SECTOR, SECTOR), SPACE, ENOSPC));
        ids.push(ledger.report(at(1), VM1));
    }
    assert_eq!(ledger.explain(ids[0], 10), Err(UnknownId::Forgotten(ids[0], 4)));
    assert_eq!(ledger.explain(99, 10), Err(UnknownId::NeverGiven(99)));
    assert_eq!(ledger.explain(0, 10), Err(UnknownId::NeverGiven(0)));
    assert!(ledger.explain(ids[5], 10).expect("it is kept").complete);
    committed(ledger.commit(at(1)));
    // Six records end; the history keeps four of them.
    for sector in 0..6 {
        feeder.feed(&mut ledger, at(2), healed(VM1, bytes(sector * SECTOR, SECTOR)));
        committed(ledger.commit(at(2)));
    }
    drop(ledger);
    let ledger = Ledger::open_on(Box::new(disk.clone()), at(3), 4).expect("the disk is sound");
    let explained = ledger.explain(ids[5], 10).expect("it is kept");
    assert_eq!(explained.ranges.len(), 4);
    assert!(!explained.complete);
}

#[test]
fn operators_see_every_transition_and_no_attempt() {
    let (mut ledger, mut feeder) = (open(&FakeDisk::default()), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 512), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(2), not_stable(VM1, bytes(0, 512), SPACE, ENOSPC));
    feeder.feed(&mut ledger, at(3), lost(VM1, bytes(0, 512), 1));
    feeder.feed(&mut ledger, at(4), loss_healed(VM1, bytes(0, 512), false));
    let seen: Vec<_> = ledger.events(2).map(|event| (event.number, event.kind, event.ending)).collect();
    let expected = [
        (2, Kind::NotStable, Some(Ending::GivenUp)),
        (3, Kind::Lost, None),
        (4, Kind::Lost, Some(Ending::LossHealed)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(ledger.events(1).next().map(|event| event.volume.as_str()), Some("vm1"));
}

#[test]
fn attempts_alone_are_not_written_until_something_else_is() {
    let disk = FakeDisk::default();
    let (mut ledger, mut feeder) = (open(&disk), Feeder::default());
    feeder.feed(&mut ledger, at(1), not_stable(VM1, bytes(0, 512), SPACE, ENOSPC));
    committed(ledger.commit(at(1)));
    let before = disk.operations();
    let mut again = extent(bytes(0, 512), SPACE, ENOSPC);
    again.attempts = 9;
    let seq = feeder.feed(&mut ledger, at(2), LedgerEntry::NotStable { volume: VM1, extent: again });
    feeder.feed(&mut ledger, at(2), report(VM1, 5));
    let CommitOutcome::Durable { durable, reports } = ledger.commit(at(2)) else {
        panic!("the disk is sound")
    };
    assert_eq!(durable, [(0, LedgerSeq(seq.0 + 1))]);
    assert_eq!(reports, [Report { reactor: 0, token: Token(5), failure_id: 1 }]);
    let told = disk.operations();
    assert!(told > before, "that somebody knows the id is written");
    again.attempts = 10;
    feeder.feed(&mut ledger, at(3), LedgerEntry::NotStable { volume: VM1, extent: again });
    committed(ledger.commit(at(3)));
    assert_eq!(disk.operations(), told);
    assert_eq!(ledger.not_stable(VM1)[0].failure.attempts, 10);
    committed(ledger.commit_all(at(4)));
    drop(ledger);
    assert_eq!(open(&disk).not_stable(VM1)[0].failure.attempts, 10);
}
