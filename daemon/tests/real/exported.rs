//! `export` and `import`: what is held is saved while the daemon runs, and brought back as it was.

use crate::pattern::{EIO, ENOSPC, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, Volume};
use crate::running::{Daemon, number};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::Client;
use serde_json::Value;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// What is written and refused: around the border of two stripes, a line by itself, and part of a line.
const HELD: [(u64, u64); 3] = [(MIB - 32 * KIB, 64 * KIB), (3 * MIB, LINE), (5 * MIB + 512, 1024)];

fn words(path: &Path) -> &str {
    path.to_str().expect("plain")
}

fn manifest_of(file: &Path) -> Value {
    let path = format!("{}.json", file.display());
    serde_json::from_slice(&std::fs::read(path).expect("a manifest")).expect("JSON")
}

/// A daemon whose volume holds what its disk refused.
fn holding<'a>(place: &'a Place, daemon: &Daemon<'a>, errno: (&str, i32)) -> Client {
    daemon.must(&["fault", "vm", "add", "write", errno.0]);
    let client = daemon.client("vm");
    for (offset, length) in HELD {
        client.write_at(&pattern(7, offset, length), offset).expect("acknowledged");
    }
    assert_eq!(failure(client.flush()).0, errno.1);
    assert!(place.file("vm.img").exists());
    client
}

fn check_held(client: &Client, what: &str) {
    for (offset, length) in HELD {
        let mut data = vec![0; length as usize];
        client.read_at(&mut data, offset).expect(what);
        check_same(&data, &pattern(7, offset, length), what);
    }
}

/// The whole way at 3 a.m.: held, saved, given up by somebody, brought back, healed.
#[test]
fn what_is_held_is_saved_and_brought_back_after_it_was_lost() {
    let mut place = Place::new();
    let backing = place.file("vm.img");
    place.add(&[Volume::file("vm", &backing, 8 * MIB)]);
    place.retry_by_hand();
    let daemon = Daemon::start(&place);
    let client = holding(&place, &daemon, ("EIO", EIO));

    let saved = place.file("saved");
    let told = daemon.must(&["export", "vm", "--failed", "--to", words(&saved)]);
    let bytes: u64 = HELD.iter().map(|(_, length)| length).sum();
    assert_eq!(number(&told, "saved_bytes"), bytes, "{told}");
    assert_eq!(number(&told, "unreadable_bytes") + number(&told, "changed_bytes"), 0, "{told}");
    let (manifest, metadata) = (manifest_of(&saved), saved.metadata().expect("saved"));
    assert_eq!((metadata.len(), metadata.mode() & 0o777), (8 * MIB, 0o600));
    assert!(metadata.blocks() * 512 < MIB, "sparse: {} blocks", metadata.blocks());
    assert_eq!(manifest["volume"], "vm");
    assert_eq!(manifest["ranges"][0]["refusal"]["errno"]["name"], "EIO", "{manifest}");
    let file = std::fs::File::open(&saved).expect("saved");
    for (offset, length) in HELD {
        let mut data = vec![0; length as usize];
        file.read_exact_at(&mut data, offset).expect("saved");
        check_same(&data, &pattern(7, offset, length), "what was held is in the file");
    }

    // An export replaces nothing, and an import needs to be meant.
    assert_eq!(daemon.ctl(&["export", "vm", "--failed", "--to", words(&saved)]).exit, Exit::Usage);
    assert_eq!(daemon.ctl(&["import", "vm", "--from", words(&saved)]).exit, Exit::Usage);

    daemon.must(&["drop", "vm", "--yes-lose-data"]);
    daemon.must(&["fault", "vm", "clear"]);
    assert_eq!(failure(client.flush()).0, EIO, "the loss is a loss");
    let trial = daemon.must(&["import", "vm", "--from", words(&saved), "--dry-run"]);
    assert_eq!((number(&trial, "verified_bytes"), number(&trial, "written_bytes")), (bytes, 0));
    assert!(daemon.bytes("vm", "lost_bytes") > 0, "a trial writes nothing");
    let done = daemon.must(&["import", "vm", "--from", words(&saved), "--yes-overwrite"]);
    assert_eq!(number(&done, "written_bytes"), bytes);
    assert_eq!(daemon.extents("vm", "lost"), []);
    client.flush().expect("healed by what was brought back");
    check_held(&client, "as it was");
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
    drop(client);
    daemon.stop_clean();
}

