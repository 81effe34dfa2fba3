//! The runbook, executed: each situation that a test can bring about is played on a real daemon, its code is seen, and the
//! commands of its entry are typed in their order. The one of a volume that is not served is played as it shows: a daemon that
//! does not start, and says what the entry says.

use crate::needs::can_use;
use crate::pattern::pattern;
use crate::place::{KIB, LINE, MIB, Place, Volume};
use crate::running::{Daemon, Told, eventually};
use crate::world::{Loop, Mount, fill_up, run};
use holdfast_ctl::Exit;
use holdfast_ringbuf::client::Client;
use std::path::PathBuf;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// The commands of one entry.
fn commands(code: &str) -> Vec<&'static str> {
    let heading = format!("## {code}\n");
    let entry = &RUNBOOK[RUNBOOK.find(&heading).expect("an entry") + heading.len()..];
    let entry = &entry[..entry.find("\n## ").unwrap_or(entry.len())];
    entry.lines().filter_map(|line| line.strip_prefix("holdfastctl ")).collect()
}

/// A daemon, and what an operator has at hand.
struct Scene<'a> {
    daemon: &'a Daemon<'a>,
    place: &'a Place,
    /// What the runbook calls `/mnt/spare`: another one for each situation.
    spare: PathBuf,
}

impl<'a> Scene<'a> {
    fn of(daemon: &'a Daemon<'a>, place: &'a Place, code: &str) -> Scene<'a> {
        let spare = place.file(&format!("spare-{code}"));
        std::fs::create_dir(&spare).expect("a directory of our own");
        Scene { daemon, place, spare }
    }

    fn shows(&self, code: &str) -> bool {
        let health = self.daemon.ctl(&["health", "detail"]).json;
        let codes = [&health["reasons"], &health["notes"]];
        let mut found = codes.into_iter().filter_map(|list| list.as_array()).flatten();
        found.any(|reason| reason["code"] == code)
    }

    fn type_in(&self, command: &str) -> Told {
        let command = command.replace("/mnt/spare", self.spare.to_str().expect("plain"));
        let told = self.daemon.ctl(&command.split_whitespace().collect::<Vec<_>>());
        let done = matches!(told.exit, Exit::Ok | Exit::Incomplete | Exit::Faulted);
        assert!(done, "the runbook has told to type 'holdfastctl {command}': {told:?}");
        told
    }

    /// The code is seen, the entry's commands are typed, the cause is mended before the first command that begins like
    /// `after_mending` (or after the last); then the code is gone.
    fn play(&self, code: &str, after_mending: &str, mend: impl FnOnce(&Scene<'_>)) {
        eventually(code, || self.shows(code).then_some(()));
        let mut mend = Some(mend);
        for command in commands(code) {
            if command.starts_with(after_mending)
                && let Some(mend) = mend.take()
            {
                mend(self);
            }
            let told = self.type_in(command);
            if command.starts_with("retry") {
                assert_eq!(told.exit, Exit::Ok, "{code}: once the cause is gone, a retry heals: {told:?}");
            }
        }
        if let Some(mend) = mend.take() {
            mend(self);
        }
        eventually(&format!("{code} is over"), || (!self.shows(code)).then_some(()));
    }

    fn fault(&self, words: &[&str]) {
        self.daemon.must(&[&["fault", "vm1", "add"], words].concat());
    }

    /// What the configuration says, with one thing put for another; in force at once.
    fn edit(&self, old: &str, new: &str) {
        let path = self.place.file("holdfast.toml");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        assert!(text.contains(old), "{old:?} is not in {text}");
        std::fs::write(path, text.replacen(old, new, 1)).expect("ours");
        self.daemon.must(&["reload"]);
    }
}

fn heal(scene: &Scene<'_>) {
    scene.daemon.must(&["fault", "vm1", "clear"]);
}

fn write(client: &Client, offset: u64, length: u64) {
    client.write_at(&pattern(1, offset, length), offset).expect("acknowledged");
}

/// Two volumes of one size: `vm1` with a thin limit, on which everything happens, and `vm2`.
fn place() -> Place {
    let mut place = Place::new();
    let thin = format!(
        r#"{{ kind = "file", path = "{}", size = "8MiB", create = true, thin_limit = "4MiB", buffered = true }}"#,
        place.file("vm1.img").display()
    );
    let keys = "io_timeout = \"300ms\"\nbudget = \"4MiB\"";
    let other = place.file("vm2.img");
    place.add(&[Volume::over("vm1", thin).with(keys), Volume::file("vm2", &other, 8 * MIB).with(keys)]);
    place
}

#[test]
fn a_full_disk_and_what_it_leads_to() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    let scene = |code| Scene::of(&daemon, &place, code);

    let thin = scene("HF_THIN_80");
    write(&client, 0, 3 * MIB + 512 * KIB);
    client.flush().expect("there is room");
    thin.play("HF_THIN_80", "never", |_| ());

    let injected = scene("HF_FAULT_INJECTION");
    injected.fault(&["write", "ENOSPC"]);
    injected.play("HF_FAULT_INJECTION", "never", |_| ());

    let failed = scene("HF_FAILED_EXTENTS");
    failed.fault(&["write", "ENOSPC"]);
    write(&client, 0, 64 * KIB);
    client.flush().expect_err("the disk refuses");
    failed.play("HF_FAILED_EXTENTS", "volume grow-thin", heal);

    let budget = scene("HF_BUDGET_80");
    budget.fault(&["write", "ENOSPC"]);
    // Seven eighths of what each of the two reactors may hold.
    for (offset, length) in [(0, 2 * MIB), (2 * MIB, 768 * KIB), (3 * MIB, 768 * KIB)] {
        write(&client, offset, length);
    }
    client.flush().expect_err("the disk refuses");
    budget.play("HF_BUDGET_80", "never", |scene| {
        heal(scene);
        scene.daemon.must(&["retry", "vm1", "--wait"]);
    });

    let lost = scene("HF_LOST_EXTENTS");
    lost.fault(&["write", "EIO"]);
    write(&client, 0, LINE);
    client.flush().expect_err("the disk refuses");
    lost.type_in("export vm1 --failed --to /mnt/spare/vm1.salvage");
    daemon.must(&["drop", "vm1", "--yes-lose-data"]);
    heal(&lost);
    lost.play("HF_LOST_EXTENTS", "never", |_| ());

    client.flush().expect("all is well");
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
    drop(client);
    daemon.stop_clean();
}

#[test]
fn a_disk_that_is_gone_refuses_or_hangs() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    let scene = |code| Scene::of(&daemon, &place, code);

