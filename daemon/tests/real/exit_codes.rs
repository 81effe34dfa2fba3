//! What scripts rely on: the exit codes of the operators' program against a daemon that runs.

use crate::pattern::{failure, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ctl::Exit;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn status_and_retry_say_how_it_is() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Ok);
    daemon.must(&["retry", "--all", "--wait"]);

    daemon.must(&["fault", "vm", "add", "write", "EIO"]);
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    let (_, id) = failure(client.flush());
    let degraded = daemon.ctl(&["status"]);
    assert_eq!(degraded.exit, Exit::Incomplete);
    assert_eq!(degraded.json["health"], "DEGRADED");
    assert_eq!(degraded.json["reasons"][0]["code"], "HF_FAILED_EXTENTS");
    assert_eq!(daemon.ctl(&["retry", "vm", "--wait"]).exit, Exit::Incomplete, "not healed");
    assert_eq!(daemon.ctl(&["retry", "--all", "--wait"]).exit, Exit::Incomplete);
    assert_eq!(daemon.ctl(&["drain", "vm"]).exit, Exit::Incomplete, "held data is left");
    let refused = daemon.ctl(&["drop", "vm"]);
    assert_eq!(refused.exit, Exit::Usage, "not by accident");
    assert!((refused.json.to_string() + &refused.words).contains("--yes-lose-data"), "{refused:?}");
    assert_eq!(daemon.extents("vm", "failed"), [(0, LINE)]);

    daemon.must(&["drop", "vm", "--yes-lose-data"]);
    let faulted = daemon.ctl(&["status"]);
    assert_eq!(faulted.exit, Exit::Faulted);
    assert_eq!(faulted.json["reasons"][0]["code"], "HF_LOST_EXTENTS");
    assert_eq!(daemon.extents("vm", "lost"), [(0, LINE)]);
    daemon.must(&["fault", "vm", "clear"]);
    assert_eq!(daemon.ctl(&["status"]).exit, Exit::Faulted, "a well disk brings nothing back");
    daemon.must(&["ack-loss", "vm", "--yes"]);
    eventually("health", || (daemon.ctl(&["status"]).exit == Exit::Ok).then_some(()));
    client.flush().expect("acknowledged");
    daemon.must(&["drain", "vm"]);

    let id = id.expect("a name");
    daemon.must(&["explain", &format!("{id:016x}")]);
    assert_eq!(daemon.ctl(&["explain", "dead"]).exit, Exit::Usage);
    assert_eq!(daemon.ctl(&["extents", "nobody", "--state", "lost"]).exit, Exit::Usage);
    drop(client);
    daemon.stop_clean();
}

/// What a failed flush prints is what an operator types.
#[test]
fn the_name_of_a_failure_is_the_one_that_explain_takes() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "xX"]);
    // Many sets of failures, so that a number and its hexadecimal form must differ.
    for line in 0..20 {
        client.write_at(&pattern(1, line * LINE, LINE), line * LINE).expect("acknowledged");
        let error = client.flush().expect_err("refused").to_string();
        let (_, command) = error.split_once("`holdfastctl ").expect("what to type");
        let words: Vec<&str> = command.trim_end_matches("`)").split(' ').collect();
        let told = daemon.must(&words);
        assert_eq!(told["unresolved"], true, "{told}");
    }
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    drop(client);
    daemon.stop_clean();
}

/// `holdfastd ctl` is the same program, in words for people.
#[test]
fn the_daemons_own_program_is_an_operators_program_too() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
        command.args(["ctl", "--socket"]).arg(place.admin()).args(arguments);
        command.output().expect("the program")
    };
    assert_eq!(ctl(&["status"]).status.code(), Some(3), "nobody is there");
    let daemon = Daemon::start(&place);
    let output = ctl(&["status"]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("HEALTHY") && words.contains("vm"), "{words}");
    daemon.stop_clean();
}

/// Exit code 64 is for what makes no sense and changed nothing, and with `--json` it is said as everything else is.
#[test]
fn a_value_that_makes_no_sense_is_a_usage_error_in_json_too() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let daemon = Daemon::start(&place);
    let cases: [(&[&str], &str); 7] = [
        (&["volume", "budget", "vm", "much"], "is not a size"),
        (&["volume", "budget", "vm", "0"], "0 lines a reactor are not within"),
        (&["volume", "budget", "vm", "100%"], "is not within"),
        (&["volume", "add", "VM2", "--backing", "/nowhere"], "is no name of a volume"),
        (&["volume", "add", "vm2", "--backing", "vm2.img"], "is not an absolute path"),
        (&["retry"], "required arguments were not provided: <VOLUME|--all>"),
        (&["stauts"], "unrecognized subcommand 'stauts'"),
    ];
    for (words, says) in cases {
        let told = daemon.ctl(words);
        assert_eq!(told.exit, Exit::Usage, "{words:?}: {told:?}");
        let error = &told.json["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "{told:?}");
        let remedy = error["remedy"].as_str().expect("a way out");
        assert!(remedy.contains("Nothing was changed."), "{told:?}");
    }
    daemon.stop_clean();
}