/// Whatever of file or manifest was changed since: refused by name, and not one byte is written.
#[test]
fn an_import_of_what_is_not_what_was_exported_writes_nothing() {
    let mut place = Place::new();
    let backing = place.file("vm.img");
    place.add(&[Volume::file("vm", &backing, 8 * MIB), Volume::file("small", &place.file("small.img"), MIB)]);
    let daemon = Daemon::start(&place);
    let client = holding(&place, &daemon, ("ENOSPC", ENOSPC));
    let saved = place.file("saved");
    // Behind a full disk only a probe failed; the rest waits. Who saves what failed is told that there is more.
    let failed = daemon.must(&["export", "vm", "--failed", "--to", words(&place.file("failed"))]);
    let all = daemon.must(&["export", "vm", "--dirty", "--to", words(&saved)]);
    let bytes: u64 = HELD.iter().map(|(_, length)| length).sum();
    assert_eq!((number(&all, "saved_bytes"), number(&all, "other_bytes")), (bytes, 0), "{all}");
    assert!(number(&failed, "saved_bytes") + number(&failed, "other_bytes") >= bytes, "{failed}");
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    // What the clients did since is what an import must not touch by mistake.
    for (offset, length) in HELD {
        client.write_at(&pattern(9, offset, length), offset).expect("acknowledged");
    }
    client.flush().expect("stable");
    let writes = daemon.count("vm", "writes");
    let refused = |arguments: &[&str], expected: &str| {
        let told =
            daemon.ctl(&[&["import"], arguments, &["--from", words(&saved), "--yes-overwrite"]].concat());
        assert_eq!(told.exit, Exit::Usage, "{told:?}");
        let message = told.json["error"]["message"].as_str().expect("words").to_owned();
        assert!(message.contains(expected), "{expected:?} is not in {message:?}");
    };
    let path = format!("{}.json", saved.display());
    let whole = std::fs::read_to_string(&path).expect("a manifest");
    let with_manifest = |text: &str, expected: &str| {
        std::fs::write(&path, text).expect("ours");
        refused(&["vm"], expected);
        std::fs::write(&path, &whole).expect("ours");
    };
    refused(&["small"], "this is data of volume 'vm', not of 'small'");
    refused(&["small", "--other-volume"], "volume 'small' has 1048576");
    refused(&["nowhere"], "There is no volume 'nowhere'");
    with_manifest("", "is not the JSON of a manifest");
    with_manifest("{}", "is not the JSON of a manifest");
    with_manifest(&whole.replace("holdfast-export", "something"), "its format is 'something'");
    with_manifest(&whole.replace("\"version\": 1", "\"version\": 7"), "it has version 7");
    with_manifest(&whole.replacen("\"length\": ", "\"length\": 99", 1), "its range 0");
    let file = OpenOptions::new().read(true).write(true).open(&saved).expect("saved");
    let (last, length) = HELD[2];
    let mut byte = [0];
    file.read_exact_at(&mut byte, last + length - 1).expect("saved");
    file.write_all_at(&[!byte[0]], last + length - 1).expect("ours");
    refused(&["vm"], "is damaged between");
    file.write_all_at(&byte, last + length - 1).expect("ours");
    file.set_len(4 * MIB).expect("ours");
    refused(&["vm"], "has 4194304 bytes, its manifest says");

    assert_eq!(daemon.count("vm", "writes"), writes, "nothing was written");
    for (offset, length) in HELD {
        let mut data = vec![0; length as usize];
        client.read_at(&mut data, offset).expect("readable");
        check_same(&data, &pattern(9, offset, length), "what the client wrote is there");
    }
    drop(client);
    daemon.stop_clean();
}

/// A client goes on writing while its data is saved: each range is whole, and what changed is said.
#[test]
fn an_export_beside_a_busy_client_says_what_changed() {
    let mut place = Place::new();
    let backing = place.file("vm.img");
    place.add(&[Volume::file("vm", &backing, 8 * MIB).with(r#"budget = "8MiB""#)]);
    let daemon = Daemon::start(&place);
    let client = holding(&place, &daemon, ("ENOSPC", ENOSPC));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                value += 1;
                let (offset, length) = HELD[1];
                client.write_at(&vec![value; length as usize], offset).expect("acknowledged");
                value %= 250;
            }
        });
        for round in 0..5 {
            let saved = place.file(&format!("saved{round}"));
            let told = daemon.ctl(&["export", "vm", "--dirty", "--to", words(&saved)]);
            assert_eq!(told.exit, Exit::Ok, "{told:?}");
            let file = std::fs::File::open(&saved).expect("saved");
            let (offset, length) = HELD[1];
            let mut data = vec![0; length as usize];
            file.read_exact_at(&mut data, offset).expect("saved");
            assert!(
                data.chunks(512).all(|sector| sector.iter().all(|&byte| byte == sector[0])),
                "no torn sector"
            );
            // What it says of itself is what is in it.
            let trial = daemon.ctl(&["import", "vm", "--from", words(&saved), "--dry-run"]);
            assert_eq!(trial.exit, Exit::Ok, "{trial:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    drop(client);
    daemon.stop_clean();
}
