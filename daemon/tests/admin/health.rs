//! `health`: codes, what is safe, what to type, what it costs; and the runbook, which needs no daemon.

use crate::fake::{State, volume};
use crate::world::{World, run};
use holdfast_ctl::Exit;
use holdfast_ctl::api::{HealthCode, VolumeState};
use holdfast_daemon::admin::{StuckView, ThinView};
use holdfast_policy::ErrorClass;
use std::collections::BTreeSet;

fn world_with(trouble: impl FnOnce(&mut State)) -> World {
    let world = World::new();
    {
        let mut state = world.state();
        state.volumes = vec![volume("vm1", 0)];
        trouble(&mut state);
    }
    world
}

fn full(state: &mut State) {
    let stats = &mut state.volumes[0].stats;
    (stats.failed, stats.gate_class, stats.gate_errno) = (16, ErrorClass::Space as u8, 28);
    stats.not_clean = 800;
}

#[test]
fn detail_says_what_is_safe_what_to_type_and_what_it_costs() {
    let world = world_with(|state| state.volumes[0].stats.lost = 2);
    let expected = r"
  state: FAULTED

HF_LOST_EXTENTS FAULTED (volume vm1)
 status: Volume 'vm1' has lost 8.0 KiB of acknowledged data. Reads of it answer EIO, and so does
         every flush of the volume, until it is overwritten, discarded or acknowledged.
   safe: All other data of the volume is safe. What is lost reads as EIO and makes every flush
         fail, so that nobody mistakes it for good.
 action: See what is lost, and write it again from a copy: an overwrite heals it. If there is
         none, accept the loss. Type:
           holdfastctl --socket S extents vm1 --state lost
           holdfastctl --socket S ack-loss vm1 --yes
   cost: An overwrite from a copy costs nothing more. 'ack-loss' makes the loss final: the
         ranges then read whatever the device has there.
   read: holdfastctl --socket S runbook HF_LOST_EXTENTS
";
    assert_eq!(world.told("health detail"), expected[1..]);
    assert_eq!(world.ctl("health detail").exit, Exit::Faulted);
}

#[test]
fn the_short_form_is_a_line_for_each_code() {
    let world = world_with(|state| {
        full(state);
        state.daemon.warnings = vec!["no huge pages".to_owned()];
    });
    let expected = r"
DEGRADED
CODE               STATE     ABOUT
HF_FAILED_EXTENTS  DEGRADED  volume vm1
HF_BUDGET_80       DEGRADED  volume vm1
HF_FALLBACK        HEALTHY   daemon
";
    assert_eq!(world.told("health"), expected[1..]);
    assert_eq!(world_with(|_| ()).told("health"), "HEALTHY\n");
    let json = world.ctl("health --json").json();
    assert_eq!(json["health"], "DEGRADED");
    assert_eq!(json["reasons"][0]["code"], "HF_FAILED_EXTENTS");
    assert_eq!(json["notes"][0]["code"], "HF_FALLBACK");
    assert!(json["reasons"][1]["commands"].to_string().contains("holdfastctl export vm1 --dirty --to"));
}

/// A volume that is well and busy is no trouble; one that is in trouble and holds as much is about to stall its writers.
#[test]
fn a_full_budget_is_a_note_as_long_as_the_device_is_well() {
    let busy = world_with(|state| state.volumes[0].stats.not_clean = 800);
    assert_eq!(busy.ctl("status").exit, Exit::Ok);
    let json = busy.ctl("health --json").json();
    assert_eq!(
        (&json["reasons"], &json["notes"][0]["code"]),
        (&serde_json::json!([]), &"HF_BUDGET_80".into())
    );
    let less = world_with(|state| state.volumes[0].stats.not_clean = 799);
    assert_eq!(less.told("health"), "HEALTHY\n");
}

/// What a daemon shows of itself.
type Situation = Box<dyn Fn(&mut State)>;

/// Each code can be brought about by what the daemon shows of itself.
#[test]
fn every_code_has_its_situation() {
    let thin = |limit_bytes| Some(ThinView { limit_bytes, allocated_bytes: 80 });
    let situations: Vec<Situation> = vec![
        Box::new(full),
        Box::new(|state| state.volumes[0].stats.lost = 1),
        Box::new(|state| state.volumes[0].state = VolumeState::Refused),
        Box::new(|state| state.daemon.reactors[1].silent_ms = 6_000),
        Box::new(|state| {
            let stuck = StuckView { errno: 28, since_unix_ms: 0, waiting_entries: 1 };
            state.daemon.ledger.stuck = Some(stuck);
        }),
        Box::new(|state| state.volumes[0].stats.gate_class = ErrorClass::Gone as u8),
        Box::new(|state| state.volumes[0].stats.overdue = 1),
        Box::new(|state| state.volumes[0].stats.gate_class = ErrorClass::Transient as u8),
        Box::new(|state| state.volumes[0].stats.parked_flushes = 1),
        Box::new(|state| state.daemon.sessions = 64),
        Box::new(|state| state.volumes.iter_mut().for_each(|one| one.state = VolumeState::Draining)),
        Box::new(move |state| state.volumes[0].thin = thin(100)),
        Box::new(|state| state.volumes[0].direct = false),
        Box::new(|state| state.volumes[0].faults = 2),
        Box::new(|state| state.daemon.warnings = vec!["slow".to_owned()]),
    ];
    let mut seen = BTreeSet::new();
    for situation in situations {
        let json = world_with(situation).ctl("health --json").json();
        for part in ["reasons", "notes"] {
            for reason in json[part].as_array().expect("a list") {
                let code: HealthCode = reason["code"].as_str().expect("a name").parse().expect("a code");
                assert!(reason["safe"].as_str().is_some_and(|safe| !safe.is_empty()), "{reason}");
                assert!(reason["cost"].as_str().is_some_and(|cost| !cost.is_empty()), "{reason}");
                seen.insert(code);
            }
        }
    }
    assert_eq!(seen, HealthCode::ALL.into(), "in every situation, and no code without one");
}

#[test]
fn the_runbook_is_there_without_a_daemon() {
    let entry = run(vec!["runbook".into(), "HF_LEDGER_STUCK".into()]);
    assert_eq!((entry.exit, entry.err.as_str()), (Exit::Ok, ""));
    assert!(entry.out.starts_with("## HF_LEDGER_STUCK\n**Means.** The record"), "{}", entry.out);
    assert!(entry.out.ends_with("others notice nothing.\n\n"), "{}", entry.out);
    let whole = run(vec!["runbook".into()]);
    assert!(whole.out.starts_with("# Runbook\n") && whole.out.contains(&entry.out));
    let json = run(vec!["runbook".into(), "HF_THIN_80".into(), "--json".into()]).json();
    assert_eq!(json["code"], "HF_THIN_80");
    let unknown = run(vec!["runbook".into(), "HF_NOTHING".into()]);
    assert_eq!(unknown.exit, Exit::Usage);
    assert!(unknown.err.contains("is no health code"), "{unknown:?}");
    let codes = run(vec!["health".into(), "codes".into()]);
    assert_eq!(codes.out.lines().count(), 1 + HealthCode::ALL.len(), "{}", codes.out);
}
