//! `retry --all` over a hundred thousand failed extents while clients work: progress is told, nobody waits for it, and it can be
//! ended in the middle. How many steps a turn takes meanwhile is counted in the engine's tests.

use crate::kills::Ended;
use crate::pattern::{EIO, check_backing, check_same, failure, pattern};
use crate::place::{KIB, LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually, number};
use holdfast_ctl::Exit;
use std::sync::atomic::{AtomicBool, Ordering};

const EXTENTS: u64 = 100_000;
/// Clients that write them.
const PARTS: u64 = 4;
/// Of a line, at its fourth sector: no two can be joined.
const SECTOR: u64 = 512;

const fn place_of(extent: u64) -> u64 {
    extent * LINE + 3 * SECTOR
}

fn place() -> Place {
    let mut place = Place::new();
    place.change("size = \"32MiB\"", "size = \"512MiB\"");
    let keys = "budget = \"420MiB\"\nwrite_back = { from = \"100%\", after = \"1h\" }";
    let retry = r#"{ kind = "hold-forever", stall_timeout = "30s" }"#;
    let ill = Volume::file("ill", &place.file("ill"), 400 * MIB).with(keys).policy(retry);
    place.add(&[ill, Volume::file("well", &place.file("well"), 8 * MIB).with("budget = \"8MiB\"")]);
    place
}

/// Writes, reads and flushes of a volume that has nothing to do with it; how many of them.
fn work(daemon: &Daemon<'_>, stop: &AtomicBool) -> u64 {
    let client = daemon.client("well");
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let at = rounds * 7 % 2048 * LINE;
        client.write_at(&pattern(rounds, at, LINE), at).expect("its disk is well");
        let mut data = vec![0; LINE as usize];
        client.read_at(&mut data, at).expect("its disk is well");
        check_same(&data, &pattern(rounds, at, LINE), "what was written");
        if rounds % 16 == 0 {
            client.flush().expect("its disk is well");
        }
        rounds += 1;
    }
    rounds
}

#[test]
fn a_hundred_thousand_failed_extents_are_retried_while_clients_work() {
    let place = place();
    let daemon = Daemon::start(&place);
    let client = daemon.client("ill");
    // Nothing is tried again by itself, which would be all that the daemon does.
    daemon.must(&["policy", "set", "ill", "--retry-on", "operator"]);
    daemon.must(&["fault", "ill", "add", "write", "EIO"]);
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            let client = daemon.client("ill");
            scope.spawn(move || {
                for at in (part..EXTENTS).step_by(PARTS as usize).map(place_of) {
                    client.write_at(&pattern(1, at, SECTOR), at).expect("acknowledged");
                }
            });
        }
    });
    assert_eq!(failure(client.flush()).0, EIO);
    eventually("all of them failed", || {
        (daemon.bytes("ill", "failed_bytes") == EXTENTS * LINE).then_some(())
    });

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // If something here fails, the test ends all the same.
        let ended_anyway = Ended(&stop);
        let worker = scope.spawn(|| work(&daemon, &stop));
        // What hangs keeps the retry from its end, so that there is a middle to cancel it in; what is refused is left over.
        daemon.must(&["fault", "ill", "clear"]);
        let hang = "h".repeat(64);
        daemon.must(&["fault", "ill", "add", "write", "EIO", "--range", "300MiB:64MiB", "--sequence", &hang]);
        daemon.must(&["fault", "ill", "add", "write", "EIO", "--range", "380MiB:1MiB"]);
        let started = daemon.ctl(&["retry", "ill"]);
        let id = number(&started.json["operation"], "id").to_string();
        let operation = |daemon: &Daemon<'_>| daemon.ctl(&["operation", &id]).json["operation"].clone();
        eventually("some is done, and told of", || {
            (number(&operation(&daemon), "done_bytes") > 0).then_some(())
        });
        let cancelled = daemon.ctl(&["cancel", &id]);
        assert!(matches!(cancelled.exit, Exit::Ok | Exit::Incomplete), "{cancelled:?}");
        daemon.must(&["fault", "ill", "clear"]);
        let ended = eventually("the end of what was cancelled", || {
            Some(operation(&daemon)).filter(|operation| operation["state"] != "running")
        });
        assert_eq!(ended["state"], "cancelled", "{ended}");
        assert!(number(&ended, "left_bytes") > 0, "{ended}");
        assert_eq!(daemon.ctl(&["cancel", &id]).exit, Exit::Usage, "it has ended");
        eventually("the audit has it", || {
            daemon.must(&["audit"]).to_string().contains("cancel the retries of ill").then_some(())
        });

        let told = daemon.must(&["retry", "--all", "--wait"]);
        let done = &told["operations"][0];
        assert_eq!((number(done, "left_bytes"), &done["state"]), (0, &"done".into()), "{told}");
        drop(ended_anyway);
        assert!(worker.join().expect("it does not panic") > 0);
    });
    client.flush().expect("nothing is wrong any more");
    assert_eq!(daemon.bytes("ill", "failed_bytes"), 0);
    let mut data = vec![0; 4 * KIB as usize];
    client.read_at(&mut data, 0).expect("well");
    drop(client);
    daemon.stop_clean();
    for extent in (0..EXTENTS).step_by(97) {
        check_backing(&place.file("ill"), 1, place_of(extent), SECTOR);
    }
}
