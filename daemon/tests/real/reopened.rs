//! A device that goes away under a client that reads, writes and flushes all the while, and comes back under another path.

use crate::ill_disks::limit;
use crate::needs::can_use;
use crate::pattern::{EIO, on_backing};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use crate::world::Loop;
use holdfast_ctl::Exit;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BYTES: u64 = 8 * MIB;
/// Where it writes, a line each: in the stripes of every reactor.
const PLACES: u64 = 128;

/// One connection that writes a line, reads another one back, and flushes after every eighth, until it is told to end. Writes
/// and reads never fail; what flushes answer is counted. It leaves the last byte that each place got, and its counts.
const CLIENT: &str = "
import os
places, step = 128, 65536
last, turns, good, bad, other = [0] * places, 0, 0, 0, 0
def told():
    with open('counts.new', 'w') as file: file.write(f'{turns} {good} {bad} {other}')
    os.rename('counts.new', 'counts')
while not os.path.exists('stop'):
    turns += 1
    here, there, byte = turns * 37 % places, turns * 53 % places, turns % 251 + 1
    h.pwrite(bytes([byte]) * 4096, here * step)
    last[here] = byte
    found = h.pread(4096, there * step)
    assert found == bytes([last[there]]) * 4096, f'turn {turns}: {found[:8]} and not {last[there]}'
    if turns % 8 == 0:
        try:
            h.flush()
            good += 1
        except nbd.Error as error:
            bad += error.errno == 'EIO'
            other += error.errno != 'EIO'
        told()
h.flush()
with open('last', 'wb') as file: file.write(bytes(last))
";

/// It, and where its files are.
struct Busy {
    child: Child,
    place: PathBuf,
}

/// How often it went round; flushes that were answered well, with EIO, and with anything else.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    turns: u64,
    good: u64,
    bad: u64,
    other: u64,
}

impl Busy {
    fn start(place: &Place) -> Busy {
        let uri = format!("nbd+unix:///vm1?socket={}", place.nbd().display());
        let words = File::create(place.file("client")).expect("its words");
        let mut client = Command::new("nbdsh");
        client.args(["-u", &uri, "-c", CLIENT]).env("PATH", "/usr/bin:/bin").current_dir(place.disk.path());
        let child = client.stdout(Stdio::null()).stderr(words).spawn().expect("nbdsh");
        Busy { child, place: place.disk.path().to_owned() }
    }

    fn counts(&mut self) -> Counts {
        if let Some(status) = self.child.try_wait().expect("ours") {
            panic!("the client ended, {status}: {}", self.words());
        }
        let text = std::fs::read_to_string(self.place.join("counts")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
        match [(); 4].map(|()| numbers.next()) {
            [Some(turns), Some(good), Some(bad), Some(other)] => Counts { turns, good, bad, other },
            _ => Counts::default(),
        }
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.place.join("client")).unwrap_or_default()
    }

    /// Lets it go on until its counts have grown from what they are now.
    fn until(&mut self, what: &str, grown: impl Fn(Counts, Counts) -> bool) -> Counts {
        let before = self.counts();
        eventually(what, || Some(self.counts()).filter(|now| grown(before, *now)))
    }

    /// Ends it, with a flush that must succeed: the last byte of each place.
    fn end(mut self) -> Vec<u8> {
        std::fs::write(self.place.join("stop"), "").expect("room");
        let status = eventually("the client's end", || self.child.try_wait().expect("ours"));
        assert!(status.success(), "{}", self.words());
        std::fs::read(self.place.join("last")).expect("what it wrote")
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sparse(path: &Path) -> Loop {
    File::create(path).and_then(|file| file.set_len(BYTES)).expect("a sparse file");
    Loop::over(path)
}

/// C1, C3, C5 and C7 across `volume reopen --path`: the client of one NBD connection never has a write or a read fail; its
/// flushes fail from when the device is gone until it is opened elsewhere; and in the end the disk has all of it, the old
/// device being taken away.
#[test]
fn an_nbd_client_goes_on_while_its_device_comes_back_elsewhere() {
    if !can_use(&["nbdsh", "losetup"]) {
        return;
    }
    let mut place = Place::new();
    let disk = place.file("disk");
    let (old, foreign) = (sparse(&disk), sparse(&place.file("foreign")));
    place.add(&[Volume::block("vm1", &old.device).policy(r#"{ kind = "hold-forever" }"#)]);
    place.open_nbd("");
    let daemon = Daemon::start(&place);
    let mut client = Busy::start(&place);
    // What nobody has written or read is not in the cache, and cannot be read from a device that is gone.
    client.until("all places are written, and flushes succeed", |_, now| now.turns > 2 * PLACES);
    assert_eq!((client.counts().bad, client.counts().other), (0, 0));

    limit(&old.device, 1);
    client.until("flushes fail, and the client goes on", |before, now| {
        now.bad > before.bad + 2 && now.turns > before.turns + PLACES
    });
    let codes = eventually("health tells that the device is gone", || {
        let told = daemon.ctl(&["health"]).json.to_string();
        told.contains("HF_DEVICE_GONE").then_some(told)
    });
    assert!(!codes.contains("HF_LOST_EXTENTS"), "{codes}");
    let back = Loop::over(&disk);
    let wrong = daemon.ctl(&["volume", "reopen", "vm1", "--path", foreign.words()]);
    assert_eq!(wrong.exit, Exit::Incomplete, "another disk is not this volume's: {wrong:?}");
    let held = client.until("the client goes on", |before, now| now.turns > before.turns + PLACES);
    daemon.must(&["volume", "reopen", "vm1", "--path", back.words()]);
    let well = client.until("flushes succeed again", |before, now| now.good > before.good + 4);
    assert!(well.bad > 0 && held.turns < well.turns, "{held:?}, {well:?}");

    // Nobody has it any more: with the old device away, everything goes on.
    drop(old);
    let gone = client.counts();
    let on = client.until("the client goes on without the old device", |before, now| {
        now.turns > before.turns + PLACES && now.good > before.good + 4
    });
    assert_eq!((on.bad, on.other), (gone.bad, 0), "EIO ({EIO}) is all that a flush told, and none any more");
    let last = client.end();
    assert_eq!(daemon.extents("vm1", "lost"), []);
    daemon.stop_clean();
    for (at, &byte) in (0..PLACES).zip(&last) {
        let found = on_backing(&disk, at * 65536, LINE);
        assert!(found == [byte; LINE as usize], "place {at}: {} and not {byte}", found[0]);
    }
}
