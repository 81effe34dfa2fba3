//! C programs against the daemon: the examples that users copy, and one that calls every function.

use crate::installed::{Installed, Linked, must};
use crate::pattern::{check_same, pattern};
use crate::place::{KIB, MIB, Place, Volume};
use crate::running::Daemon;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    place
}

fn copy(program: &Path, way: &str, place: &Place, file: &Path) -> Output {
    let mut command = Command::new(program);
    command.arg(way).arg(place.clients()).arg("vm").arg(file);
    command.output().expect("it runs")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_function_answers_as_the_header_says() {
    let (installed, place) = (Installed::new(), place());
    let daemon = Daemon::start(&place);
    for linked in [Linked::Shared, Linked::Static] {
        let program = installed.compile("tests/every_call.c", linked);
        must(Command::new(program).arg(place.clients()).arg("vm"));
    }
    daemon.stop_clean();
}

#[test]
fn copy_brings_a_file_in_and_out_again() {
    let (installed, place) = (Installed::new(), place());
    let daemon = Daemon::start(&place);
    let program = installed.compile("examples/copy.c", Linked::Shared);
    let (original, back) = (place.file("original"), place.file("back"));
    // More than a chunk, and not whole blocks.
    let length = 3 * MIB + 5 * KIB + 104;
    let bytes = pattern(3, 0, length);
    std::fs::write(&original, &bytes).expect("a file");
    let output = copy(&program, "in", &place, &original);
    assert!(output.status.success(), "{}", words(&output));
    let flushed = std::fs::read(place.file("vm")).expect("the backing");
    check_same(&flushed[..bytes.len()], &bytes, "flushed");

    let mut out = Command::new(&program);
    out.arg("out").arg(place.clients()).arg("vm").arg(&back).arg(length.to_string());
    must(&mut out);
    check_same(&std::fs::read(&back).expect("the copy"), &bytes, "it comes back as it went in");
    let whole = copy(&program, "out", &place, &back);
    assert!(whole.status.success(), "{}", words(&whole));
    check_same(&std::fs::read(&back).expect("the copy"), &flushed, "the whole volume");

    std::fs::write(&original, vec![1; 9 << 20]).expect("a file");
    let output = copy(&program, "in", &place, &original);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("pass the end of a volume of 8388608 bytes"), "{}", words(&output));
    daemon.stop_clean();
}

#[test]
fn copy_names_the_failure_of_its_flush_and_succeeds_when_the_cause_is_gone() {
    let (installed, place) = (Installed::new(), place());
    let daemon = Daemon::start(&place);
    let program = installed.compile("examples/copy.c", Linked::Shared);
    let original = place.file("original");
    std::fs::write(&original, pattern(4, 0, MIB)).expect("a file");
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC", "--sequence", "X"]);
    let output = copy(&program, "in", &place, &original);
    assert_eq!(output.status.code(), Some(2), "held, and waits for room: {}", words(&output));
    let said = words(&output);
    let id = said.split_once("failure id ").expect("an id").1.split(';').next().expect("its end");
    let told = daemon.must(&["explain", id]);
    assert_eq!(told["extents"][0]["refusal"]["errno"]["name"], "ENOSPC", "{told}");

    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    let output = copy(&program, "in", &place, &original);
    assert!(output.status.success(), "{}", words(&output));
    daemon.stop_clean();
}

/// The program between its "ready" and its end.
struct Outliving {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Outliving {
    fn start(program: &Path, place: &Place, reconnect_ms: u32) -> Outliving {
        let mut command = Command::new(program);
        command.arg(place.clients()).args(["vm", &reconnect_ms.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut outliving = Outliving { child, said };
        assert_eq!(outliving.line(), "ready\n");
        outliving
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it speaks");
        line
    }

    /// Its daemon is gone now.
    fn go_on(&mut self) {
        self.child.stdin.take().expect("a pipe").write_all(b"\n").expect("it reads");
    }

    fn end(mut self) -> String {
        let line = self.line();
        assert!(self.child.wait().expect("our child").success(), "{line}");
        line
    }
}

const ENOTCONN: i32 = 107;

#[test]
fn a_c_program_outlives_its_daemon_for_as_long_as_it_wishes() {
    let (installed, place) = (Installed::new(), place());
    let program = installed.compile("tests/outlive.c", Linked::Shared);
    let mut daemon = Daemon::start(&place);
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    // A minute, not at all, and a moment.
    let [mut patient, hasty, other] =
        [0, u32::MAX, 50].map(|reconnect_ms| Outliving::start(&program, &place, reconnect_ms));
    daemon.kill();
    let over = format!("write -{ENOTCONN} read -{ENOTCONN} of 9, the same cache\n");
    for mut impatient in [hasty, other] {
        impatient.go_on();
        assert_eq!(impatient.end(), over, "nobody came");
    }
    patient.go_on();
    let daemon = Daemon::start(&place);
    assert_eq!(patient.end(), "write 0 read 0 of 7, the same cache\n");
    let mut written = vec![0; 4096];
    daemon.client("vm").read_at(&mut written, 4096).expect("read");
    check_same(&written, &[9; 4096], "what the queue wrote across the restart");
    daemon.stop_clean();
}

#[test]
fn depth_keeps_32_requests_in_flight() {
    let (installed, place) = (Installed::new(), place());
    let daemon = Daemon::start(&place);
    let program = installed.compile("examples/depth.c", Linked::Static);
    for way in ["write", "read"] {
        let said = must(Command::new(&program).arg(way).arg(place.clients()).args(["vm", "20000"]));
        assert!(said.starts_with("20000 requests at depth 32 in "), "{said}");
    }
    assert_eq!(daemon.count("vm", "writes"), 20_000);
    assert_eq!(daemon.count("vm", "read_hits") + daemon.count("vm", "read_misses"), 20_000);
    daemon.stop_clean();
}
