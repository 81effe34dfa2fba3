//! Verbs that change something: what reaches the reactors, what is said, and with which exit code.

use crate::fake::{Mood, failed};
use crate::world::World;
use holdfast_ctl::Exit;
use holdfast_daemon::admin::ThinView;
use holdfast_engine::{ByteRange, Command, VolumeId};
use holdfast_policy::{ClassSet, ErrorClass};

fn world_with_failures() -> World {
    let world = World::new();
    world.state().volumes[0].stats.failed = 6;
    world
}

fn commands(world: &World) -> Vec<(u16, Command)> {
    world.state().commands.iter().map(|(VolumeId(volume), command, _)| (*volume, command.clone())).collect()
}

#[test]
fn retry_exits_with_0_only_if_all_was_healed() {
    let world = world_with_failures();
    let ran = world.ctl("retry vm1 --wait");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "vm1: healed, all of 24.0 KiB.\n"));
    let everything = Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY };
    assert_eq!(commands(&world), [(0, everything)]);
    world.state().mood = Mood::HalfHearted;
    let ran = world.ctl("retry vm1");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(
        ran.out.starts_with("vm1: 12.0 KiB healed, 12.0 KiB still refused. See 'holdfastctl --socket "),
        "{ran:?}"
    );
}

#[test]
fn retry_says_where_and_what() {
    let world = world_with_failures();
    let ran = world.ctl("retry vm1 --range 1MiB:8KiB --class space --class gone --json");
    assert_eq!(ran.exit, Exit::Ok);
    let operation = &ran.json()["operation"];
    assert_eq!(operation["verb"], "retry");
    assert_eq!(operation["state"], "done");
    assert_eq!(operation["range"]["offset"], 1 << 20);
    assert_eq!(operation["left_bytes"], 0);
    let range = ByteRange { offset: 1 << 20, length: 8192 };
    let classes = ClassSet::from_classes(&[ErrorClass::Space, ErrorClass::Gone]);
    assert_eq!(commands(&world), [(0, Command::Retry { range, classes })]);
}

#[test]
fn retry_all_takes_the_volumes_that_need_it() {
    let world = World::new();
    let ran = world.ctl("retry --all --wait");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "There is nothing to retry.\n"));
    world.state().volumes[0].stats.failed = 3;
    world.state().volumes[1].stats.gate_class = ErrorClass::Gone as u8;
    let ran = world.ctl("retry --all --wait");
    assert_eq!(ran.exit, Exit::Ok);
    assert_eq!(ran.out, "vm1: healed, all of 12.0 KiB.\nvm2: nothing is held as failed here.\n");
    assert_eq!(commands(&world).iter().map(|(volume, _)| *volume).collect::<Vec<_>>(), [0, 1]);
}

/// One volume that is out of service must not keep the others from being retried.
#[test]
fn retry_all_goes_on_past_a_volume_that_is_not_served() {
    let world = world_with_failures();
    {
        let mut state = world.state();
        state.volumes[1].stats.failed = 3;
        state.volumes[0].state = holdfast_ctl::api::VolumeState::Waiting;
        state.volumes[0].why = Some("the device is not there.".to_owned());
    }
    let ran = world.ctl("retry --all --wait");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert_eq!(ran.out, "vm2: healed, all of 12.0 KiB.\n");
    assert!(
        ran.err.contains("Volume 'vm1' is not served, there is nothing to retry: the device is not there.")
    );
    let json = world.ctl("retry --all --wait --json").json();
    assert_eq!(json["operations"][0]["volume"], "vm2");
    assert_eq!(json["errors"][0]["code"], "busy");
}

