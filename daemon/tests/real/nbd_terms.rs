//! What a client is promised beyond its bytes: what FUA and a flush cover, in how many chunks a read comes, who may come.

use crate::nbd::{nbdsh, place, uri};
use crate::needs::can_use;
use crate::pattern::on_backing;
use crate::place::{LINE, MIB, Place, Volume, free_ports};
use crate::running::{Daemon, number};
use crate::world::{Loop, run};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What makes `CAN_MULTI_CONN` true: there is one cache behind all connections, and its flush knows no client.
#[test]
fn a_flush_on_one_connection_covers_the_writes_of_another() {
    if !can_use(&["nbdsh"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let script = format!(
        "other = nbd.NBD()
other.connect_uri('{}')
other.pwrite(b'm' * 65536, 1048576)
print(bytes(h.pread(65536, 1048576)) == b'm' * 65536)
h.flush()
print(bytes(open('{}', 'rb').read()[1048576:1114112]) == b'm' * 65536)",
        uri(&place),
        place.file("vm1").display()
    );
    assert_eq!(nbdsh(&uri(&place), &script), "True\nTrue", "seen there, and on the device");
    daemon.stop_clean();
}

/// Its answer is the device's: what was not durable is not answered as if it were.
#[test]
fn a_request_with_fua_is_answered_by_the_device() {
    if !can_use(&["nbdsh"]) {
        return;
    }
    let mut place = place();
    place.retry_by_hand();
    let daemon = Daemon::start(&place);
    let script = "
def tried(what):
    try:
        what()
        print('ok')
    except nbd.Error as error:
        print(error.errno)
tried(lambda: h.pwrite(b'a' * 4096, 0))
tried(lambda: h.pwrite(b'b' * 4096, 1048576, nbd.CMD_FLAG_FUA))
tried(lambda: h.zero(4096, 2097152, nbd.CMD_FLAG_FUA))
tried(lambda: h.trim(4096, 3145728, nbd.CMD_FLAG_FUA))
";
    let write_c = script.replace("b'b'", "b'c'");
    assert_eq!(nbdsh(&uri(&place), script), "ok\nok\nok\nok");
    let durable = on_backing(&place.file("vm1"), MIB, 4096);
    assert!(durable == [b'b'; 4096], "on the device when it was answered");
    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC", "--sequence", "X"]);
    let said = nbdsh(&uri(&place), &write_c);
    assert!(
        said.starts_with("ok\nENOSPC\n"),
        "the plain one is in the cache, the other one on no device: {said}"
    );
    // NBD has no place for the failure's id: the operator finds it.
    let flush = "try:\n    h.flush()\nexcept nbd.Error as error:\n    print(error.errno)";
    assert_eq!(nbdsh(&uri(&place), flush), "ENOSPC");
    let reported = || daemon.must(&["explain"])["reports"].as_array().and_then(|all| all.last().cloned());
    let report = reported().expect("a failed flush");
    assert_eq!((&report["volume"], &report["unresolved"]), (&"vm1".into(), &true.into()), "{report}");
    let explained = daemon.must(&["explain", report["id"].as_str().expect("an id")]);
    assert_eq!(explained["errno"]["name"], "ENOSPC", "{explained}");
    daemon.must(&["fault", "vm1", "clear"]);
    daemon.must(&["retry", "vm1", "--wait"]);
    assert_eq!(reported().expect("it is not forgotten")["unresolved"], false);
    assert_eq!(nbdsh(&uri(&place), "h.flush(); print('flushed')"), "flushed");
    daemon.stop_clean();
}

/// Longer than a piece of the rings, a read comes in as many chunks, but in one if the client says so.
#[test]
fn a_read_that_may_not_be_fragmented_comes_in_one_chunk() {
    if !can_use(&["nbdsh"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let script = "
h.pwrite(b'd' * 1048576, 0)
for flags in (0, nbd.CMD_FLAG_DF):
    chunks = []
    data = h.pread_structured(1048576, 0, lambda part, at, status, error: chunks.append(len(part)) or 0, flags)
    print(len(chunks) > 1, sum(chunks), bytes(data) == b'd' * 1048576)
";
    assert_eq!(nbdsh(&uri(&place), script), "True 1048576 True\nFalse 1048576 True");
    daemon.stop_clean();
}

/// A client is told the block of the disk below, and what does not keep to it is refused, and changes nothing.
#[test]
fn a_disk_of_large_blocks_takes_whole_ones() {
    if !can_use(&["nbdsh", "nbdinfo", "losetup", "blockdev"]) {
        return;
    }
    let mut place = Place::new();
    let file = place.file("disk");
    let before = crate::pattern::pattern(1, 0, 4 * MIB);
    std::fs::write(&file, &before).expect("room");
    let block = Loop::of_blocks(&file, LINE);
    place.add(&[Volume::block("vm1", &block.device)]);
    place.open_nbd("");
    let daemon = Daemon::start(&place);
    let told: serde_json::Value =
        serde_json::from_str(&run("nbdinfo", &["--json", &uri(&place)])).expect("JSON");
    assert_eq!(number(&told["exports"][0], "block_size_minimum"), LINE, "{told}");
    let script = "h.set_strict_mode(0)
def tried(what):
    try:
        what()
        print('ok')
    except nbd.Error as error:
        print(error.errno)
for at, length in ((0, 512), (512, 4096), (4096, 8704), (1044480, 4608)):
    tried(lambda: h.pwrite(b'x' * length, at))
    tried(lambda: h.pwrite(b'x' * length, at, nbd.CMD_FLAG_FUA))
    tried(lambda: h.zero(length, at))
    tried(lambda: h.trim(length, at))
    tried(lambda: h.pread(length, at))
tried(lambda: h.flush())
tried(lambda: h.pwrite(b'y' * 8192, 1044480))";
    let said = nbdsh(&uri(&place), script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, [vec!["EINVAL"; 20], vec!["ok"; 2]].concat(), "{said}");
    daemon.stop_clean();
    drop(block);
    let mut expected = before;
    expected[1_044_480..1_052_672].fill(b'y');
    crate::pattern::check_same(&std::fs::read(&file).expect("ours"), &expected, "on the device");
}

/// Whether a door greets a peer of this host, or closes its connection without a word.
fn greets(address: SocketAddr) -> bool {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut word = [0; 8];
    match socket.read(&mut word).expect("a greeting or an end") {
        0 => false,
        count => {
            assert_eq!(word[..count], b"NBDMAGIC"[..count]);
            true
        }
    }
}

#[test]
fn a_door_over_tcp_is_for_whom_it_names() {
    if !can_use(&["nbdinfo", "nbdcopy"]) {
        return;
    }
    let mut place = Place::new();
    place.add(&[Volume::file("vm1", &place.file("vm1"), MIB)]);
    let [own, named, others] = free_ports();
    place.open_nbd_at(own, "");
    place.open_nbd_at(named, r#"allow = ["10.0.0.0/8", "127.0.0.1/32"]"#);
    place.open_nbd_at(others, r#"allow = ["10.0.0.0/8"]"#);
    let daemon = Daemon::start(&place);
    assert!(greets(own), "without a list: this host");
    assert!(greets(named));
    assert!(!greets(others), "this host is not in the list");
    assert!(daemon.log().contains("not in 'allow'"), "and the log says why: {}", daemon.log());
    let from = place.file("original");
    std::fs::write(&from, crate::pattern::pattern(2, 0, MIB)).expect("an image");
    run("nbdcopy", &["--flush", from.to_str().expect("plain"), &format!("nbd://{own}/vm1")]);
    crate::pattern::check_backing(&place.file("vm1"), 2, 0, MIB);
    daemon.stop_clean();
}
