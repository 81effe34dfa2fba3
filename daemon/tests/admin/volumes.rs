//! Volumes that come and go, and their budgets, at the operators' interface.

use crate::world::World;
use holdfast_ctl::Exit;
use holdfast_ctl::api::VolumeState;

#[test]
fn a_volume_is_added_and_said_how_to_keep() {
    let world = World::new();
    let ran = world.ctl("volume add vm9 --backing /dev/sdz --budget 10%");
    assert_eq!(ran.exit, Exit::Ok, "{ran:?}");
    let toml =
        "[[volume]]\nname = \"vm9\"\nbacking = { kind = \"block\", path = \"/dev/sdz\" }\nbudget = \"10%\"\n";
    assert_eq!(world.state().deeds, [format!("add {toml:?} dry_run=false")]);
    for words in
        ["vm9: added", "gone when the daemon is stopped", "'/etc/holdfast.toml'", "  name = \"vm9\"\n"]
    {
        assert!(ran.out.contains(words), "{words:?} is not in {}", ran.out);
    }
    let trial = world.told("volume add vm9 --backing /dev/sdz --dry-run");
    assert!(trial.contains("would be added. Nothing was changed."), "{trial}");
}

#[test]
fn a_volume_is_removed_and_said_what_became_of_it() {
    let world = World::new();
    let told = world.told("volume remove vm2");
    assert_eq!(told, "vm2: removed; 2 sessions were ended, and its device is free.\n");
    for unconfirmed in ["volume remove vm2 --abandon", "volume remove vm7"] {
        assert_eq!(world.ctl(unconfirmed).exit, Exit::Usage, "{unconfirmed}");
    }
    let raw = "POST /v1/volumes/vm2/remove HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16\r\n\r\n{\"abandon\":true}";
    assert!(world.raw(raw.as_bytes()).starts_with("HTTP/1.1 400"), "the interface asks, too");
    assert_eq!(world.state().deeds, ["remove 1 abandon=false dry_run=false"]);
    let told = world.told("volume remove vm2 --abandon --yes-lose-data");
    assert!(told.contains("4.0 KiB were given up, and are on record as lost."), "{told}");
    assert_eq!(world.state().deeds[1], "remove 1 abandon=true dry_run=false");
}

#[test]
fn a_budget_is_set_as_a_configuration_says_it() {
    let world = World::new();
    world.told("volume budget vm1 2GiB --dry-run");
    assert_eq!(world.state().deeds, ["budget 0 2GiB dry_run=true"]);
}

/// A volume that is being removed is not the daemon's end, as it once was said to be.
#[test]
fn one_volume_that_goes_is_no_sign_of_the_end() {
    let world = World::new();
    world.state().volumes[1].state = VolumeState::Draining;
    assert!(!world.ctl("status").out.contains("HF_STOPPING"));
    assert_eq!(world.ctl("status").exit, Exit::Ok);
    world.state().volumes[0].state = VolumeState::Draining;
    assert!(world.ctl("health").out.contains("HF_STOPPING"));
}
