//! Guests and front ends that break every rule: each harms its own disk only.

use super::HANG;
use super::machine::{DEVICE_WRITES, FLUSH, INDIRECT, Machine, NEXT, READ, SIZE, SLOT_BYTES, TABLE, WRITE};
use crate::pattern::pattern;
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use std::io::Write;
use std::os::unix::net::UnixStream;
use vm_memory::{Bytes, GuestAddress};

fn place() -> Place {
    let mut place = Place::new();
    let vm = Volume::file("vm1", &place.file("vm1"), 16 * MIB);
    place.add(&[vm, Volume::file("other", &place.file("other"), 8 * MIB)]);
    place.open_vhost("vm1", "");
    place
}

/// A machine breaks a rule: its queue stands still, nobody else's does, and the next machine finds its disk.
fn breaks(daemon: &Daemon<'_>, what: &str, deed: impl FnOnce(&mut Machine)) {
    let mut machine = Machine::started(&daemon.place.vhost());
    machine.must_write(0, 0, &pattern(1, 0, LINE));
    let before = daemon.log().matches("broke its queues").count();
    deed(&mut machine);
    eventually(what, || (daemon.log().matches("broke its queues").count() > before).then_some(()));
    let client = daemon.client("other");
    client.write_at(&pattern(1, 0, LINE), 0).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(client);
    drop(machine);
    let mut next = Machine::started(&daemon.place.vhost());
    assert_eq!(next.ask(0, READ, 0, LINE as u32), 0, "{what}");
    assert_eq!(next.data(0, LINE as usize), pattern(1, 0, LINE), "{what}");
}

#[test]
fn chains_that_cannot_be_followed_end_that_machine_s_session_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    breaks(&daemon, "a loop", |machine| {
        machine.lay_out(1, WRITE, 0, 512);
        machine.describe(4, Machine::data_at(1), 512, NEXT, 3);
        machine.offer(3);
    });
    breaks(&daemon, "a descriptor outside of the table", |machine| {
        machine.lay_out(1, WRITE, 0, 512);
        machine.describe(3, Machine::data_at(1), 16, NEXT, SIZE);
        machine.offer(3);
    });
    breaks(&daemon, "a head outside of the table", |machine| machine.offer(SIZE + 5));
    breaks(&daemon, "no status", |machine| {
        machine.describe(3, Machine::data_at(1), 16, 0, 0);
        machine.offer(3);
    });
    breaks(&daemon, "a status outside of memory", |machine| {
        machine.lay_out(1, FLUSH, 0, 0);
        machine.describe(5, 1 << 40, 1, DEVICE_WRITES, 0);
        machine.offer(3);
    });
    breaks(&daemon, "something to read behind something to write", |machine| {
        machine.lay_out(1, READ, 0, 512);
        machine.describe(5, Machine::data_at(2), 16, 0, 0);
        machine.offer(3);
    });
    breaks(&daemon, "a table of tables", |machine| {
        machine.describe(3, TABLE, 64, INDIRECT, 0);
        machine.describe(0, TABLE, 64, INDIRECT, 0);
        machine.offer(3);
    });
    breaks(&daemon, "half an entry", |machine| {
        machine.describe(3, TABLE, 17, INDIRECT, 0);
        machine.offer(3);
    });
    breaks(&daemon, "a table outside of memory", |machine| {
        machine.describe(3, u64::MAX - 15, 32, INDIRECT, 0);
        machine.offer(3);
    });
    daemon.stop_clean();
}

#[test]
fn indices_that_cannot_be_end_that_machine_s_session_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    breaks(&daemon, "an index that jumps", |machine| {
        machine.set_available(machine.offered().wrapping_add(SIZE + 1));
    });
    breaks(&daemon, "the same descriptor twice", |machine| {
        daemon.must(&["fault", "vm1", "add", "write", "EIO", "--sequence", HANG]);
        machine.set_write_cache(false);
        machine.write(1, 0, &pattern(1, 0, LINE));
        machine.offer(3);
        eventually("it is found out", || daemon.log().contains("while it is in flight").then_some(()));
        daemon.must(&["fault", "vm1", "clear"]);
    });
    daemon.stop_clean();
}

