//! What changes while a real daemon runs: policies, its configuration, sessions, sizes; and what is kept of who did it.

use crate::pattern::{EIO, ENOSPC, check_backing, failure, pattern};
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually, number};
use holdfast_ctl::{Exit, Streams};
use holdfast_ringbuf::client::{Client, Options};
use std::ffi::OsString;

fn place_of(volumes: &[&'static str]) -> Place {
    let mut place = Place::new();
    for name in volumes {
        let backing = place.file(&format!("{name}.img"));
        place.add(&[Volume::file(name, &backing, 8 * MIB)]);
    }
    place
}

/// The configuration as it is, with one thing put for another.
fn edit(place: &Place, old: &str, new: &str) {
    let path = place.file("holdfast.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    assert!(text.contains(old), "{old:?} is not in {text}");
    std::fs::write(path, text.replace(old, new)).expect("ours");
}

/// Under hold-forever nothing is given up; an operator changes that, and it holds for what is held already.
#[test]
fn another_policy_holds_for_what_is_held() {
    let place = place_of(&["vm"]);
    let daemon = Daemon::start(&place);
    daemon.must(&["fault", "vm", "add", "write", "ENOSPC"]);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    assert_eq!(failure(client.flush()).0, ENOSPC);
    let evict = ["policy", "set", "vm", "--kind", "evict-immediately"];
    assert_eq!(daemon.ctl(&evict).exit, Exit::Usage, "held data is not given up by a slip");
    assert_eq!(daemon.must(&["policy", "show", "vm"])["policy"]["rules"][0]["kind"], "hold-forever");
    daemon.must(&[&evict[..], &["--yes-lose-data"]].concat());
    assert_eq!(daemon.must(&["policy", "show", "vm"])["policy"]["rules"][0]["kind"], "evict-immediately");
    eventually("what is held is given up", || {
        let (errno, _) = failure(client.flush());
        (errno == EIO && daemon.bytes("vm", "lost_bytes") > 0).then_some(())
    });
    daemon.must(&["ack-loss", "vm", "--yes"]);
    daemon.must(&["fault", "vm", "clear"]);
    let rows = daemon.must(&["audit"])["rows"].as_array().expect("rows").clone();
    let verbs: Vec<&str> = rows.iter().filter_map(|row| row["verb"].as_str()).collect();
    assert_eq!(verbs[0], "fault vm add write 28 --sequence X");
    assert!(verbs[1].starts_with("policy set vm: transient: given up once it is for good"), "{verbs:?}");
    assert_eq!(verbs[2..], ["ack-loss vm --yes", "fault vm clear"]);
    let us = format!("pid {}", std::process::id());
    assert!(rows.iter().all(|row| row["who"].as_str().is_some_and(|who| who.ends_with(&us))), "{rows:?}");
    drop(client);
    daemon.stop_clean();

    // It is kept in the ledger: the next daemon lists it, and the policy is the configuration's again.
    let daemon = Daemon::start(&place);
    let kept = daemon.must(&["audit"]);
    assert_eq!(kept["rows"].as_array().map(Vec::len), Some(rows.len()), "{kept}");
    assert_eq!(daemon.must(&["policy", "show", "vm"])["policy"]["rules"][0]["kind"], "hold-forever");
    daemon.stop_clean();
}

/// All that can change does, by command and by signal; what cannot keeps all the rest from changing, too.
#[test]
fn a_reload_is_all_or_nothing() {
    let place = place_of(&["vm", "other"]);
    let daemon = Daemon::start(&place);
    let same = daemon.must(&["reload"]);
    assert_eq!(same["differences"], serde_json::json!([]), "{same}");

    edit(&place, "sessions_max = 32", "sessions_max = 1");
    edit(&place, "hold-forever\", stall_timeout = \"1s\"", "hold-forever\", stall_timeout = \"2s\"");
    let trial = daemon.must(&["reload", "--dry-run"]);
    let keys: Vec<&str> = trial["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["key"].as_str())
        .collect();
    assert_eq!(keys[0], "limits.sessions_max");
    assert_eq!(keys.len(), 1 + 2 * 4, "four classes of two volumes: {keys:?}");
    assert_eq!(daemon.must(&["status"])["daemon"]["sessions_max"], 32, "a trial changes nothing");

    edit(&place, "size = \"32MiB\"", "size = \"34MiB\"");
    let refused = daemon.ctl(&["reload"]);
    assert_eq!(refused.exit, Exit::Incomplete, "{refused:?}");
    let message = refused.json["error"]["message"].as_str().expect("words").to_owned();
    assert!(message.contains("'arena.size'") && message.contains("cannot change"), "{message}");
    assert_eq!(daemon.ctl(&["reload", "--dry-run"]).exit, Exit::Incomplete);
    assert_eq!(daemon.must(&["status"])["daemon"]["sessions_max"], 32, "nothing of it is in force");
    let rule = |daemon: &Daemon<'_>| daemon.must(&["policy", "show", "vm"])["policy"]["rules"][0].clone();
    assert_eq!(number(&rule(&daemon), "stall_timeout_ms"), 1_000);
    edit(&place, "size = \"34MiB\"", "size = \"32MiB\"");

    edit(&place, "[limits]", "[limits");
    let broken = daemon.ctl(&["reload"]);
    assert_eq!(broken.exit, Exit::Incomplete);
    assert!(
        broken.json["error"]["message"].as_str().is_some_and(|words| words.contains("not TOML")),
        "{broken:?}"
    );
    edit(&place, "[limits", "[limits]");

    daemon.must(&["reload"]);
    assert_eq!(number(&rule(&daemon), "stall_timeout_ms"), 2_000);
    let client = daemon.client("vm");
    let second = Client::connect(place.clients(), "vm", Options::default());
    assert!(second.is_err(), "one session is all that may be now");
    let status = daemon.ctl(&["status"]);
    assert_eq!(
        (status.exit, &status.json["reasons"][0]["code"]),
        (Exit::Incomplete, &"HF_SESSIONS_FULL".into())
    );

    edit(&place, "sessions_max = 1", "sessions_max = 2");
    daemon.signal(rustix::process::Signal::HUP);
    eventually("the signal's reload", || {
        (daemon.must(&["volumes"]) != serde_json::Value::Null
            && daemon.ctl(&["status"]).json["daemon"]["sessions_max"] == 2)
            .then_some(())
    });
    // Three times something was put in force, or found to be: by two commands, and by the signal.
    let last = eventually("the signal is on record", || {
        let rows = daemon.must(&["audit"])["rows"].as_array().expect("rows").clone();
        (rows.len() == 3).then(|| rows[2].clone())
    });
    assert_eq!((&last["who"], &last["verb"]), (&"a signal to the daemon".into(), &"reload".into()));
    drop((daemon.client("other"), client));
    daemon.stop_clean();
}

/// Members of the socket's group may look: it is given to them at the start.
#[test]
fn the_admin_socket_belongs_to_its_group() {
    use std::os::unix::fs::MetadataExt;
    let mut place = place_of(&["vm"]);
    let root = rustix::process::geteuid().is_root();
    let gid = if root { 12_345 } else { rustix::process::getegid().as_raw() };
    place.change("[arena]", &format!("admin_socket_mode = \"0660\"\nadmin_socket_gid = {gid}\n[arena]"));
    let daemon = Daemon::start(&place);
    let socket = place.admin().metadata().expect("a socket");
    assert_eq!((socket.gid(), socket.mode() & 0o777), (gid, 0o660));
    daemon.stop_clean();
}

#[test]
fn a_session_is_listed_and_cut_off() {
    let place = place_of(&["vm"]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
    let listed = daemon.must(&["sessions"]);
    let session = &listed["sessions"][0];
    assert_eq!(number(session, "id"), client.session_id());
    assert_eq!(number(session, "pid"), u64::from(std::process::id()));
    daemon.must(&["sessions", "kill", &client.session_id().to_string()]);
    eventually("the session is gone", || {
        (daemon.must(&["sessions"])["sessions"] == serde_json::json!([])).then_some(())
    });
    assert_eq!(daemon.ctl(&["sessions", "kill", &client.session_id().to_string()]).exit, Exit::Usage);
    let again = daemon.client("vm");
    again.flush().expect("what was acknowledged is kept, and made stable");
    let before = client.session_id();
    client.flush().expect("who was cut off comes back by himself");
    assert_ne!(client.session_id(), before, "with another session");
    drop((again, client));
    daemon.stop_clean();
    check_backing(&place.file("vm.img"), 1, 0, LINE);
}

/// A volume grows under a client: who connects later has all of it, on both reactors, and the file has it, too.
#[test]
fn a_volume_grows_while_it_is_used() {
    let place = place_of(&["vm"]);
    let daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    client.write_at(&pattern(1, 8 * MIB - LINE, LINE), 8 * MIB - LINE).expect("acknowledged");
    daemon.must(&["volume", "resize", "vm", "11MiB", "--dry-run"]);
    assert_eq!(place.file("vm.img").metadata().expect("a file").len(), 8 * MIB);
    let grown = daemon.must(&["volume", "resize", "vm", "11MiB"]);
    assert_eq!((number(&grown, "before_bytes"), number(&grown, "size_bytes")), (8 * MIB, 11 * MIB));
    assert_eq!(place.file("vm.img").metadata().expect("a file").len(), 11 * MIB);
    assert_eq!(client.volume().bytes, 8 * MIB, "who is connected knows the old size");
    client.flush().expect("and goes on");
    let new = daemon.client("vm");
    assert_eq!(new.volume().bytes, 11 * MIB);
    for offset in [8 * MIB, 9 * MIB, 11 * MIB - LINE] {
        new.write_at(&pattern(2, offset, LINE), offset).expect("acknowledged");
    }
    // What fails behind the old end is on record, too.
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--range", "10MiB:4KiB"]);
    new.write_at(&pattern(2, 10 * MIB, LINE), 10 * MIB).expect("acknowledged");
    let (errno, id) = failure(new.flush());
    assert_eq!(errno, EIO);
    let id = id.expect("a failed flush has a name");
    let told = daemon.must(&["explain", &format!("{id:016x}")]);
    assert_eq!(number(&told["extents"][0], "offset"), 10 * MIB, "{told}");
    daemon.must(&["fault", "vm", "clear"]);
    daemon.must(&["retry", "vm", "--wait"]);
    let most = daemon.ctl(&["volume", "resize", "vm", "1PiB"]);
    assert_eq!(most.exit, Exit::Incomplete);
    assert!(
        most.json["error"]["message"].as_str().is_some_and(|words| words.contains("can grow to")),
        "{most:?}"
    );
    drop((new, client));
    daemon.stop_clean();
    check_backing(&place.file("vm.img"), 1, 8 * MIB - LINE, LINE);
    for offset in [8 * MIB, 9 * MIB, 10 * MIB, 11 * MIB - LINE] {
        check_backing(&place.file("vm.img"), 2, offset, LINE);
    }
}

/// What follows prints as it happens, a JSON object a line, and ends with the daemon, in words.
#[test]
fn whoever_follows_hears_of_it_until_the_daemon_ends() {
    let place = place_of(&["vm"]);
    let daemon = Daemon::start(&place);
    let follow = |words: &[&str]| {
        let socket: OsString = place.admin().into();
        let begin = ["--json".into(), "--socket".into(), socket];
        let words: Vec<OsString> = begin.into_iter().chain(words.iter().map(OsString::from)).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { out: &mut out, err: &mut err, progress: false, terminal: false };
        let exit = holdfast_ctl::run_on("holdfastctl", words, &mut streams);
        let text = String::from_utf8(out).expect("text");
        (
            exit,
            text.lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect::<Vec<serde_json::Value>>(),
        )
    };
    std::thread::scope(|scope| {
        let events = scope.spawn(|| follow(&["events", "--follow"]));
        let stats = scope.spawn(|| follow(&["stats", "--watch", "100ms"]));
        daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "x"]);
        let client = daemon.client("vm");
        client.write_at(&pattern(1, 0, LINE), 0).expect("acknowledged");
        assert_eq!(failure(client.flush()).0, EIO);
        eventually("it heals", || client.flush().ok());
        let seen = eventually("both have looked", || {
            let events = daemon.must(&["events"])["events"].as_array().map(Vec::len).unwrap_or(0);
            (events >= 2).then_some(events)
        });
        std::thread::sleep(std::time::Duration::from_millis(700));
        drop(client);
        daemon.stop_clean();
        let (exit, pages) = events.join().expect("it does not panic");
        assert_eq!(exit, Exit::Unreachable);
        let told: usize = pages.iter().filter_map(|page| page["events"].as_array()).map(Vec::len).sum();
        assert!(told >= seen, "{told} of {seen}: {pages:?}");
        assert_eq!(pages.last().expect("the end")["error"]["code"], "unreachable");
        let (exit, rates) = stats.join().expect("it does not panic");
        assert_eq!(exit, Exit::Unreachable);
        let writes = |rates: &serde_json::Value| rates["volumes"][0]["writes"].as_f64().unwrap_or(0.0);
        assert!(rates.iter().any(|rates| writes(rates) > 0.0), "{rates:?}");
    });
}