#[test]
fn the_daemons_help_tells_its_exit_codes() {
    let daemon = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_holdfastd")).args(arguments).output().expect("the program")
    };
    let help = String::from_utf8_lossy(&daemon(&["--help"]).stdout).into_owned();
    let (verbs, codes) = help.split_once("Exit codes:").expect("its exit codes");
    let verbs = verbs.split_once("Commands:").expect("verbs").1.lines().filter(|line| {
        line.starts_with("  ") && !line.starts_with("   ") && !line.contains("-h,") && !line.contains("-V,")
    });
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() > 5, "{help}");
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        assert!(codes.lines().any(|line| line.trim_start().starts_with(verb)), "{verb} in {help}");
    }
    let nowhere = String::from_utf8_lossy(&daemon(&["salvage", "/nowhere"]).stderr).into_owned();
    assert!(nowhere.contains("cannot open /nowhere") && nowhere.contains("holdfastd doctor"), "{nowhere}");
    for (arguments, code) in [
        (&["check", "/nowhere"][..], 2),
        (&["serve", "--config", "/nowhere"], 2),
        (&["salvage", "/nowhere"], 2),
        (&["stauts"], 2),
        (&["ctl", "stauts"], 64),
    ] {
        assert_eq!(daemon(arguments).status.code(), Some(code), "{arguments:?}");
    }
}

/// `check` takes a file as `serve` and `doctor` take it, too.
#[test]
fn check_takes_its_file_by_either_name() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let file = place.configure();
    let said = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
        let output = command.arg("check").args(arguments).arg(&file).output().expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, words) = said(&[]);
    assert!(code == Some(0) && words.contains("volume vm"), "{words}");
    assert_eq!(said(&["--config"]), (code, words));
    assert_eq!(said(&["/nowhere", "--config"]).0, Some(2), "one of them");
}

/// Operators, who are elsewhere, are told where the configuration is, and a reload finds it.
#[test]
fn a_configuration_named_from_where_one_is_is_named_from_the_root_on() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let here = place.disk.path();
    let daemon = Daemon::start_with(&place, &[], |command| {
        let mut same = Command::new(command.get_program());
        same.args(["serve", "--config", "holdfast.toml"]).current_dir(here);
        *command = same;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    });
    let told = daemon.must(&["reload", "--dry-run"]);
    assert_eq!(told["config"].as_str(), place.file("holdfast.toml").to_str(), "{told}");
    daemon.stop_clean();
}

/// Somebody who waits for a daemon that is stopped is told so before anything else is, and gets the answer when it comes.
#[test]
fn a_silent_daemon_is_told_of_while_it_is_waited_for() {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB)]);
    let daemon = Daemon::start(&place);
    daemon.signal(rustix::process::Signal::STOP);
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfastd"));
    command.args(["ctl", "--socket"]).arg(place.admin()).arg("status");
    let mut ctl = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    let mut said = BufReader::new(ctl.stderr.take().expect("a pipe")).lines();
    let first = said.next().expect("words").expect("text");
    daemon.signal(rustix::process::Signal::CONT);
    assert!(first.contains("has not answered yet; waiting"), "{first}");
    let output = ctl.wait_with_output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("HEALTHY"), "{output:?}");
    daemon.stop_clean();
}

/// The daemon's own manual and completion know every verb.
#[test]
fn the_daemon_has_a_manual_and_completion() {
    let daemon = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_holdfastd")).args(arguments).output().expect("the program")
    };
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().to_str().expect("plain");
    assert_eq!(daemon(&["man", "--to", path]).status.code(), Some(0));
    let script = String::from_utf8_lossy(&daemon(&["completion", "bash"]).stdout).into_owned();
    for verb in ["serve", "check", "doctor", "salvage", "quickstart", "ctl"] {
        let page = std::fs::read_to_string(folder.path().join(format!("holdfastd-{verb}.1")));
        assert!(page.expect("a page").contains(".TH"), "{verb}");
        assert!(script.contains(&format!("holdfastd,{verb})")), "{verb}: {script}");
    }
    let refused = daemon(&["man", "--to", "/nowhere"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Give a directory that exists"), "{refused:?}");
}
