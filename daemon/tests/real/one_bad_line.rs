//! One bad line among 10,000: the good ones are written in one sweep, the bad one is named, and it heals.

use crate::pattern::{EIO, check_backing, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually, number, ranges};
use holdfast_ctl::Exit;

const LINES: u64 = 10_000;
const BAD: u64 = 5_003;
/// Bytes of the longest device write: a run of 32 lines or more.
const RUN: u64 = 128 * KIB;

/// The lines, written in an order that is not theirs.
fn write_all(daemon: &Daemon<'_>, version: u64) {
    let client = daemon.client("vm");
    let pieces = LINES / 16;
    for piece in (0..pieces).map(|piece| piece * 7 % pieces) {
        let at = piece * 16 * LINE;
        client.write_at(&pattern(version, at, 16 * LINE), at).expect("acknowledged");
    }
}

#[test]
fn one_bad_line_among_10_000() {
    let mut place = Place::new();
    let volume = Volume::file("vm", &place.file("vm"), 48 * MIB);
    place.add(&[volume.with("budget = \"45MiB\"\nwrite_back = { from = \"100%\", after = \"1h\" }")]);
    place.change("size = \"32MiB\"", "size = \"64MiB\"");
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    let range = format!("{}:{LINE}", BAD * LINE);
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--range", &range]);
    write_all(&daemon, 1);

    let (errno, id) = failure(client.flush());
    assert_eq!(errno, EIO);
    let bad = [(BAD * LINE, LINE)];
    assert_eq!(daemon.extents("vm", "failed"), bad, "all others are clean");
    eventually("the others are clean", || (daemon.bytes("vm", "not_clean_bytes") == LINE).then_some(()));
    let told = daemon.must(&["explain", &format!("{:016x}", id.expect("a name"))]);
    assert_eq!(ranges(&told), bad, "{told}");
    let attempts = number(&told["extents"][0]["refusal"], "attempts");
    let (writes, refused) =
        (daemon.count("vm", "device_writes"), daemon.count("vm", "device_writes_refused"));
    let bytes = daemon.count("vm", "device_write_bytes");
    assert_eq!(bytes, (LINES - 1) * LINE, "each good line is written once");
    // Bisecting a run of 64 lines refuses it 6 times on the way down, then come the attempts at the line itself.
    assert!(refused <= 6 + 20, "{refused} refusals, {attempts} attempts");
    assert!(writes * 100 <= LINES * 105, "{writes} device writes");
    assert!(writes <= LINES * LINE / RUN * 2, "runs, not lines: {writes} device writes");

    assert_ne!(daemon.ctl(&["retry", "vm", "--wait"]).exit, Exit::Ok, "it is still bad");
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    client.flush().expect("nothing is wrong any more");
    assert_eq!(daemon.extents("vm", "failed"), []);
    drop(client);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 1, 0, LINES * LINE);
}
