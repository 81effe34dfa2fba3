//! C6: what a volume whose device hangs may take of the tables that it shares with its neighbours.

use crate::shell::*;
use holdfast_engine::*;

/// Volume 0 hangs, in reads and writes; volume 1 is well.
fn hanging(mut plan: Plan) -> Shell {
    plan.volumes = 2;
    let shell = Shell::new(plan);
    shell.disk().hold(IoKind::Write);
    shell.disk().hold(IoKind::Read);
    shell
}

/// Volume 1 does all that a volume can do.
fn check_neighbour(shell: &mut Shell) {
    for round in 0..20 {
        let offset = round * 20 * LINE;
        let write = shell.write_to(1, offset, 16 * LINE, 3, false);
        let durable = shell.write_to(1, offset + 17 * LINE, LINE, 4, true);
        let miss = shell.send(1, 1, Operation::Read, 3 << 20 | offset, LINE);
        let zeroes = shell.send(1, 1, Operation::WriteZeroes { fua: true }, offset, 4 * LINE + 512);
        let flush = shell.send(1, 1, Operation::Flush, 0, 0);
        shell.settle();
        let answers = [write, durable, miss, zeroes, flush].map(|tag| shell.errno(tag));
        assert_eq!(answers, [Some(0); 5], "round {round}");
    }
}

/// More requests than the table has places: what finds none stays in its ring, and its neighbour's are taken in.
#[test]
fn requests_that_wait_leave_places_for_those_of_other_volumes() {
    let mut shell = hanging(Plan::default());
    let reads: Vec<u32> =
        (0..300).map(|line| shell.send(0, 1, Operation::Read, line * 2 * LINE, LINE)).collect();
    shell.run_ms(50);
    assert!(!shell.rings.is_empty(), "the hanging volume has all the places that it may have");
    check_neighbour(&mut shell);
    shell.disk().release();
    shell.run_ms(50);
    assert!(reads.iter().all(|&tag| shell.errno(tag) == Some(0)));
}

/// A thousand lines of writes that wait for a device flush leave room for other volumes' writes to wait, too.
#[test]
fn writes_that_wait_for_the_device_leave_places_for_those_of_other_volumes() {
    let mut shell = hanging(Plan::default());
    for line in 0..16 {
        shell.write_to(0, line * 2 * LINE, LINE, 1, true);
    }
    shell.run_ms(1);
    // No operation is left for these, so that they can be overwritten again and again.
    let writes: Vec<u32> = (0..60).map(|_| shell.write_to(0, 1 << 20, 16 * LINE, 2, true)).collect();
    shell.run_ms(20);
    assert!(shell.stats().stalled_writes > 0, "there is no room for more waits");
    check_neighbour(&mut shell);
    shell.disk().release();
    shell.run_ms(50);
    assert!(writes.iter().all(|&tag| shell.errno(tag) == Some(0)));
}

/// Slots that reads of a hanging device are to fill are not those that its neighbour's budget promises.
#[test]
fn reads_that_hang_leave_the_slots_that_other_volumes_may_write() {
    let plan =
        Plan { slots: 288, limits: Limits { reserve_slots: 64, ..Limits::small(0, 1) }, ..Plan::default() };
    let mut shell = hanging(Plan { budget: 112, ..plan });
    let reads: Vec<u32> =
        (0..20).map(|run| shell.send(0, 1, Operation::Read, run * 17 * LINE, 16 * LINE)).collect();
    shell.run_ms(50);
    check_neighbour(&mut shell);
    shell.disks[1].borrow_mut().hold(IoKind::Write);
    let writes: Vec<u32> =
        (0..7).map(|run| shell.write_to(1, run * 16 * LINE, 16 * LINE, 5, false)).collect();
    shell.run_ms(1);
    assert!(writes.iter().all(|&tag| shell.errno(tag) == Some(0)), "its budget is 112 lines");
    shell.disk().release();
    shell.run_ms(50);
    assert!(reads.iter().all(|&tag| shell.errno(tag) == Some(0)));
}

/// M9: a hundred replays of a write that is not yet stable wait for more lines than there are places; they take turns.
#[test]
fn replays_take_turns_in_waiting() {
    let mut shell = hanging(Plan::default());
    let write = shell.write_to(0, 0, 16 * LINE, 1, true);
    shell.run_ms(1);
    let replay = |tag| {
        Event::Request(Request {
            session: SessionId(2),
            tag,
            sequence: u64::from(tag),
            volume: VolumeId(0),
            operation: Operation::Write { fua: true },
            offset: 0,
            length: 16 * LINE,
            buffer: 0,
            replay: 1,
            timeout_ms: 0,
        })
    };
    shell.events.extend((1000..1100).map(replay));
    shell.run_ms(10);
    check_neighbour(&mut shell);
    shell.disk().release();
    shell.run_ms(50);
    assert_eq!(shell.errno(write), Some(0));
    assert!((1000..1100).all(|tag| shell.errno(tag) == Some(0)));
    assert_eq!(shell.stable(0), 1);
}
