//! Verbs that change how the daemon works, and those that show it: `policy`, `reload`, `sessions`, `audit`, `volume`.

use crate::fake::failed;
use crate::world::World;
use holdfast_ctl::Exit;
use holdfast_daemon::admin::{AuditView, BackendError, SessionView};
use holdfast_daemon::config::Difference;
use holdfast_engine::FlushOnFailure;
use holdfast_policy::{ErrorClass, Policy};

const SHOWN: &str = r"
CLASS                           POLICY               GIVES UP                  WRITES WAIT  TRIED AGAIN
transient, space, medium, gone  hold-until-pressure  from 90.0% of the budget  30 s         on timer, flush, overwrite, every 100 ms to 30 s

A flush that cannot succeed answers at once with the error.
";

#[test]
fn a_policy_is_shown_as_it_is_in_force() {
    let world = World::new();
    assert_eq!(world.told("policy show vm1"), SHOWN[1..]);
    let json = world.ctl("policy show vm1 --json").json();
    let rule = &json["policy"]["rules"][0];
    assert_eq!((&rule["kind"], &rule["pressure_permille"]), (&"hold-until-pressure".into(), &900.into()));
    assert_eq!(json["differences"], serde_json::json!([]));
}

#[test]
fn a_policy_is_changed_for_the_classes_that_are_named() {
    let world = World::new();
    let ran = world.ctl("policy set vm1 --class space --kind hold-forever --stall-timeout 1m");
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert!(ran.out.contains("space                    hold-forever"), "{}", ran.out);
    assert!(ran.out.contains("volume.vm1.on_failure.space: held; from 90%"), "{}", ran.out);
    assert!(ran.out.contains("write it into the configuration"), "{}", ran.out);
    let state = world.state();
    let kind = |class| state.policies[0].rules.for_class(class).policy;
    assert!(
        matches!(kind(ErrorClass::Space), Policy::HoldForever(policy) if policy.stall_timeout_ms == 60_000)
    );
    assert!(matches!(kind(ErrorClass::Medium), Policy::HoldUntilPressure(_)));
}

#[test]
fn a_trial_of_a_policy_changes_nothing() {
    let world = World::new();
    let before = world.state().policies.clone();
    let ran = world.ctl("policy set vm1 --flush-on-failure stall --flush-timeout 10m --dry-run");
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    assert!(ran.out.contains("answers at once with the error -> waits up to 10m"), "{}", ran.out);
    assert!(ran.out.ends_with("Nothing was changed: this was a trial.\n"), "{}", ran.out);
    assert_eq!(world.state().policies, before);
    assert_eq!(world.ctl("policy set vm1 --flush-on-failure stall").exit, Exit::Ok);
    let stall = FlushOnFailure::Stall { timeout_ms: 300_000 };
    assert_eq!(world.state().policies[0].flush_on_failure, stall);
}

/// Held data is only put at the mercy of another policy by somebody who says so.
#[test]
fn a_policy_that_gives_up_sooner_must_be_meant_while_data_is_held() {
    let world = World::new();
    world.state().volumes[0].stats.failed = 3;
    let before = world.state().policies.clone();
    let ran = world.ctl("policy set vm1 --kind evict-immediately");
    assert_eq!(ran.exit, Exit::Usage, "{ran:?}");
    assert!(
        ran.err.contains("holds 3 lines") && ran.err.contains("holdfastctl export vm1 --dirty"),
        "{ran:?}"
    );
    let trial = world.ctl("policy set vm1 --kind evict-immediately --dry-run");
    assert_eq!(trial.exit, Exit::Usage, "as without --dry-run: {trial:?}");
    assert!(
        trial.out.contains("holds 3 lines") && trial.out.contains("refused without --yes-lose-data"),
        "{trial:?}"
    );
    let meant = world.ctl("policy set vm1 --kind evict-immediately --dry-run --yes-lose-data");
    assert_eq!((meant.exit, meant.out.contains("refused without")), (Exit::Ok, false), "{meant:?}");
    assert_eq!(world.state().policies, before);
    assert_eq!(world.ctl("policy set vm1 --kind hold-forever").exit, Exit::Ok, "that gives up later");
    assert_eq!(world.ctl("policy set vm1 --kind evict-immediately --yes-lose-data").exit, Exit::Ok);
    assert_eq!(world.ctl("policy set vm2 --kind evict-immediately").exit, Exit::Ok, "nothing is held there");
}

