//! Who may look and who may change.

use crate::world::{Ran, World};
use holdfast_ctl::Exit;
use holdfast_daemon::admin::Options;
use std::os::unix::fs::PermissionsExt;

/// Runs holdfastctl as somebody who is neither root nor the owner of `world`.
fn as_stranger(world: &World, words: &'static str) -> Ran {
    if !rustix::process::geteuid().is_root() {
        // Not root: the world was made with another owner, so that we are the stranger ourselves.
        return world.ctl(words);
    }
    as_nobody(world, 0o666, words)
}

/// Runs holdfastctl as nobody; the socket has mode `mode`. Only root can.
fn as_nobody(world: &World, mode: u32, words: &'static str) -> Ran {
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours to open");
    };
    open(world.directory.path(), 0o755);
    open(&world.socket(), mode);
    std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root becomes whom it likes");
            world.ctl(words)
        });
        stranger.join().expect("the stranger does not panic")
    })
}

/// A socket that keeps somebody out is not a daemon that is down: whose it is, and what to do, is said.
#[test]
fn who_may_not_even_look_is_told_who_may() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become somebody whom a socket keeps out");
        return;
    }
    let world = World::new();
    let ran = as_nobody(&world, 0o600, "status");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unreachable, ""), "{ran:?}");
    for words in [
        "this user may not connect to",
        "Permission denied",
        "Root, the daemon's user and the socket's group may look",
        "sudo",
    ] {
        assert!(ran.err.contains(words), "{words}: {ran:?}");
    }
    for words in ["Is holdfastd running", "no daemon"] {
        assert!(!ran.err.contains(words), "it runs, and is there: {ran:?}");
    }
}

fn world_of_somebody_else() -> World {
    let world = World::with(Options { owner_uid: 12_345, ..Options::default() });
    world.state().volumes[0].stats.failed = 3;
    world
}

#[test]
fn strangers_may_look() {
    let world = world_of_somebody_else();
    for words in [
        "status",
        "health detail",
        "volumes",
        "volume show vm1",
        "extents vm1 --state failed",
        "policy show vm1",
        "sessions",
        "audit",
        "stats",
        "events",
        "fault vm1 list",
    ] {
        let ran = as_stranger(&world, words);
        assert!(matches!(ran.exit, Exit::Ok | Exit::Incomplete), "{words}: {ran:?}");
        assert_eq!(ran.err, "", "{words}");
    }
}

#[test]
fn strangers_may_not_change_anything() {
    let world = world_of_somebody_else();
    let changing = [
        "retry vm1",
        "drop vm1 --yes-lose-data",
        "ack-loss vm1 --yes",
        "drain vm1",
        "fault vm1 add write EIO",
        "fault vm1 clear",
        "grow-thin vm1 1MiB",
        "policy set vm1 --kind hold-forever",
        "reload",
        "volume add vm9 --backing /dev/sdz",
        "volume remove vm1",
        "volume budget vm1 10%",
        "reload --dry-run",
        "sessions kill 1",
        "volume resize vm1 20GiB",
        "shutdown",
    ];
    for words in changing {
        let ran = as_stranger(&world, words);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotPermitted, ""), "{words}: {ran:?}");
        assert!(ran.err.contains("may look but not change anything"), "{words}: {ran:?}");
        assert!(
            ran.err.contains("Nothing was changed. Run the same command as root or as user 12345"),
            "{words}: {ran:?}"
        );
    }
    let state = world.state();
    assert!(state.commands.is_empty());
    assert_eq!((state.shutdown, state.reloads), (None, 0));
    assert_eq!(state.policies, [crate::fake::policy(), crate::fake::policy()]);
    assert_eq!(state.faults.as_deref(), Some(&[][..]));
}