#[test]
fn a_retry_that_hangs_goes_on_and_can_be_asked_about() {
    let world = world_with_failures();
    assert_eq!(world.told("operation"), "No operation was started lately.\n");
    world.state().mood = Mood::Hanging;
    let ran = world.ctl("retry vm1");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(
        ran.out
            .starts_with("vm1: retry goes on: 0 B of 24.0 KiB done. Ask again with: holdfastctl --socket ")
    );
    assert!(ran.out.ends_with(" operation 1\n"), "{ran:?}");
    world.state().volumes[0].stats.failed = 2;
    let running = world.ctl("operation 1 --json");
    assert_eq!(running.exit, Exit::Incomplete);
    let operation = &running.json()["operation"];
    assert_eq!((&operation["state"], &operation["done_bytes"]), (&"running".into(), &16_384.into()));
    assert_eq!((&operation["left_bytes"], &operation["finished"]), (&8192.into(), &serde_json::Value::Null));
    let all = world.told("operation");
    assert!(
        all.starts_with("1 20") && all.contains("Z retry vm1: retry goes on: 16.0 KiB of 24.0 KiB done."),
        "{all}"
    );
    let list = world.ctl("operation --json").json();
    assert_eq!(list["operations"][0], *operation, "whoever was not told the number finds it");
    world.state().release();
    while world.ctl("operation 1").exit != Exit::Ok {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let ended = world.ctl("operation 1 --json").json();
    assert_eq!(ended["operation"]["tried_bytes"], 24_576);
    assert!(ended["operation"]["finished"]["unix_ms"].is_u64());
}

#[test]
fn reactors_that_refuse_and_a_daemon_that_stops_are_no_success() {
    let world = world_with_failures();
    world.state().mood = Mood::Refusing;
    let ran = world.ctl("retry vm1");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(ran.out.starts_with("vm1: retry was refused by a reactor: EOPNOTSUPP. See "), "{ran:?}");
    world.state().mood = Mood::Stopping;
    let ran = world.ctl("drain vm1");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(ran.out.starts_with("vm1: drain was cut short, the daemon is stopping."), "{ran:?}");
}

#[test]
fn drop_and_ack_loss_need_to_be_meant() {
    let world = world_with_failures();
    world.state().volumes[0].stats.lost = 3;
    let ran = world.ctl("drop vm1");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""));
    assert_eq!(
        ran.err,
        "holdfastctl: 'drop' loses what volume 'vm1' holds as failed, for good.\n  Nothing was changed. If that is meant, \
         add --yes-lose-data.\n"
    );
    assert_eq!(world.ctl("ack-loss vm1").exit, Exit::Usage);
    assert_eq!(commands(&world), []);
    let ran = world.ctl("drop vm1 --range 0:8KiB --yes-lose-data");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "vm1: 24.0 KiB given up, and on record as lost.\n"));
    let ran = world.ctl("ack-loss vm1 --yes");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "vm1: loss of 12.0 KiB acknowledged.\n"));
    let range = ByteRange { offset: 0, length: 8192 };
    let expected = [(0, Command::Drop { range }), (0, Command::AckLoss { range: ByteRange::ALL })];
    assert_eq!(commands(&world), expected);
}

/// Who did it must be known to whoever keeps the record.
#[test]
fn commands_carry_who_gave_them() {
    let world = world_with_failures();
    world.ctl("drop vm1 --yes-lose-data");
    let (_, _, peer) = world.state().commands[0];
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
}

#[test]
fn drain_takes_one_volume_or_all() {
    let world = World::new();
    let ran = world.ctl("drain vm2");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "vm2: drained: all is on stable media.\n"));
    world.state().mood = Mood::HalfHearted;
    let ran = world.ctl("drain");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(
        ran.out.starts_with("vm1: drained as far as the device allows, 12.0 KiB not on stable media."),
        "{ran:?}"
    );
    let volumes: Vec<u16> = commands(&world).iter().map(|(volume, _)| *volume).collect();
    assert_eq!(volumes, [1, 0, 1]);
}

#[test]
fn faults_are_added_listed_and_cleared() {
    let world = World::new();
    assert_eq!(world.told("fault vm1 list"), "Volume 'vm1' has no faults injected.\n");
    world.told("fault vm1 add write ENOSPC --range 4KiB:8KiB --sequence wwX");
    world.told("fault vm1 add flush 5 --sequence xh");
    assert_eq!(
        world.told("fault vm1 list"),
        "OPERATION  ERRNO   RANGE       SEQUENCE\nwrite      ENOSPC  4096:8192   wwX\nflush      EIO     everywhere  xh\n"
    );
    let fault = world.state().faults.as_ref().expect("faults are allowed")[0].clone();
    assert_eq!((fault.errno, fault.range), (28, ByteRange { offset: 4096, length: 8192 }));
    let json = world.ctl("fault vm1 list --json").json();
    assert_eq!(
        json["faults"][1],
        serde_json::json!({"operation":"flush","errno":"EIO","range":null,"sequence":"xh"})
    );
    assert_eq!(world.told("fault vm1 clear"), "Volume 'vm1' has no faults injected.\n");
}