fn difference(key: &str, needs_restart: bool) -> Difference {
    let (before, after) = ("1".to_owned(), "2".to_owned());
    Difference { key: key.to_owned(), before, after, needs_restart }
}

#[test]
fn a_reload_says_what_differs() {
    let world = World::new();
    assert!(world.told("reload").ends_with("is what is in force: nothing to change.\n"));
    world.state().reload = Ok(vec![difference("limits.sessions_max", false)]);
    let before = world.state().reloads;
    assert_eq!(
        world.told("reload --dry-run"),
        "limits.sessions_max: 1 -> 2\nNothing was changed: this was a trial.\n"
    );
    assert_eq!(world.state().reloads, before);
    assert_eq!(world.told("reload"), "limits.sessions_max: 1 -> 2\nIn force now.\n");
    world.state().reload = Ok(vec![difference("arena.size", true)]);
    let ran = world.ctl("reload --dry-run");
    assert_eq!(ran.exit, Exit::Incomplete, "what a reload would refuse is not well");
    assert!(ran.out.contains("arena.size: 1 -> 2 (needs a restart)\n"), "{ran:?}");
    let (what, remedy) = ("'arena.size' cannot change.".to_owned(), "Start it again.".to_owned());
    world.state().reload = Err(BackendError::Refused { what, remedy });
    let ran = world.ctl("reload");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Incomplete, ""));
    assert!(ran.err.contains("'arena.size' cannot change.\n  Start it again."), "{ran:?}");
}

fn session(id: u64) -> SessionView {
    let volume = "vm1".to_owned();
    SessionView { id, volume, pid: 4711, uid: 1000, gid: 100, since_unix_ms: 0, leaving: false }
}

#[test]
fn sessions_are_listed_and_cut_off_one_by_one() {
    let world = World::new();
    assert_eq!(world.told("sessions"), "0 of 64 sessions.\n");
    world.state().sessions = vec![session(7), session(9)];
    let expected = r"
SESSION  VOLUME   PID   UID  GID  SINCE                     STATE
      7  vm1     4711  1000  100  1970-01-01T00:00:00.000Z  connected
      9  vm1     4711  1000  100  1970-01-01T00:00:00.000Z  connected

2 of 64 sessions.
";
    assert_eq!(world.told("sessions"), expected[1..]);
    assert_eq!(world.told("sessions kill 9"), "session 9 of volume 'vm1' (pid 4711, uid 1000) is cut off.\n");
    let ran = world.ctl("sessions kill 8");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("There is no session 8."), "{ran:?}");
    assert_eq!(world.state().killed, [9]);
}

#[test]
fn the_audit_says_who_did_what() {
    let world = World::new();
    assert_eq!(world.told("audit"), "Nobody changed anything.\n");
    let row = |number| AuditView {
        number,
        unix_ms: 0,
        who: "uid 0, gid 0, pid 1".to_owned(),
        verb: "drop vm1 --yes-lose-data".to_owned(),
    };
    world.state().audit = (5..8).map(row).collect();
    let expected = "(4 older audit rows are forgotten)\n(2 earlier: holdfastctl --socket S audit --since 4)\n7 \
                    1970-01-01T00:00:00.000Z uid 0, gid 0, pid 1: drop vm1 --yes-lose-data\n";
    assert_eq!(world.told("audit --limit 1"), expected);
    let first = world.told("audit --limit 1 --since 0");
    assert!(
        first.contains("\n5 1970")
            && first.ends_with("There are 2 more: holdfastctl --socket S audit --since 5\n"),
        "{first}"
    );
    let json = world.ctl("audit --since 6 --json").json();
    assert_eq!((&json["rows"][0]["number"], &json["next"]), (&7.into(), &7.into()));
}