    let gone = scene("HF_DEVICE_GONE");
    gone.fault(&["write", "ENODEV"]);
    write(&client, 0, 64 * KIB);
    client.flush().expect_err("the disk is gone");
    gone.play("HF_DEVICE_GONE", "retry", heal);

    let refuses = scene("HF_DEVICE_REFUSES");
    refuses.fault(&["flush", "ENOSPC"]);
    write(&client, 0, LINE);
    client.flush().expect_err("the disk refuses to flush");
    refuses.play("HF_DEVICE_REFUSES", "retry", heal);

    let hangs = scene("HF_DEVICE_HANGS");
    hangs.fault(&["write", "EIO", "--sequence", "h"]);
    write(&client, 0, LINE);
    client.flush().expect_err("the disk hangs");
    hangs.play("HF_DEVICE_HANGS", "never", |scene| {
        heal(scene);
        // What hung ends when the device gets to it.
        let retry = || scene.daemon.ctl(&["retry", "vm1", "--wait"]).exit == Exit::Ok;
        eventually("nothing hangs", || retry().then_some(()));
    });

    let parked = scene("HF_FLUSHES_PARKED");
    daemon.must(&["policy", "set", "vm1", "--flush-on-failure", "stall"]);
    parked.fault(&["write", "ENOSPC"]);
    write(&client, 0, LINE);
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| client.flush());
        parked.play("HF_FLUSHES_PARKED", "retry", heal);
        flush.join().expect("it does not panic").expect("it waited, and succeeded");
    });
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
    drop(client);
    daemon.stop_clean();
}

#[test]
fn a_crowd_an_end_and_what_should_be_known() {
    let mut place = place();
    // On memory, which has no O_DIRECT.
    let shm = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is writable");
    place.add(&[Volume::file("ram", &shm.path().join("ram.img"), MIB)]);
    let daemon = Daemon::start(&place);
    let scene = |code| Scene::of(&daemon, &place, code);
    for code in ["HF_BUFFERED_BACKING", "HF_FALLBACK"] {
        let note = scene(code);
        assert!(note.shows(code), "the arena of the tests is on tmpfs, and so is a volume");
        for command in commands(code) {
            note.type_in(&command.replace("vm1", "ram"));
        }
    }

    let full = scene("HF_SESSIONS_FULL");
    let client = daemon.client("vm1");
    full.edit("sessions_max = 32", "sessions_max = 1");
    eventually("no more are let in", || full.shows("HF_SESSIONS_FULL").then_some(()));
    for command in commands("HF_SESSIONS_FULL") {
        full.type_in(&command.replace("kill 7", &format!("kill {}", client.session_id())));
    }
    eventually("the session is gone", || (!full.shows("HF_SESSIONS_FULL")).then_some(()));
    drop(client);

    let stopping = scene("HF_STOPPING");
    full.edit("io_timeout = \"300ms\"", "io_timeout = \"60s\"");
    stopping.fault(&["write", "EIO", "--sequence", "h"]);
    let client = daemon.client("vm1");
    write(&client, 0, LINE);
    daemon.terminate();
    eventually("it is about to end", || stopping.shows("HF_STOPPING").then_some(()));
    for command in commands("HF_STOPPING") {
        stopping.type_in(command);
    }
    heal(&stopping);
    drop(client);
    let mut daemon = daemon;
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "what hung was written: {log}");
}

