//! The ledger's own disk is full or fails, while the volume's disk refuses, too: nobody is told what is not on record,
//! nothing is freed, and all goes on by itself when the ledger can be written again.

use crate::needs::can_use;
use crate::pattern::{EIO, ENOSPC, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};
use crate::world::{Fuse, Loop, Mount, fill_up, run};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::Client;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Across the border of two reactors.
const AT: (u64, u64) = (STRIPE - 32 * KIB, 64 * KIB);
const DISK_BYTES: u64 = 32 * MIB;

/// A file system of its own under the state directory, which can be made unwritable and be mended.
struct StateDisk {
    filler: PathBuf,
    inject: Option<PathBuf>,
    // In the order in which they must go.
    _mount: Mount,
    _device: Loop,
    _fuse: Option<Fuse>,
    _directory: TempDir,
}

impl StateDisk {
    /// An ext4 that can be filled up.
    fn ext4(state: &Path) -> StateDisk {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("an image");
        let device = Loop::over(&image);
        StateDisk::on(state, device, None, None, directory)
    }

    /// An ext4 over a disk that can be told to answer EIO to every write.
    fn failing(state: &Path) -> StateDisk {
        let directory = tempfile::tempdir().expect("a directory");
        let inject = directory.path().join("inject");
        let file = format!("error-file={}", inject.display());
        let nbdkit = ["--filter=error", "memory", "32M", "error=EIO", "error-pwrite-rate=100%", &file];
        let fuse = Fuse::start(directory.path(), DISK_BYTES, &nbdkit);
        let device = Loop::over(&fuse.file);
        StateDisk::on(state, device, Some(fuse), Some(inject), directory)
    }

    fn on(
        state: &Path,
        device: Loop,
        fuse: Option<Fuse>,
        inject: Option<PathBuf>,
        directory: TempDir,
    ) -> StateDisk {
        std::fs::create_dir_all(state).expect("a place to mount on");
        let path = device.device.to_str().expect("plain");
        // A journal that could not be written makes ext4 read-only for good; without one it goes on.
        run("mkfs.ext4", &["-qF", "-O", "^has_journal", path]);
        run("mount", &["-o", "errors=continue", path, state.to_str().expect("plain")]);
        let filler = state.join("filler");
        StateDisk {
            filler,
            inject,
            _mount: Mount(state.to_owned()),
            _device: device,
            _fuse: fuse,
            _directory: directory,
        }
    }

    fn break_it(&self) {
        match &self.inject {
            Some(inject) => std::fs::write(inject, "").expect("broken"),
            None => fill_up(&self.filler),
        }
    }

    fn mend(&self) {
        std::fs::remove_file(self.inject.as_ref().unwrap_or(&self.filler)).expect("mended");
    }
}

fn place(policy: &str) -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB).policy(policy)]);
    place
}

const HOLD: &str = r#"{ kind = "hold-forever", stall_timeout = "1s" }"#;
const EVICT: &str = r#"{ kind = "evict-immediately" }"#;

/// What `status` says of the ledger, if it says something.
fn ledgers_reason(daemon: &Daemon<'_>) -> Option<serde_json::Value> {
    let told = daemon.ctl(&["status"]).json;
    let reasons = told["reasons"].as_array()?.clone();
    reasons.into_iter().find(|reason| reason["code"] == "HF_LEDGER_STUCK")
}

fn check_held(client: &Client) {
    let mut data = vec![0; AT.1 as usize];
    client.read_at(&mut data, AT.0).expect("held");
    check_same(&data, &pattern(2, AT.0, AT.1), "nothing was freed");
}