#[test]
fn one_volume_is_shown_with_policy_and_clients() {
    let world = World::new();
    world.state().sessions = vec![session(7), SessionView { volume: "vm2".to_owned(), ..session(8) }];
    world.state().volumes[0].stats.failed = 2;
    let told = world.told("volume show vm1");
    for words in [
        " volume: vm1\n",
        "  state: DEGRADED, serving\n",
        "   size: 10.0 GiB (10737418240 bytes)\n",
        "   data: 0 B dirty, 0 B unstable, 8.0 KiB failed, 0 B lost\n",
        "hold-until-pressure",
        "      7  vm1     4711",
    ] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    assert!(!told.contains("vm2"), "{told}");
    let json = world.ctl("volume show vm1 --json").json();
    assert_eq!(json["volume"]["failed_bytes"], 8192);
    assert_eq!(json["sessions"][0]["id"], 7);
}

#[test]
fn a_volume_grows_and_never_shrinks() {
    let world = World::new();
    assert_eq!(
        world.told("volume resize vm1 20GiB --dry-run"),
        "vm1: would grow from 10.0 GiB to 20.0 GiB. Nothing was changed.\n"
    );
    assert_eq!(world.state().volumes[0].size_bytes, 10 << 30);
    assert!(world.told("volume resize vm1 20GiB").starts_with("vm1: grew from 10.0 GiB to 20.0 GiB."));
    for words in ["volume resize vm1 1GiB", "volume resize vm1 20GiB", "volume resize vm1 21474836481"] {
        let ran = world.ctl(words);
        assert_eq!(ran.exit, Exit::Usage, "{words}: {ran:?}");
        assert!(ran.err.contains("A volume only grows"), "{words}: {ran:?}");
    }
    assert_eq!(world.state().volumes[0].size_bytes, 20 << 30);
}

#[test]
fn manuals_are_pages_that_name_every_verb() {
    let world = World::new();
    let page = world.told("man");
    assert!(page.contains(".TH holdfastctl") && page.contains("export"), "{page}");
    let directory = world.directory.path().display();
    assert_eq!(world.ctl(&format!("man --to {directory}")).exit, Exit::Ok);
    assert!(world.directory.path().join("holdfastctl-export.1").is_file());
    let nowhere = world.ctl("man --to /nowhere/at/all");
    assert_eq!(nowhere.exit, Exit::Incomplete);
    assert!(nowhere.err.contains("Give a directory that exists."), "{nowhere:?}");
}

#[test]
fn top_refuses_where_there_is_no_terminal() {
    let ran = World::new().ctl("top");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""));
    assert!(ran.err.contains("stats --watch"), "{ran:?}");
}

/// Exporting needs the rings: what can be refused before is refused before, and nothing is made.
#[test]
fn exports_that_make_no_sense_make_no_file() {
    let world = World::new();
    let file = world.directory.path().join("saved");
    let to = file.display();
    let ran = world.ctl(&format!("export vm1 --failed --to {to}"));
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "vm1: nothing is failed here; no file was made.\n"));
    world.state().extents = vec![failed(0, 4096)];
    for (words, exit, expected) in [
        (format!("export vm1 --state lost --to {to}"), Exit::Usage, "in no place any more"),
        (format!("export vm9 --failed --to {to}"), Exit::Usage, "There is no volume 'vm9'."),
        (format!("export vm1 --failed --to {to}"), Exit::Incomplete, "no session for volume 'vm1'"),
        (format!("import vm1 --from {to}"), Exit::Usage, "--yes-overwrite"),
        (format!("import vm1 --from {to} --dry-run"), Exit::Usage, "cannot read the manifest"),
    ] {
        let ran = world.ctl(&words);
        assert_eq!((ran.exit, ran.out.as_str()), (exit, ""), "{words}: {ran:?}");
        assert!(ran.err.contains(expected), "{words}: {ran:?}");
    }
    assert!(!file.exists());
}
