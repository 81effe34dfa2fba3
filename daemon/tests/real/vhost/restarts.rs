//! A daemon that dies under a running machine (M9): nothing is lost, nothing happens twice.

use super::HANG;
use super::machine::{FLUSH, GET_ID, Machine, READ};
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};

const BYTES: u64 = 16 * MIB;

fn place() -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm1", &place.file("vm1"), BYTES).with("io_timeout = \"1h\"");
    place.add(&[volume]);
    place.open_vhost("vm1", "");
    place
}

fn hang(daemon: &Daemon<'_>) {
    daemon.must(&["fault", "vm1", "add", "write", "EIO", "--sequence", HANG]);
}

#[test]
fn a_machine_tells_the_name_of_its_disk_and_is_called() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    assert_eq!(machine.ask(0, GET_ID, 0, 20), 0);
    assert_eq!(machine.data(0, 20), b"vm1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    eventually("a call", || machine.was_called().then_some(()));
    drop(machine);
    daemon.stop_clean();
}

/// With the write cache off, an answer means stable media; with it on, it means the cache.
#[test]
fn without_a_write_cache_writes_wait_for_the_device() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    hang(&daemon);
    machine.must_write(0, 0, &pattern(1, 0, LINE));
    machine.set_write_cache(false);
    machine.write(1, STRIPE, &pattern(1, STRIPE, LINE));
    assert_eq!(machine.ask(2, READ, STRIPE, LINE as u32), 0, "it is in the cache");
    check_same(&machine.data(2, LINE as usize), &pattern(1, STRIPE, LINE), "read");
    assert_eq!(machine.answers(), [], "and not on the device");
    daemon.must(&["fault", "vm1", "clear"]);
    assert_eq!(machine.wait(1), [(1, 0)]);
    check_backing(&place.file("vm1"), 1, STRIPE, LINE);
    drop(machine);
    daemon.stop_clean();
}

#[test]
fn what_was_in_flight_is_answered_once_by_the_next_daemon() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    machine.set_write_cache(false);
    hang(&daemon);
    for slot in 0..8 {
        let offset = u64::from(slot) * (STRIPE / 2);
        machine.write(slot, offset, &pattern(u64::from(slot) + 1, offset, 2 * LINE));
    }
    machine.submit(8, FLUSH, 0, 0);
    // The daemon has them all: it reads what was just written.
    assert_eq!(machine.ask(9, READ, 7 * (STRIPE / 2), LINE as u32), 0);
    let mut answers = machine.answers();
    assert_eq!(answers, [], "nothing is on the device");
    for life in 0..3 {
        daemon.kill();
        machine.frontend = None;
        // The next daemon may have written some of it before it is told to hang.
        answers.extend(machine.answers());
        daemon = Daemon::start(&place);
        hang(&daemon);
        machine.connect(&place.vhost());
        machine.submit(9, READ, 3 * (STRIPE / 2), LINE as u32);
        answers.extend(machine.wait_for(9));
        check_same(
            &machine.data(9, LINE as usize),
            &pattern(4, 3 * (STRIPE / 2), LINE),
            &format!("life {life}: acknowledged to nobody, and there"),
        );
    }
    daemon.must(&["fault", "vm1", "clear"]);
    let left = 9 - answers.len();
    answers.extend(machine.wait(left));
    answers.sort_unstable();
    assert_eq!(answers, (0..9).map(|slot| (slot, 0)).collect::<Vec<_>>());
    for slot in 0..8u64 {
        check_backing(&place.file("vm1"), slot + 1, slot * (STRIPE / 2), 2 * LINE);
    }
    assert_eq!(machine.ask(0, FLUSH, 0, 0), 0, "and the queue goes on");
    drop(machine);
    daemon.stop_clean();
}

/// An older write that was not answered must not come back over a newer one that was.
#[test]
fn a_write_that_happened_does_not_happen_again() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    machine.set_write_cache(false);
    hang(&daemon);
    machine.write(0, 0, &pattern(1, 0, LINE));
    assert_eq!(machine.ask(9, READ, 0, LINE as u32), 0);
    check_same(&machine.data(9, LINE as usize), &pattern(1, 0, LINE), "the first write");
    machine.set_write_cache(true);
    machine.must_write(1, 0, &pattern(2, 0, LINE));
    assert_eq!(machine.used(), 2, "the first write is not answered");
    daemon.kill();
    machine.frontend = None;
    daemon = Daemon::start(&place);
    machine.connect(&place.vhost());
    assert_eq!(machine.wait(1), [(0, 0)]);
    assert_eq!(machine.ask(9, READ, 0, LINE as u32), 0);
    check_same(&machine.data(9, LINE as usize), &pattern(2, 0, LINE), "the newer write");
    assert_eq!(machine.ask(0, FLUSH, 0, 0), 0);
    check_backing(&place.file("vm1"), 2, 0, LINE);
    drop(machine);
    daemon.stop_clean();
}

/// The front end stops the queue with requests in flight and starts it again: as if the daemon had been another.
#[test]
fn a_queue_that_is_stopped_goes_on_where_it_was() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    machine.must_write(0, 0, &pattern(1, 0, LINE));
    machine.set_write_cache(false);
    hang(&daemon);
    machine.write(1, STRIPE, &pattern(3, STRIPE, LINE));
    assert_eq!(machine.ask(9, READ, STRIPE, LINE as u32), 0);
    let base = vhost::VhostBackend::get_vring_base(machine.frontend.as_ref().expect("connected"), 0);
    assert_eq!(base.expect("stopped"), 3, "three requests were taken");
    machine.frontend = None;
    machine.connect(&place.vhost());
    assert_eq!(machine.ask(9, READ, STRIPE, LINE as u32), 0);
    check_same(&machine.data(9, LINE as usize), &pattern(3, STRIPE, LINE), "held");
    // What the guest said of its write cache holds, though nobody has said it again.
    assert_eq!(machine.answers(), []);
    daemon.must(&["fault", "vm1", "clear"]);
    assert_eq!(machine.wait(1), [(1, 0)]);
    drop(machine);
    daemon.stop_clean();
}
