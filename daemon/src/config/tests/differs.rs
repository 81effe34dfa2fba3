//! What differs between two configurations, and what of it can change while the daemon runs.

use super::{MINIMAL, accept};
use crate::config::difference::live_keys;
use crate::config::{Settings, differences};

/// The keys that differ, with whether they need a restart.
fn keys(before: &Settings, after: &Settings) -> Vec<(String, bool)> {
    differences(before, after).into_iter().map(|one| (one.key, one.needs_restart)).collect()
}

fn with(more: &str) -> Settings {
    accept(&format!("{MINIMAL}{more}"))
}

#[test]
fn equal_configurations_do_not_differ() {
    assert_eq!(differences(&with(""), &with("")), []);
    assert_eq!(
        differences(&with(""), &with("mode = \"write-back\"\n")),
        [],
        "a default that is written down"
    );
}

#[test]
fn each_setting_is_named_with_what_it_was_and_is() {
    let found = differences(&with(""), &with("io_timeout = \"5s\"\n"));
    assert_eq!(found.len(), 1);
    let one = &found[0];
    assert_eq!(
        (one.key.as_str(), one.before.as_str(), one.after.as_str()),
        ("volume.vm1.io_timeout", "30s", "5s")
    );
    for (more, key, needs_restart) in [
        ("parked_flushes_max = 3\n", "volume.vm1.parked_flushes_max", false),
        ("write_back = { from = \"50%\" }\n", "volume.vm1.write_back.from", false),
        ("write_back = { after = \"5s\" }\n", "volume.vm1.write_back.after", false),
        ("flush_on_failure = \"stall\"\n", "volume.vm1.flush_on_failure", false),
        ("clients = { uids = [5] }\n", "volume.vm1.clients", false),
        ("budget = \"10%\"\n", "volume.vm1.budget", false),
        ("mode = \"write-through\"\n", "volume.vm1.mode", true),
        ("read_only = true\n", "volume.vm1.read_only", true),
        ("[limits]\nsessions_max = 5\n", "limits.sessions_max", false),
        ("[limits]\ndevice_ops_max = 5\n", "limits.device_ops_max", true),
        ("[arena]\npath = \"/elsewhere\"\n", "arena.path", true),
        ("[daemon]\nidle = \"spin\"\n", "daemon.idle", true),
        ("[debug]\nfault_injection = true\n", "debug.fault_injection", true),
    ] {
        assert_eq!(keys(&with(""), &with(more)), [(key.to_owned(), needs_restart)], "{more}");
    }
}

#[test]
fn volumes_are_told_apart_by_name() {
    let other =
        "[[volume]]\nname = \"vm2\"\nbacking = { kind = \"block\", path = \"/dev/vdc\" }\nbudget = \"10%\"\n";
    let budgeted = MINIMAL.to_owned() + "budget = \"10%\"\n";
    let (one, two) = (accept(&format!("{budgeted}{other}")), accept(&format!("{other}{budgeted}")));
    assert_eq!(differences(&one, &two), [], "their order says nothing");
    assert_eq!(keys(&accept(&budgeted), &one), [("volume.vm2".to_owned(), false)]);
    assert_eq!(keys(&one, &accept(&budgeted)), [("volume.vm2".to_owned(), false)]);
}

#[test]
fn a_thin_limit_can_be_raised_only() {
    let thin = |limit: &str| {
        let limit = if limit.is_empty() { String::new() } else { format!(", thin_limit = \"{limit}\"") };
        accept(&format!(
            "[[volume]]\nname = \"a\"\nbacking = {{ kind = \"file\", path = \"/a\", size = \"1GiB\"{limit} }}\n"
        ))
    };
    for (before, after, needs_restart) in
        [("4MiB", "8MiB", false), ("8MiB", "4MiB", true), ("", "4MiB", true), ("4MiB", "", true)]
    {
        let key = "volume.a.backing.thin_limit".to_owned();
        assert_eq!(keys(&thin(before), &thin(after)), [(key, needs_restart)], "{before} {after}");
    }
}

/// configs/README.md says what a reload takes: each key, and no other.
#[test]
fn the_readme_says_what_can_change() {
    let readme = include_str!("../../../../configs/README.md");
    let section = readme.split("## What can change while the daemon runs").nth(1).expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another one follows");
    let (takes, _) = section.split_once("Everything else").expect("what it does not take follows");
    let named: std::collections::BTreeSet<String> = takes
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .filter(|word| !word.contains([' ', '-']) && word != "backing.thin_limit")
        .collect();
    assert_eq!(named, live_keys(&with("")), "a raised thin limit is not among those that always can");
}
