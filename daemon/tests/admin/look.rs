//! Verbs that change nothing: what they print, and the same as JSON.

use crate::fake::failed;
use crate::world::World;
use holdfast_ctl::Exit;
use holdfast_ctl::api::{
    Events, Explanation, Extents, FailureId, Stats, Status, Versioned, VolumeState, Volumes,
};
use holdfast_daemon::admin::{EventView, ExplanationPage};
use holdfast_engine::ListState;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(world: &World, words: &str) -> T {
    let ran = world.ctl(&format!("--json {words}"));
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    let value = ran.json();
    let answer: Versioned<T> = serde_json::from_value(value).expect("the answer is of its own type");
    answer.body
}

#[test]
fn every_look_parses_back_as_its_type() {
    let world = World::new();
    let status: Status = read(&world, "status");
    assert_eq!(status.daemon.reactors, 3);
    assert_eq!(status.daemon.incarnation, "0000000000000abc");
    assert_eq!(status.volumes.len(), 2);
    let volumes: Volumes = read(&world, "volumes");
    assert_eq!(volumes.volumes[1].name, "vm2");
    assert_eq!(volumes.volumes[1].bytes.budget_bytes, 4_096_000);
    let stats: Stats = read(&world, "stats");
    assert_eq!((stats.volumes.len(), stats.reactors.len()), (2, 3));
    assert_eq!(stats.reactors[2].busy_turns, 10);
}

#[test]
fn volumes_says_what_is_behind_them() {
    let world = World::new();
    world.state().volumes.truncate(1);
    world.state().volumes[0].direct = false;
    let told = world.told("volumes");
    assert_eq!(
        told,
        "VOLUME  STATE    SERVICE  MODE            SIZE  NOT CLEAN   BUDGET  THIN  I/O         BACKING       IDENTITY  POLICY\n\
         vm1     HEALTHY  serving  write-back  10.0 GiB        0 B  3.9 MiB     -  page cache  /srv/vm1.img  ext4:0    \
         space, transient: hold-until-pressure; any: evict-immediately\n"
    );
}

#[test]
fn extents_are_listed_with_all_that_is_known() {
    let world = World::new();
    world.state().extents = vec![failed(0, 4096), failed(4096, 4096), failed(1 << 20, 512)];
    assert_eq!(
        world.told("extents vm1 --state failed"),
        " OFFSET  LENGTH     SIZE  STATE   CLASS  ERRNO   TRIES  FIRST                     LAST\n      0    8192  8.0 KiB  \
         failed  space  ENOSPC      3  2026-01-02T03:04:06.000Z  2026-01-02T03:04:07.000Z\n1048576     512    512 B  \
         failed  space  ENOSPC      3  2026-01-02T03:04:06.000Z  2026-01-02T03:04:07.000Z\n"
    );
    let page: Extents = read(&world, "extents vm1 --state failed --from 4KiB");
    assert_eq!((page.extents[0].offset, page.extents[0].length), (4096, 4096));
    assert_eq!(page.next, None);
    assert_eq!(world.told("extents vm1 --state dirty"), "Volume 'vm1' has no dirty extents here.\n");
}

/// What waits behind a closed gate has the device's word and no attempt of its own, so no time either.
#[test]
fn an_extent_that_was_never_tried_has_no_times() {
    let world = World::new();
    let (never, none) = (holdfast_engine::Instant(0), 0);
    let behind = holdfast_engine::Extent { attempts: none, first: never, last: never, ..failed(4096, 4096) };
    world.state().extents = vec![behind];
    assert_eq!(
        world.told("extents vm1 --state failed"),
        "OFFSET  LENGTH     SIZE  STATE   CLASS  ERRNO   TRIES  FIRST  LAST\n  4096    4096  4.0 KiB  failed  space  ENOSPC      \
         0  -      -\n"
    );
}

#[test]
fn losses_of_a_volume_that_is_not_served_come_from_the_ledger() {
    let world = World::new();
    let lost = |offset| holdfast_engine::Extent { state: ListState::Lost, ..failed(offset, 512) };
    {
        let mut state = world.state();
        state.volumes[0].state = VolumeState::Waiting;
        state.recorded_losses = vec![lost(0), lost(8192), lost(16_384)];
    }
    let page: Extents = read(&world, "extents vm1 --state lost --limit 2");
    assert_eq!(page.extents.len(), 2);
    assert_eq!(page.next, Some(16_384));
}

