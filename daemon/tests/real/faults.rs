//! Faults on demand, asked for by an operator: sequences, each letter of them.

use crate::pattern::{EIO, ENOSPC, check_backing, check_same, failure, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ctl::Exit;

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    place
}

#[test]
fn x_fails_one_write_and_the_next_attempt_heals_it() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "x"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, EIO, "failed after a permitted attempt");
    eventually("the flush after the next attempt", || client.flush().ok());
    assert_eq!(daemon.count("vm", "device_writes_refused"), 1);
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINE);
}

#[test]
fn w_passes_one_write_and_upper_x_fails_all_from_then_on() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "wX"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    client.flush().expect("the first passes");
    client.write_at(&pattern(2, 0, LINE), 0).expect("acknowledged");
    let first = failure(client.flush());
    assert_eq!(first.0, ENOSPC);
    for _ in 0..3 {
        assert_eq!(failure(daemon.client("vm").flush()), first, "same set, same id, every session");
    }
    let mut data = vec![0; LINE as usize];
    client.read_at(&mut data, 0).expect("held");
    check_same(&data, &pattern(2, 0, LINE), "a read never goes back");
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    client.flush().expect("retried, written and not failing any more");
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 2, 0, LINE);
}

/// Reads fail and a write-back of another line goes on: the failures know their operations.
#[test]
fn a_fault_meets_its_operation_and_range_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    let range = format!("{STRIPE}:{LINE}");
    daemon.must(&["fault", "vm", "add", "read", "EIO", "--range", &range, "--sequence", "X"]);
    let mut data = vec![0; LINE as usize];
    assert_eq!(failure(client.read_at(&mut data, STRIPE)).0, EIO);
    client.read_at(&mut data, STRIPE + LINE).expect("beside the range");
    client.write_at(&pattern(1, STRIPE, LINE), STRIPE).expect("acknowledged");
    client.flush().expect("writes are well");
    client.read_at(&mut data, STRIPE).expect("a hit");
    check_same(&data, &pattern(1, STRIPE, LINE), "a hit");
    drop(client);
    daemon.stop_clean();
}

/// After a failed device flush nothing that was written before it counts as written (C7).
#[test]
fn a_device_flush_that_failed_makes_everything_dirty_again() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    daemon.must(&["fault", "vm", "add", "flush", "EIO", "--sequence", "x"]);
    assert_eq!(failure(client.flush()).0, EIO);
    eventually("the flush after the failed one", || client.flush().ok());
    assert!(daemon.count("vm", "device_writes") >= 2, "written again, not believed");
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINE);
}

#[test]
fn evicted_data_is_eio_whatever_its_cause_until_it_is_acknowledged_or_overwritten() {
    let mut place = Place::new();
    let volume = Volume::file("vm", &place.file("vm"), 8 * MIB);
    place.add(&[volume.policy(r#"{ kind = "evict-immediately" }"#)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    client.write_at(&pattern(1, 0, 4 * LINE), 0).expect("acknowledged");
    eventually("the loss of all four lines", || {
        let (errno, _) = failure(client.flush());
        (errno == EIO && daemon.extents("vm", "lost") == [(0, 4 * LINE)]).then_some(())
    });
    let mut data = vec![0; LINE as usize];
    assert_eq!(failure(client.read_at(&mut data, LINE)).0, EIO);
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Faulted);
    daemon.must(&["fault", "vm", "clear"]);
    eventually("a write after the disk is well", || client.write_at(&pattern(2, LINE, LINE), LINE).ok());
    client.read_at(&mut data, LINE).expect("overwritten");
    check_same(&data, &pattern(2, LINE, LINE), "what was written over a loss");
    assert_eq!(failure(client.flush()).0, EIO, "three lines are still lost");
    eventually("the heal on record", || {
        let _ = client.flush();
        (daemon.extents("vm", "lost") == [(0, LINE), (2 * LINE, 2 * LINE)]).then_some(())
    });
    daemon.must(&["ack-loss", "vm", "--yes"]);
    client.flush().expect("nothing is wrong any more");
    client.read_at(&mut data, 0).expect("as the disk has it");
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 2, LINE, LINE);
}

/// A flush that stalls is no error as long as it waits: reads and writes pass it, and it succeeds when the cause is gone.
#[test]
fn a_parked_flush_waits_for_the_disk_to_heal() {
    let mut place = Place::new();
    let volume = Volume::file("vm", &place.file("vm"), 8 * MIB);
    place.add(&[volume.with(r#"flush_on_failure = { kind = "stall", timeout = "1h" }"#)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC"]);
    client.write_at(&pattern(1, STRIPE - LINE, 2 * LINE), STRIPE - LINE).expect("acknowledged");
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| client.flush());
        // Each reactor has its part of it.
        eventually("both parts are parked", || (daemon.bytes("vm", "parked_flushes") == 2).then_some(()));
        let mut data = vec![0; 2 * LINE as usize];
        client.read_at(&mut data, STRIPE - LINE).expect("a read passes it");
        check_same(&data, &pattern(1, STRIPE - LINE, 2 * LINE), "held");
        client.write_at(&pattern(2, 0, LINE), 0).expect("a write passes it");
        assert!(!flush.is_finished(), "nothing is well yet");
        daemon.must(&["fault", "vm", "clear"]);
        flush.join().expect("the thread").expect("the cause is gone");
    });
    assert_eq!(daemon.count("vm", "flushes_failed"), 0);
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, STRIPE - LINE, 2 * LINE);
}