/// The volume's disk refuses and the ledger cannot be written: a flush waits, `status` says why. `then` is what holds when
/// the ledger's disk is mended, with the flush's answer.
fn play(
    policy: &str,
    errno: &str,
    disk: impl Fn(&Path) -> StateDisk,
    then: impl FnOnce(&Daemon<'_>, &Client, i32),
) {
    let place = place(policy);
    let state = disk(&place.file("state"));
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, AT.0, AT.1), AT.0).expect("acknowledged");
    client.flush().expect("all is well");

    state.break_it();
    daemon.must(&["fault", "vm", "add", "write", errno, "--sequence", "X"]);
    client.write_at(&pattern(2, AT.0, AT.1), AT.0).expect("acknowledged");
    // No scoped thread: it would keep a test that has failed from ending.
    let flusher = daemon.client("vm");
    let flush = std::thread::spawn(move || failure(flusher.flush()));
    let reason = eventually("the ledger's trouble is seen", || ledgers_reason(&daemon));
    let words = reason.to_string();
    assert!(words.contains("df -h") && words.contains("state"), "the way out is said: {words}");
    // The volume's disk goes on refusing, the policy has long made up its mind, the ledger's disk is tried again.
    let refused = daemon.count("vm", "device_writes_refused");
    eventually("more attempts", || (daemon.count("vm", "device_writes_refused") > refused).then_some(()));
    eventually("transitions wait", || {
        ledgers_reason(&daemon).filter(|reason| !reason["status"].to_string().contains(" 0 transitions"))
    });
    assert!(!flush.is_finished(), "answered without a record");
    assert_eq!(daemon.extents("vm", "lost"), []);
    check_held(&daemon.client("vm"));
    assert_ne!(daemon.ctl(&["status"]).exit, Exit::Ok);

    state.mend();
    let answer = flush.join().expect("the flush");
    eventually("the ledger goes on by itself", || ledgers_reason(&daemon).is_none().then_some(()));
    let id = answer.1.expect("a failed flush has a name");
    let told = daemon.must(&["explain", &format!("{id:016x}")]);
    assert_eq!(crate::running::ranges(&told), [AT], "{told}");
    then(&daemon, &client, answer.0);
    // What was told is on record: the next daemon knows it.
    let lost_or_held = [daemon.extents("vm", "lost"), daemon.extents("vm", "failed")].concat();
    assert!(!lost_or_held.is_empty());
    drop(client);
    let mut daemon = daemon;
    daemon.kill();
    drop(daemon);
    let daemon = Daemon::start_with(&place, &["--discard-arena"], |_| {});
    assert_eq!(daemon.extents("vm", "lost"), [AT], "the record survived");
    drop(daemon);
}

fn held(daemon: &Daemon<'_>, client: &Client, errno: i32) {
    assert_eq!(errno, ENOSPC);
    assert_eq!(daemon.extents("vm", "lost"), []);
    check_held(client);
}

fn given_up(daemon: &Daemon<'_>, client: &Client, errno: i32) {
    assert_eq!(errno, EIO);
    eventually("all of it is given up", || (daemon.extents("vm", "lost") == [AT]).then_some(()));
    let mut data = vec![0; LINE as usize];
    assert_eq!(failure(client.read_at(&mut data, AT.0)).0, EIO, "lost, and on record");
    assert_eq!(failure(client.flush()).0, EIO);
}

/// The ledger's disk does not even refuse: `status` says so, and whoever waits for the ledger keeps nobody else waiting.
#[test]
fn a_ledger_that_hangs_is_told_of() {
    if !can_use(&["mount", "losetup", "mkfs.ext4", "fsfreeze"]) {
        return;
    }
    let place = place(HOLD);
    let state = StateDisk::ext4(&place.file("state"));
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    client.write_at(&pattern(2, AT.0, AT.1), AT.0).expect("acknowledged");
    let frozen = Frozen::freeze(&place.file("state"));
    let flusher = daemon.client("vm");
    let flush = std::thread::spawn(move || failure(flusher.flush()));
    let socket = place.admin().display().to_string();
    let asks = std::thread::spawn(move || {
        let mut ctl = std::process::Command::new(env!("CARGO_BIN_EXE_holdfastd"));
        ctl.args(["ctl", "--socket", &socket, "explain", "1"]).output().expect("the program")
    });
    let reason = eventually("the ledger's trouble is seen", || ledgers_reason(&daemon));
    let words = reason["status"].to_string();
    assert!(words.contains("ETIMEDOUT") && !words.contains(" 0 transitions"), "{words}");
    assert!(!flush.is_finished(), "answered without a record");
    check_held(&client);
    drop(frozen);
    assert_eq!(flush.join().expect("the flush").0, ENOSPC);
    asks.join().expect("it is answered in the end");
    eventually("the ledger goes on by itself", || ledgers_reason(&daemon).is_none().then_some(()));
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    client.flush().expect("all is well");
    drop(client);
    daemon.stop_clean();
    drop(state);
}

/// A file system on which every write waits.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(mounted: &Path) -> Frozen {
        run("fsfreeze", &["-f", mounted.to_str().expect("plain")]);
        Frozen(mounted.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run("fsfreeze", &["-u", self.0.to_str().expect("plain")]);
    }
}

const EXT4: [&str; 3] = ["mount", "losetup", "mkfs.ext4"];
const FAILING: [&str; 5] = ["mount", "losetup", "mkfs.ext4", "nbdkit", "nbdfuse"];

#[test]
fn a_full_ledger_answers_no_failed_flush() {
    if can_use(&EXT4) {
        play(HOLD, "ENOSPC", StateDisk::ext4, held);
    }
}

#[test]
fn a_full_ledger_frees_nothing_that_is_given_up() {
    if can_use(&EXT4) {
        play(EVICT, "EIO", StateDisk::ext4, given_up);
    }
}

#[test]
fn a_failing_ledger_answers_no_failed_flush() {
    if can_use(&FAILING) {
        play(HOLD, "ENOSPC", StateDisk::failing, held);
    }
}

#[test]
fn a_failing_ledger_frees_nothing_that_is_given_up() {
    if can_use(&FAILING) {
        play(EVICT, "EIO", StateDisk::failing, given_up);
    }
}