/// What is wrong with one request is an answer to that one.
#[test]
fn requests_that_make_no_sense_are_answered_with_an_error() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    assert_eq!(machine.ask(0, READ, 16 * MIB, 4096), 1, "behind the end");
    assert_eq!(machine.ask(0, READ, u64::MAX - 511, 4096), 1, "far behind the end");
    assert_eq!(machine.ask(0, WRITE, 0, 100), 1, "no whole sector");
    assert_eq!(machine.ask(0, 77, 0, 512), 2, "an unknown kind");
    machine.lay_out(0, WRITE, 0, 4096);
    machine.describe(1, 8 << 20, 4096, NEXT, 2);
    machine.offer(0);
    assert_eq!(machine.wait(1), [(0, 1)], "data outside of memory");
    machine.lay_out(0, READ, 0, 4096);
    machine.describe(1, (8 << 20) - 512, 4096, NEXT | DEVICE_WRITES, 2);
    machine.offer(0);
    assert_eq!(machine.wait(1), [(0, 1)], "data half outside of memory");
    machine.lay_out(0, WRITE, 0, 4096);
    machine.describe(1, 0, u32::MAX, NEXT, 2);
    machine.offer(0);
    assert_eq!(machine.wait(1), [(0, 1)], "4 GiB of data");
    machine.lay_out(0, WRITE, 0, 0);
    machine.describe(0, Machine::data_at(3), 7, NEXT, 2);
    machine.offer(0);
    assert_eq!(machine.wait(1), [(0, 1)], "half a header");
    machine.must_write(0, 0, &pattern(1, 0, SLOT_BYTES));
    drop(machine);
    daemon.stop_clean();
}

/// SIGBUS in a guest's memory.
#[test]
fn memory_that_vanishes_ends_that_machine_s_session_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    breaks(&daemon, "data that is gone", |machine| {
        machine.lay_out(1, WRITE, 0, 4096);
        machine.describe(4, (4 << 20) + 4096, 4096, NEXT, 5);
        rustix::fs::ftruncate(&machine.file, 4 << 20).expect("truncated");
        machine.offer(3);
    });
    breaks(&daemon, "all of it is gone", |machine| {
        // The test's own mapping would get the signal, too: the daemon sleeps, and is kicked.
        rustix::fs::ftruncate(&machine.file, 0).expect("truncated");
        machine.kick_alone();
    });
    daemon.stop_clean();
}

/// The front end keeps the in-flight region, and writes what it likes into it.
#[test]
fn a_region_full_of_nonsense_harms_its_machine_only() {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut machine = Machine::started(&place.vhost());
    machine.must_write(0, 0, &pattern(1, 0, LINE));
    machine.frontend = None;
    let (told, file) = machine.inflight.as_ref().expect("a region");
    let nonsense = vec![0xff; usize::try_from(told.mmap_size).expect("small")];
    std::os::unix::fs::FileExt::write_all_at(file, &nonsense, 0).expect("written");
    let before = daemon.log().matches("broke its queues").count();
    machine.connect(&place.vhost());
    eventually("nonsense", || (daemon.log().matches("broke its queues").count() > before).then_some(()));
    drop(machine);
    let mut next = Machine::started(&place.vhost());
    assert_eq!(next.ask(0, READ, 0, LINE as u32), 0);
    let (told, file) = next.inflight.take().expect("a region");
    file.set_len(0).expect("truncated");
    next.inflight = Some((told, file));
    next.submit(1, READ, 0, 512);
    eventually("a region that is gone", || {
        (daemon.log().matches("broke its queues").count() > before + 1).then_some(())
    });
    drop(next);
    let mut last = Machine::started(&place.vhost());
    assert_eq!(last.ask(0, READ, 0, LINE as u32), 0);
    drop(last);
    daemon.stop_clean();
}

/// Messages that are none, and silence in the middle of one.
#[test]
fn a_front_end_that_talks_nonsense_is_hung_up_on() {
    let place = place();
    let daemon = Daemon::start(&place);
    for nonsense in
        [&[0xffu8; 64][..], b"GET / HTTP/1.1\r\n\r\n", &[5, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]]
    {
        let mut stream = UnixStream::connect(place.vhost()).expect("it listens");
        stream.write_all(nonsense).expect("it reads");
        drop(stream);
    }
    let mut machine = Machine::started(&place.vhost());
    assert_eq!(machine.ask(0, READ, 0, 512), 0);
    let status: u8 = machine.memory.read_obj(GuestAddress(Machine::status_at(0))).expect("memory");
    assert_eq!(status, 0);
    drop(machine);
    daemon.stop_clean();
}
