//! The daemon under a service manager: what it is told, and that one reactor that hangs stops the feeding.

use crate::pattern::pattern;
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// What systemd hears.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn listen(place: &Place) -> Manager {
        let socket = UnixDatagram::bind(place.clients().with_file_name("notify")).expect("a short path");
        socket.set_nonblocking(true).expect("a socket");
        Manager { socket, heard: Vec::new() }
    }

    /// Takes in what has come.
    fn hear(&mut self) -> &[String] {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            self.heard.extend(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned));
        }
        &self.heard
    }

    fn count(&mut self, line: &str) -> usize {
        self.hear().iter().filter(|heard| *heard == line).count()
    }
}

fn start<'a>(place: &'a Place, watchdog: Duration) -> Daemon<'a> {
    Daemon::start_with(place, &[], |command| {
        command.env("NOTIFY_SOCKET", place.clients().with_file_name("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    })
}

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    place
}

#[test]
fn the_manager_hears_of_start_life_and_end() {
    let place = place();
    let mut manager = Manager::listen(&place);
    let daemon = start(&place, Duration::from_millis(200));
    eventually("it is ready", || (manager.count("READY=1") == 1).then_some(()));
    assert_eq!(manager.count("STATUS=serving 1 volumes"), 1, "{:?}", manager.heard);
    eventually("reactors that sleep feed it, too", || (manager.count("WATCHDOG=1") >= 3).then_some(()));
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    assert!(client.flush().is_err());
    let held = "STATUS=serving 1 volumes; 1 lines failed and held, 0 lost: see 'holdfastctl status'";
    eventually("it hears of the failure", || (manager.count(held) == 1).then_some(()));
    daemon.must(&["fault", "vm", "clear"]);
    drop(client);
    daemon.stop_clean();
    assert!(!place.admin().exists() && !place.clients().exists(), "it leaves no dead sockets behind");
    assert_eq!(manager.count("STOPPING=1"), 1, "{:?}", manager.heard);
    let last = manager.heard.iter().rposition(|line| line == "WATCHDOG=1");
    let ready = manager.heard.iter().position(|line| line == "READY=1");
    assert!(ready < last, "it is not fed before it serves: {:?}", manager.heard);
}

/// A thread of the daemon that stands still while the others run: a tracer's stop is for one thread alone.
struct Stuck(libc::pid_t);

impl Stuck {
    fn reactor(daemon: &Daemon<'_>, name: &str) -> Stuck {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
        let of_name = |task: &std::path::Path| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task =
            tasks.map(|task| task.expect("a task").path()).find(|task| of_name(task)).expect("a reactor");
        let thread = task
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok())
            .expect("a number");
        trace(libc::PTRACE_SEIZE, thread);
        trace(libc::PTRACE_INTERRUPT, thread);
        Stuck(thread)
    }
}

/// Also when a test fails: a daemon is not gone before its tracer has let go of it.
impl Drop for Stuck {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: waits for the stop of our own tracee, and writes to a local.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) }, self.0);
        trace(libc::PTRACE_DETACH, self.0);
    }
}

fn trace(request: libc::c_uint, thread: libc::pid_t) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these three requests take no memory of ours; both pointers are null as ptrace(2) wants them for "none".
    let done = unsafe { libc::ptrace(request, thread, nothing, nothing) };
    assert_eq!(done, 0, "ptrace: {}", std::io::Error::last_os_error());
}

#[test]
fn one_reactor_that_hangs_stops_the_feeding() {
    let place = place();
    let mut manager = Manager::listen(&place);
    let daemon = start(&place, Duration::from_millis(200));
    eventually("it is fed", || (manager.count("WATCHDOG=1") >= 1).then_some(()));
    let stuck = Stuck::reactor(&daemon, "holdfast-1");
    let missed = || daemon.log().matches("has not turned").count();
    eventually("it is noticed", || (missed() >= 1).then_some(()));
    let fed = manager.count("WATCHDOG=1");
    assert_eq!(manager.count("STATUS=reactor 1 does not turn"), 1, "{:?}", manager.heard);
    eventually("more than the manager's patience", || (missed() >= 6).then_some(()));
    assert_eq!(manager.count("WATCHDOG=1"), fed, "nobody feeds it meanwhile: {:?}", manager.heard);
    assert!(daemon.ctl(&["status"]).json.is_object(), "the other threads go on");
    drop(stuck);
    eventually("it is fed again", || (manager.count("WATCHDOG=1") > fed).then_some(()));
    daemon.stop_clean();
}

#[test]
fn the_journal_gets_priorities_and_a_file_gets_none() {
    let place = place();
    let log = place.file("log");
    let daemon = Daemon::start_with(&place, &[], |command| {
        let file = log.metadata().expect("the log is there");
        command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
    });
    let (_, text) = daemon.stop();
    assert!(!text.is_empty() && text.lines().all(|line| line.starts_with('<')), "{text}");
    assert!(text.contains("<6>holdfast_daemon::start: serving"), "{text}");
    let daemon = Daemon::start_with(&place, &[], |command| {
        command.env("JOURNAL_STREAM", "8:12345");
    });
    let (_, text) = daemon.stop();
    assert!(text.contains(" INFO ") && !text.contains("<6>"), "{text}");
}
