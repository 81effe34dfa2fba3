//! NBD clients that nobody here wrote: libnbd's tools, QEMU's, fio.

use crate::needs::can_use;
use crate::pattern::pattern;
use crate::place::{MIB, Place, Volume};
use crate::running::{Daemon, eventually, number};
use crate::world::run;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Output};

const BYTES: u64 = 64 * MIB;

/// A daemon's place with a volume that NBD clients find, on a disk that is well.
pub(crate) fn place() -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm1", &place.file("vm1"), BYTES);
    place.add(&[volume]);
    place.open_nbd("");
    place
}

pub(crate) fn uri(place: &Place) -> String {
    format!("nbd+unix:///vm1?socket={}", place.nbd().display())
}

fn tried(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect(program)
}

/// Runs a script in `nbdsh`, which is connected already; what it printed.
pub(crate) fn nbdsh(uri: &str, script: &str) -> String {
    shell(&["-u", uri, "-c", script])
}

/// The distribution's Python has the module; one before it in `PATH` may not.
fn shell(arguments: &[&str]) -> String {
    let said = Command::new("nbdsh").args(arguments).env("PATH", "/usr/bin:/bin").output().expect("nbdsh");
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "nbdsh {arguments:?}: {err}");
    out.trim().to_owned()
}

#[test]
fn nbdinfo_is_told_what_a_volume_can_do() {
    if !can_use(&["nbdinfo"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let told: serde_json::Value =
        serde_json::from_str(&run("nbdinfo", &["--json", &uri(&place)])).expect("JSON");
    let export = &told["exports"][0];
    assert_eq!(export["export-name"], "vm1", "{told}");
    assert_eq!(number(export, "export-size"), BYTES);
    for can in ["can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn", "can_df"] {
        assert_eq!(export[can], true, "{can}: {told}");
    }
    assert_eq!(export["is_read_only"], false);
    assert!(number(export, "block_size_minimum") <= 4096, "{told}");
    let contexts = export["contexts"].as_array().expect("contexts");
    for context in ["base:allocation", "holdfast:dirty", "holdfast:failed", "holdfast:lost"] {
        assert!(contexts.iter().any(|name| name == context), "{context}: {told}");
    }
    let list = run("nbdinfo", &["--list", &format!("nbd+unix://?socket={}", place.nbd().display())]);
    assert!(list.contains("export=\"vm1\""), "{list}");
    daemon.stop_clean();
}

#[test]
fn nbdcopy_brings_a_disk_in_and_out_again() {
    if !can_use(&["nbdcopy"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let (original, back) = (place.file("original"), place.file("back"));
    let bytes = pattern(3, 0, BYTES);
    std::fs::write(&original, &bytes).expect("a disk image");
    let [from, to] = [&original, &back].map(|path| path.to_str().expect("plain"));
    run("nbdcopy", &["--flush", from, &uri(&place)]);
    run("nbdcopy", &[&uri(&place), to]);
    assert!(std::fs::read(&back).expect("the copy") == bytes, "it comes back as it went in");
    assert!(std::fs::read(place.file("vm1")).expect("the backing") == bytes, "and it was flushed");
    daemon.stop_clean();
}

#[test]
fn qemu_io_writes_zeroes_discards_and_reads_back() {
    if !can_use(&["qemu-io"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let commands = [
        "write -P 0x11 0 1M",
        "write -f -P 0x22 1M 64k",
        "write -P 0x33 1536k 1536k",
        "write -z 64k 64k",
        "write -z -u 2M 512",
        "discard 2560k 256k",
        "flush",
        "read -P 0x11 0 64k",
        "read -P 0 64k 64k",
        "read -P 0x11 128k 896k",
        "read -P 0x22 1M 64k",
        "read -P 0x33 1536k 512k",
        "read -P 0 2M 512",
        "read -P 0x33 2097664 523776",
        "read -P 0 2560k 256k",
        "read -P 0x33 2816k 256k",
    ];
    let uri = uri(&place);
    let mut arguments = vec!["-f", "raw", "-t", "writeback", uri.as_str()];
    commands.iter().for_each(|command| arguments.extend(["-c", command]));
    let said = tried("qemu-io", &arguments);
    let words = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && !words.contains("failed"), "{words}");
    assert_eq!(words.matches("read ").count(), 9, "{words}");
    daemon.stop_clean();
}

#[test]
fn qemu_img_converts_and_finds_no_difference() {
    if !can_use(&["qemu-img"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let image = place.file("image.qcow2");
    let raw = place.file("raw");
    std::fs::write(&raw, pattern(9, 0, 8 * MIB)).expect("a disk image");
    let [raw, image] = [&raw, &image].map(|path| path.to_str().expect("plain"));
    run("qemu-img", &["resize", "-q", "-f", "raw", raw, &BYTES.to_string()]);
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", raw, image]);
    run("qemu-img", &["convert", "-n", "-f", "qcow2", "-O", "raw", image, &uri(&place)]);
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", image, &uri(&place)]);
    run(
        "qemu-img",
        &[
            "bench",
            "-f",
            "raw",
            "-w",
            "-c",
            "2000",
            "-d",
            "16",
            "-s",
            "4096",
            "--flush-interval=100",
            &uri(&place),
        ],
    );
    daemon.stop_clean();
}

/// The jobs of a file in perf/jobs/fio, each without an error, by their names.
fn fio(place: &Place, file: &str) -> Vec<serde_json::Value> {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../perf/jobs/fio").join(file);
    let mut fio = Command::new("fio");
    fio.arg("--output-format=json").arg(jobs).current_dir(place.disk.path());
    fio.env("HOLDFAST_URI", uri(place)).env("HOLDFAST_SIZE", "8m").env("HOLDFAST_TIME", "500ms");
    let said = fio.output().expect("fio");
    let words = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{file}: {words} {}", String::from_utf8_lossy(&said.stderr));
    let from = words.find('{').unwrap_or_else(|| panic!("no report: {words}"));
    let report: serde_json::Value = serde_json::from_str(&words[from..]).expect("JSON");
    let jobs = report["jobs"].as_array().expect("jobs").clone();
    for job in &jobs {
        assert_eq!(number(job, "error"), 0, "{job}");
        assert!(number(&job["write"], "total_ios") + number(&job["read"], "total_ios") > 0, "{job}");
    }
    jobs
}

#[test]
fn fio_verifies_what_it_wrote_at_depth_16_with_four_jobs() {
    if !can_use(&["fio"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let jobs = fio(&place, "verify.fio");
    assert_eq!(jobs.len(), 4, "{jobs:?}");
    for job in jobs {
        assert!(number(&job["write"], "total_ios") > 100, "{job}");
        assert!(number(&job["read"], "total_ios") > 100, "{job}");
    }
    daemon.stop_clean();
}

#[test]
fn fio_keeps_1_and_32_requests_in_flight_and_flushes_like_a_database() {
    if !can_use(&["fio"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let jobs = fio(&place, "depth.fio");
    let names: Vec<&str> = jobs.iter().map(|job| job["jobname"].as_str().expect("a name")).collect();
    assert_eq!(names, ["write-depth-1", "write-depth-32", "read-depth-1", "read-depth-32"]);
    let jobs = fio(&place, "flush.fio");
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    let syncs = number(&jobs[0]["sync"], "total_ios");
    assert!(
        syncs > 0 && daemon.count("vm1", "flushes_ok") >= syncs,
        "each of its writes is flushed: {jobs:?}"
    );
    daemon.stop_clean();
}

/// A hundred ranges that the disk refuses, alternating with as many that it takes: the map of an NBD client and the
/// operator's list are one truth.
#[test]
fn block_status_says_what_extents_says() {
    if !can_use(&["nbdsh", "nbdinfo"]) {
        return;
    }
    let mut place = place();
    place.retry_by_hand();
    let daemon = Daemon::start(&place);
    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC", "--sequence", "X"]);
    let every_other: Vec<(u64, u64)> = (0..100).map(|at| (at * 131_072, 65_536)).collect();
    let script = "
for at in range(100): h.pwrite(b'x' * 65536, at * 131072)
try:
    h.flush()
    print('no error')
except nbd.Error as error:
    print(error.errno)
";
    assert_eq!(nbdsh(&uri(&place), script), "ENOSPC", "the wire has that error");
    // What was not tried behind a disk that refuses is dirty, and not failed.
    same_ranges(&daemon, &place, "failed", 1..=100);
    same_ranges(&daemon, &place, "dirty", 100..=100);
    let holes = run("nbdinfo", &["--json", "--map", &uri(&place)]);
    let holes: serde_json::Value = serde_json::from_str(&holes).expect("JSON");
    let data = holes.as_array().expect("a map").iter().filter(|run| run["type"] == 0).count();
    assert!(data >= 100, "what only the cache has is no hole: {holes}");
    daemon.must(&["fault", "vm1", "clear"]);
    daemon.must(&["retry", "vm1", "--wait"]);
    assert_eq!(nbdsh(&uri(&place), "h.flush(); print('flushed')"), "flushed");

    // A medium that fails is tried line by line: all of it has failed, and is given up.
    daemon.must(&["fault", "vm1", "add", "write", "EIO", "--sequence", "X"]);
    assert_eq!(nbdsh(&uri(&place), script), "EIO");
    assert_eq!(same_ranges(&daemon, &place, "failed", 100..=100), every_other);
    daemon.must(&["drop", "vm1", "--yes-lose-data"]);
    assert_eq!(same_ranges(&daemon, &place, "lost", 100..=100), every_other);
    same_ranges(&daemon, &place, "failed", 0..=0);
    same_ranges(&daemon, &place, "dirty", 0..=0);
    daemon.must(&["ack-loss", "vm1", "--yes"]);
    daemon.must(&["fault", "vm1", "clear"]);
    assert_eq!(nbdsh(&uri(&place), "h.flush(); print('flushed')"), "flushed");
    daemon.stop_clean();
}

/// The ranges that an NBD client's map has in a state, once they are those that an operator sees, and as many as that.
fn same_ranges(
    daemon: &Daemon<'_>,
    place: &Place,
    state: &str,
    count: RangeInclusive<usize>,
) -> Vec<(u64, u64)> {
    eventually(&format!("one truth about what is {state}"), || {
        let map = run("nbdinfo", &["--json", &format!("--map=holdfast:{state}"), &uri(place)]);
        let map: serde_json::Value = serde_json::from_str(&map).expect("JSON");
        let marked = map.as_array().expect("a map").iter().filter(|run| run["type"] == 1);
        let marked: Vec<(u64, u64)> =
            marked.map(|run| (number(run, "offset"), number(run, "length"))).collect();
        (marked == daemon.extents("vm1", state) && count.contains(&marked.len())).then_some(marked)
    })
}

#[test]
fn a_read_of_many_pieces_comes_whole_with_and_without_structure() {
    if !can_use(&["nbdsh"]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    daemon.client("vm1").write_at(&pattern(5, 0, 8 * MIB), 0).expect("written");
    std::fs::write(place.file("expected"), pattern(5, 512, 4 * MIB)).expect("what is there");
    let expected = place.file("expected");
    let script = |structured: &str| {
        format!(
            "h.set_request_structured_replies({structured})\nh.connect_uri('{}')\n\
             data = h.pread({}, 512)\nprint(data == open('{}', 'rb').read())",
            uri(&place),
            4 * MIB,
            expected.display()
        )
    };
    for structured in ["True", "False"] {
        assert_eq!(shell(&["-c", &script(structured)]), "True", "structured replies: {structured}");
    }
    daemon.stop_clean();
}

#[test]
fn what_may_not_be_asked_for_is_refused_and_the_connection_goes_on() {
    if !can_use(&["nbdsh"]) {
        return;
    }
    let mut place = Place::new();
    let volumes = ["vm1", "vm2"].map(|name| Volume::file(name, &place.file(name), BYTES));
    place.add(&volumes);
    place.open_nbd("volumes = [\"vm1\"]\nread_only = true\nconnections_max = 1");
    let daemon = Daemon::start(&place);
    let script = format!(
        "h.set_strict_mode(0)
def tried(what):
    try:
        what()
        print('ok')
    except nbd.Error as error:
        print(error.errno)
tried(lambda: h.pwrite(b'x' * 4096, 0))
tried(lambda: h.trim(4096, 0))
tried(lambda: h.pread(4096, {BYTES}))
tried(lambda: h.pread(100, 1))
tried(lambda: h.flush())
tried(lambda: nbd.NBD().connect_uri('{}'))
tried(lambda: h.pread(4096, 0))",
        uri(&place)
    );
    let said = nbdsh(&uri(&place), &script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..5], ["EPERM", "EPERM", "EINVAL", "EINVAL", "ok"], "{said}");
    assert_ne!(lines[5], "ok", "one connection is all there may be: {said}");
    assert_eq!(lines[6], "ok");
    let other = uri(&place).replace("/vm1", "/vm2");
    eventually("the first connection's place is free", || {
        tried("nbdinfo", &[&uri(&place)]).status.success().then_some(())
    });
    assert!(!tried("nbdinfo", &[&other]).status.success(), "vm2 is not served here");
    daemon.stop_clean();
}