#[test]
fn thin_limits_grow_under_both_names() {
    let world = World::new();
    world.state().volumes[0].thin = Some(ThinView { limit_bytes: 1 << 20, allocated_bytes: 1 << 20 });
    assert_eq!(world.told("grow-thin vm1 1MiB"), "vm1: 1.0 MiB of 2.0 MiB allocated.\n");
    let json = world.ctl("volume grow-thin vm1 4096 --json").json();
    assert_eq!(json["limit_bytes"], (2 << 20) + 4096);
    let ran = world.ctl("grow-thin vm2 1MiB");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert_eq!(ran.err, "holdfastctl: Volume 'vm2' has no thin limit.\n  Make room on its device.\n");
}

#[test]
fn shutdown_abandons_only_what_it_was_told_to() {
    let world = World::new();
    assert_eq!(world.ctl("shutdown --abandon").exit, Exit::Usage);
    assert_eq!(world.state().shutdown, None);
    assert_eq!(
        world.told("shutdown"),
        "The daemon drains and ends. What a device refuses stays in the arena, where the next daemon finds it.\n"
    );
    assert_eq!(world.state().shutdown, Some(false));
    assert_eq!(world.ctl("shutdown --abandon --yes-lose-data").exit, Exit::Ok);
    assert_eq!(world.state().shutdown, Some(true));
}

/// Who ends the daemon hears what devices refuse, by volume: what stays in the arena, or is given up.
#[test]
fn shutdown_says_what_devices_refuse() {
    let world = World::new();
    {
        let mut state = world.state();
        let stats = &mut state.volumes[0].stats;
        (stats.not_clean, stats.failed, stats.gate_class) = (32, 16, ErrorClass::Space as u8);
        // Dirty, and nobody refuses it.
        state.volumes[1].stats.not_clean = 8;
    }
    let expected = "The daemon drains and ends. What a device refuses stays in the arena, where the next daemon finds it.\n\
        vm1: its device refuses, with 128.0 KiB held, unless it takes them meanwhile.\n";
    assert_eq!(world.told("shutdown"), expected);
    let json = world.ctl("shutdown --json").json();
    assert_eq!(json["held"], serde_json::json!([{"volume": "vm1", "bytes": 128 << 10}]));
    let abandoned = world.told("shutdown --abandon --yes-lose-data");
    assert!(abandoned.contains("is given up") && abandoned.contains("128.0 KiB held"), "{abandoned}");
}

/// Who asks for help on events hears of every kind that the daemon uses, and how to page.
#[test]
fn help_on_events_names_every_kind() {
    let help = World::new().ctl("events --help").out;
    let words =
        "not_stable lost healed given_up rescinded loss_healed loss_acknowledged changed --since newest";
    for word in words.split(' ') {
        assert!(help.contains(word), "{word} is missing in: {help}");
    }
}

/// Operations that ended are forgotten, the oldest first; operations that run are not, so their number has an end.
#[test]
fn the_table_of_operations_is_bounded() {
    let world = world_with_failures();
    world.state().extents = vec![failed(0, 4096)];
    for _ in 0..65 {
        assert_eq!(world.ctl("retry vm1").exit, Exit::Ok);
    }
    assert_eq!(world.ctl("operation 1").exit, Exit::Usage, "the oldest is forgotten");
    assert_eq!(world.ctl("operation 65").exit, Exit::Ok);
    world.state().mood = Mood::Hanging;
    let post = b"POST /v1/volumes/vm1/retry HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    for number in 0..64 {
        assert!(world.raw(post).starts_with("HTTP/1.1 202"), "{number}");
    }
    let refused = world.raw(post);
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("64 operations are running"), "{refused}");
}
