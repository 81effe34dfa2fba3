//! C programs against the daemon: the examples that users copy, and one that calls every function.

use crate::installed::{Installed, Linked, must};
use crate::pattern::{check_same, pattern};
use crate::place::{KIB, MIB, Place, Volume};
use crate::running::Daemon;
use std::path::Path;
use std::process::{Command, Output};

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
