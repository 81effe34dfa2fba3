//! A session's memory that is gone while the daemon serves: SIGBUS in a reactor ends that session, and nothing else.

use crate::hostile::{Honest, place};
use crate::pattern::{check_backing, check_same, pattern};
use crate::place::LINE;
use crate::raw_client::{RawClient, write};
use crate::running::{Daemon, eventually};
use crate::syscalls::Stopped;
use holdfast_ctl::Exit;
use std::ops::Range;

/// Where the payload begins: a page of the session's, and two pages of each of two rings.
const PAYLOAD: u64 = 4096 + 2 * 8192;

/// Where a daemon has a client's memory.
fn mapped(daemon: &Daemon<'_>, client: &RawClient) -> Range<u64> {
    let inode = rustix::fs::fstat(&client.memory_file).expect("ours").st_ino.to_string();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).expect("it lives");
    let line = maps.lines().find(|line| line.split_whitespace().nth(4) == Some(&inode)).expect("mapped");
    let (start, end) =
        line.split_whitespace().next().and_then(|range| range.split_once('-')).expect("a range");
    let address = |text| u64::from_str_radix(text, 16).expect("an address");
    address(start)..address(end)
}

/// Puts a file without pages in the place of some of the daemon's memory: whoever touches that gets SIGBUS.
fn pull_away(daemon: &Daemon<'_>, memory: Range<u64>, name: u64) {
    let main = eventually("the main thread waits", || Stopped::waiting(daemon.pid()));
    let file = main.call(libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0]).expect("a file");
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
    let length = memory.end - memory.start;
    let put = main.call(libc::SYS_mmap, [memory.start, length, protection, flags, file, 0]).expect("mapped");
    assert_eq!(put, memory.start);
    main.call(libc::SYS_close, [file, 0, 0, 0, 0, 0]).expect("closed");
}

/// A hole in some of the victim's memory, then a write of it.
fn play(hole: impl FnOnce(Range<u64>) -> Range<u64>) {
    let place = place();
    let daemon = Daemon::start(&place);
    let mut honest = Honest::new(&daemon);
    let owner = daemon.client("ram");
    owner.write_at(&pattern(1, 0, 2 * LINE), 0).expect("acknowledged");
    let mut victim = RawClient::connect(&place.clients());
    assert_eq!(daemon.sessions(), 3);
    victim.put(PAYLOAD, &pattern(2, 0, LINE));

    let memory = mapped(&daemon, &victim);
    // Its first page is zeroes: no name for the file.
    pull_away(&daemon, hole(memory.clone()), memory.start + 8);
    honest.work();
    victim.submit(0, &[write(1, 1)]);
    assert!(victim.is_thrown_out());
    eventually("its session is over", || (daemon.sessions() == 2).then_some(()));
    assert!(daemon.log().contains("a client misbehaved"), "the operator is told: {}", daemon.log());

    honest.work();
    let mut data = vec![0; 2 * LINE as usize];
    owner.read_at(&mut data, 0).expect("read");
    check_same(&data, &pattern(1, 0, 2 * LINE), "a write that came to nothing left what was there");
    owner.write_at(&pattern(3, 0, LINE), 0).expect("acknowledged");
    owner.flush().expect("the disk is well");
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
    drop((honest, owner, victim));
    daemon.stop_clean();
    check_backing(&place.file("ram"), 3, 0, LINE);
    check_backing(&place.file("ram"), 1, LINE, LINE);
}

#[test]
fn a_payload_that_is_gone_ends_its_session_only() {
    play(|memory| memory.start + PAYLOAD..memory.end);
}

#[test]
fn rings_that_are_gone_end_their_session_only() {
    play(|memory| memory.start..memory.start + PAYLOAD);
}