#[test]
fn explain_names_what_a_failed_flush_reported() {
    let world = World::new();
    let extents = vec![failed(0, 4096), failed(8192, 4096), failed(16_384, 4096)];
    let volume = "vm1".to_owned();
    let page = ExplanationPage {
        volume,
        errno: 28,
        reported_unix_ms: crate::fake::EPOCH_MS,
        unresolved: true,
        extents,
        next: None,
    };
    world.state().explanation = Some((0xfeed, page));
    let told = world.told("explain feed --limit 1");
    assert_eq!(
        told,
        "failure: 000000000000feed\n status: A flush of volume 'vm1' failed with ENOSPC (No space left on device), first \
         reported\n         2026-01-02T03:04:05.000Z. It is still true: what is listed is not on stable media.\n\nOFFSET  \
         LENGTH     SIZE  STATE   CLASS  ERRNO   TRIES  FIRST                     LAST\n     0    4096  4.0 KiB  failed  \
         space  ENOSPC      3  2026-01-02T03:04:06.000Z  2026-01-02T03:04:07.000Z\nThere are more: holdfastctl --socket S \
         explain 000000000000feed --from 8192\n"
    );
    assert_eq!(
        world.told("explain"),
        "FAILURE           VOLUME  FIRST REPORTED            NOW\n000000000000feed  vm1     2026-01-02T03:04:05.000Z  still \
         true\n\nWhat the last one was: holdfastctl --socket S explain 000000000000feed\n"
    );
    let page: Explanation = read(&world, "explain 000000000000feed --from 8192");
    assert_eq!((page.id, page.extents.len(), page.next), (FailureId(0xfeed), 2, None));
    world.state().explanation.as_mut().expect("it was set").1.unresolved = false;
    assert!(world.told("explain feed").contains("It is over:"));
}

#[test]
fn events_are_told_in_order_and_what_was_forgotten_is_said() {
    let world = World::new();
    assert_eq!(
        world.told("events"),
        "Nothing happened since this daemon started. What was held before that: 'holdfastctl status'.\n"
    );
    let event = |number| EventView {
        number,
        unix_ms: crate::fake::EPOCH_MS + number,
        kind: "first_failure",
        volume: Some("vm1".to_owned()),
        message: "ENOSPC at 0:4096.".to_owned(),
    };
    world.state().events = (5..=7).map(event).collect();
    assert_eq!(
        world.told("events --limit 1"),
        "(4 older events are forgotten)\n(2 earlier: holdfastctl --socket S events --since 4)\n7 2026-01-02T03:04:05.007Z \
         first_failure vm1: ENOSPC at 0:4096.\n",
        "what happened lately is the newest"
    );
    assert_eq!(
        world.told("events --limit 1 --since 4"),
        "5 2026-01-02T03:04:05.005Z first_failure vm1: ENOSPC at 0:4096.\nThere are 2 more: holdfastctl --socket S events \
         --since 5\n"
    );
    let page: Events = read(&world, "events --since 5");
    assert_eq!((page.events.len(), page.next, page.missed), (2, 7, 0));
}

#[test]
fn stats_are_tables() {
    let world = World::new();
    {
        let mut state = world.state();
        let stats = &mut state.volumes[0].stats;
        (stats.read_hits, stats.given_up, stats.device_write_bytes) = (12, 2, 1 << 20);
    }
    let told = world.told("stats");
    let row = |begin: &str| {
        let found = told.lines().filter(|line| line.starts_with(begin));
        found.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(row("vm1"), ["vm1 12 0 0 0 0 8.0 KiB", "vm1 0 1.0 MiB 0 0 0 0 0"]);
    assert_eq!(told.lines().filter(|line| line.contains(" us ")).count(), 3, "{told}");
}

#[test]
fn a_completion_script_needs_no_daemon() {
    let ran = crate::world::run(vec!["completion".into(), "bash".into()]);
    assert_eq!(ran.exit, Exit::Ok);
    assert!(ran.out.contains("_holdfastctl()"));
    assert!(ran.out.contains("ack-loss"));
}

#[test]
fn help_tells_the_exit_codes() {
    let ran = crate::world::run(vec!["--help".into()]);
    assert_eq!(ran.exit, Exit::Ok);
    assert!(ran.out.contains("77  only root and the daemon's user may do this"));
}
