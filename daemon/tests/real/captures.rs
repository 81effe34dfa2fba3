//! docs/captures.md: what an operator sees, step by step, from a daemon that runs. The page is made by this test, and checked by
//! it: what differs between runs (times, numbers, places) is put in one form.
//!
//! After a change that is meant: `HOLDFAST_WRITE_CAPTURES=1 cargo test -p holdfast-daemon --test real captures`.

use crate::pattern::{ENOSPC, failure, pattern};
use crate::place::{KIB, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ctl::Streams;
use std::ffi::OsString;
use std::path::PathBuf;

const HEAD: &str = "\
# Captures

What an operator sees on a terminal while a disk runs full and is mended. Made by a test from a daemon that runs
(`daemon/tests/real/captures.rs`), which fails when this page is no longer true; times, numbers of processes and places are put
in one form. The page in the browser is on [pictures of its own](page.md#pictures).
";

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/captures.md"))
}

/// A word that differs between runs, in its one form.
fn settled(word: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bare = word.trim_end_matches([',', '.', ')', ':', ';']);
    let tail = &word[bare.len()..];
    if bare.len() >= 20 && bare.as_bytes()[4] == b'-' && bare.as_bytes()[10] == b'T' && bare.ends_with('Z') {
        return format!("2026-01-02T03:04:05.678Z{tail}");
    }
    if bare.len() == 16 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) && bare.starts_with("0000") {
        return format!("{bare}{tail}");
    }
    if digits(bare) && bare.len() >= 4 && !tail.is_empty() {
        return format!("4711{tail}");
    }
    word.to_owned()
}

/// A line with each of its words settled; blanks between columns stay, as widths of columns are fixed by what is wide in every
/// run.
fn line(text: &str) -> String {
    text.split(' ').map(settled).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

struct Recorder<'a> {
    daemon: &'a Daemon<'a>,
    page: String,
}

impl Recorder<'_> {
    fn say(&mut self, words: &str) {
        self.page += &format!("\n{words}\n");
    }

    /// A command as it is typed, and all that it prints.
    fn capture(&mut self, command: &str) {
        let mut words: Vec<OsString> = vec!["--socket".into(), self.daemon.place.admin().into()];
        words.extend(command.split_whitespace().map(OsString::from));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { out: &mut out, err: &mut err, progress: false, terminal: false };
        let exit = holdfast_ctl::run_on("holdfastctl", words, &mut streams);
        let text = String::from_utf8([out, err].concat()).expect("text");
        let socket = format!(" --socket {}", self.daemon.place.admin().display());
        let disk = self.daemon.place.disk.path().display().to_string();
        let text = text.replace(&socket, "").replace(&disk, "/srv");
        // What the machine lacks that this runs on is no part of the story.
        let told = text.lines().filter(|text| !text.starts_with("HF_FALLBACK"));
        let lines: String = told.map(|text| line(text) + "\n").collect();
        self.page +=
            &format!("```console\n$ holdfastctl {command}\n{lines}$ echo $?\n{}\n```\n", exit.code());
    }
}

#[test]
fn the_page_of_captures_is_current() {
    let mut place = Place::new();
    let backing = place.file("vm1.img");
    place.add(&[Volume::file("vm1", &backing, 8 * MIB).with("budget = \"4MiB\"")]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm1");
    // So that no time until the next try is shown, which no run shows twice.
    daemon.must(&["policy", "set", "vm1", "--retry-on", "operator"]);
    let mut recorder = Recorder { daemon: &daemon, page: HEAD.to_owned() };

    // One line: several may be tried in one operation or in two, and then their tries differ.
    daemon.must(&["fault", "vm1", "add", "write", "EIO", "--range", "1MiB:4KiB"]);
    client.write_at(&pattern(1, MIB, 4 * KIB), MIB).expect("acknowledged");
    let (_, id) = failure(client.flush());
    recorder.say("## A bad range\nA flush of the client has failed. Which of its data, and why:");
    recorder.capture(&format!("explain {:016x}", id.expect("a failed flush has a name")));
    recorder.say("What is held, and what becomes of it:");
    recorder.capture("extents vm1 --state failed");
    recorder.capture("policy show vm1");
    recorder.say("Nothing is mended yet, and the command says so:");
    recorder.capture("retry vm1 --wait");
    daemon.must(&["fault", "vm1", "clear"]);
    recorder.say("Mended:");
    recorder.capture("retry vm1 --wait");

    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC"]);
    client.write_at(&pattern(1, 0, 4 * KIB), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    recorder.say("## A device that is to be exchanged\nIts file system must be unmounted to be mended. What is held stays held:");
    recorder.capture("volume release vm1");
    recorder.capture("health");
    daemon.must(&["fault", "vm1", "clear"]);
    recorder.capture("volume reopen vm1 --path /srv/elsewhere.img");
    recorder.capture("volume reopen vm1");
    eventually("all is stable", || (daemon.bytes("vm1", "not_clean_bytes") == 0).then_some(()));
    recorder.capture("retry vm1 --wait");
    recorder.say("## What is refused\nBy name, and nothing is changed:");
    recorder.capture("drop vm1");
    recorder.capture("retry vm9");
    recorder.capture("cancel 99");
    let made = recorder.page;
    client.flush().expect("all is well");
    drop(client);
    daemon.stop_clean();

    if std::env::var_os("HOLDFAST_WRITE_CAPTURES").is_some() {
        std::fs::write(page(), &made).expect("the page");
    }
    let kept = std::fs::read_to_string(page()).expect("docs/captures.md");
    for (number, (kept, made)) in kept.lines().zip(made.lines()).enumerate() {
        assert_eq!(
            kept,
            made,
            "docs/captures.md:{}: the first is the page, the second the daemon",
            number + 1
        );
    }
    assert_eq!(kept.lines().count(), made.lines().count(), "the page ends where the daemon does");
}