/// The file system under the state directory is full: nothing is told that is not on record, until there is room.
#[test]
fn a_ledger_that_is_stuck() {
    if !can_use(&["mount", "losetup", "mkfs.ext4", "blockdev"]) {
        return;
    }
    let place = place();
    let (image, state) = (place.file("state.image"), place.file("state"));
    std::fs::File::create(&image).and_then(|file| file.set_len(32 * MIB)).expect("an image");
    let device = Loop::over(&image);
    run("mkfs.ext4", &["-qF", device.device.to_str().expect("plain")]);
    std::fs::create_dir_all(&state).expect("a place to mount on");
    run("mount", &[device.device.to_str().expect("plain"), state.to_str().expect("plain")]);
    let mount = Mount(state.clone());
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    let stuck = Scene::of(&daemon, &place, "HF_LEDGER_STUCK");
    let filler = state.join("filler");
    fill_up(&filler);
    stuck.fault(&["write", "ENOSPC"]);
    write(&client, 0, 64 * KIB);
    let flush = std::thread::spawn(move || client.flush().expect_err("the disk refuses"));
    stuck.play("HF_LEDGER_STUCK", "status", |scene| {
        let path = scene.daemon.ctl(&["health", "detail"]).json.to_string();
        assert!(path.contains("df -h") && path.contains("state"), "the path is in the status: {path}");
        assert!(!flush.is_finished(), "a flush that fails waits for its answer");
        std::fs::remove_file(&filler).expect("room");
    });
    flush.join().expect("it does not panic");
    heal(&stuck);
    daemon.must(&["retry", "vm1", "--wait"]);
    daemon.stop_clean();
    drop((mount, device));
}

/// A reactor's thread does not run: it is seen, and where it is held is looked at, as the entry says. It costs nothing.
#[test]
fn a_reactor_that_stalls() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    write(&client, 0, 64 * KIB);
    client.flush().expect("all is well");
    let stalled = Scene::of(&daemon, &place, "HF_REACTOR_STALL");
    let held = Traced::hold(&daemon.threads("holdfast-1")[0]);
    stalled.play("HF_REACTOR_STALL", "never", |scene| {
        let stacks = scene.daemon.threads("holdfast-1");
        // What the entry has root look at: the file is there.
        assert!(stacks[0].join("stack").exists() || !rustix::process::geteuid().is_root());
        drop(held);
    });
    client.flush().expect("what was acknowledged is there");
    drop(client);
    daemon.stop_clean();
}

/// A thread of another process that a debugger would hold; it goes on when this is dropped.
struct Traced(i32);

impl Traced {
    fn hold(task: &std::path::Path) -> Traced {
        let tid: i32 =
            task.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a thread's number");
        let ptrace = |request| {
            // SAFETY: no memory of ours is named: all that is passed are numbers.
            unsafe { libc::ptrace(request, tid, std::ptr::null_mut::<u8>(), std::ptr::null_mut::<u8>()) }
        };
        assert_eq!(ptrace(libc::PTRACE_SEIZE), 0, "{}", std::io::Error::last_os_error());
        assert_eq!(ptrace(libc::PTRACE_INTERRUPT), 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the status is not asked for.
        let waited = unsafe { libc::waitpid(tid, std::ptr::null_mut(), libc::__WALL) };
        assert_eq!(waited, tid, "{}", std::io::Error::last_os_error());
        Traced(tid)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: as in `hold`.
        unsafe {
            libc::ptrace(libc::PTRACE_DETACH, self.0, std::ptr::null_mut::<u8>(), std::ptr::null_mut::<u8>());
        }
    }
}

/// A volume's device is not there: the daemon says so and touches nothing; what is on record and in the arena waits for it.
#[test]
fn a_volume_that_is_not_served() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC"]);
    write(&client, 0, 64 * KIB);
    client.flush().expect_err("the disk refuses");
    drop(client);
    daemon.kill();
    drop(daemon);
    let (here, away) = (place.file("vm1.img"), place.file("away.img"));
    std::fs::rename(&here, &away).expect("ours");
    std::fs::create_dir(&here).expect("something else is there");
    let mut refused = Daemon::spawn(&place, &[], |_| ());
    let (status, log) = refused.wait();
    assert_ne!(status.code(), Some(0), "{log}");
    assert!(log.contains("vm1") && log.contains("vm1.img"), "which volume and which path is said: {log}");
    assert!(place.has_arena(), "what was acknowledged stays");
    drop(refused);
    std::fs::remove_dir(&here).expect("ours");
    std::fs::rename(&away, &here).expect("ours");
    let daemon = Daemon::start(&place);
    let scene = Scene::of(&daemon, &place, "HF_VOLUME_NOT_SERVED");
    for command in commands("HF_VOLUME_NOT_SERVED") {
        scene.type_in(command);
    }
    daemon.must(&["retry", "vm1", "--wait"]);
    daemon.stop_clean();
    crate::pattern::check_backing(&here, 1, 0, 64 * KIB);
}
