//! What is accepted, and what it becomes.

use super::{EXAMPLES, MINIMAL, accept};
use crate::config::{Backing, Clients, Idle};
use holdfast_engine::{FlushOnFailure, Mode};
use holdfast_policy::{ErrorClass, HoldForever, HoldUntilPressure, Policy, Retry};
use std::path::PathBuf;

#[test]
fn what_a_file_leaves_out_has_its_default() {
    let settings = accept(MINIMAL);
    let daemon = &settings.daemon;
    assert_eq!((daemon.cores.as_slice(), daemon.reactors, daemon.idle), (&[][..], 1, Idle::Adaptive));
    assert_eq!((daemon.socket_mode, daemon.admin_socket_mode), (0o660, 0o600));
    assert_eq!((settings.arena.size_bytes, settings.arena.line_bytes), (1 << 30, 4096));
    assert!(!settings.debug.fault_injection);
    let volume = &settings.volumes[0];
    assert_eq!(volume.backing, Backing::Block { path: PathBuf::from("/dev/vdb") });
    assert_eq!((volume.mode, volume.flush_on_failure), (Mode::WriteBack, FlushOnFailure::Report));
    assert_eq!(
        (volume.write_back_from, volume.write_back_after_ms, volume.io_timeout_ms),
        (100, 1_000, 30_000)
    );
    assert_eq!(volume.clients, Clients::default());
    for class in ErrorClass::ALL {
        let rule = volume.rules.for_class(class);
        assert_eq!(rule.policy, Policy::HoldUntilPressure(HoldUntilPressure::default()));
        assert_eq!(rule.retry, Retry::default());
    }
}

/// `default.toml` says every default; a file that says only what has none is the same configuration.
#[test]
fn the_file_of_defaults_is_the_defaults() {
    let minimal = "[[volume]]\nname = \"vm1\"\nbacking = { kind = \"block\", path = \"/dev/nvme0n1\" }\n";
    assert_eq!(accept(EXAMPLES[0].1), accept(minimal));
}

#[test]
fn every_example_is_accepted_says_whom_it_is_for_and_reads_back_the_same() {
    for (name, text) in EXAMPLES {
        assert!(text.starts_with("# "), "{name} opens with a comment");
        let settings = accept(text);
        let written = settings.to_toml();
        assert_eq!(accept(&written), settings, "{name}\n{written}");
    }
    for (name, policy) in [
        ("evict-immediately.toml", "evict-immediately"),
        ("hold-until-pressure.toml", "hold-until-pressure"),
        ("hold-forever.toml", "hold-forever"),
    ] {
        let (_, text) = EXAMPLES.into_iter().find(|example| example.0 == name).expect("an example");
        let settings = accept(text);
        assert_eq!(policy_name(settings.volumes[0].rules.for_class(ErrorClass::Space).policy), policy);
        assert!(text.contains("# At ENOSPC: "), "{name} says what happens at ENOSPC");
    }
}

fn policy_name(policy: Policy) -> &'static str {
    holdfast_policy::FailurePolicy::name(&policy)
}

#[test]
fn a_file_on_disk_is_what_its_text_is() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/default.toml"));
    assert_eq!(crate::config::load(&path).expect("accepted"), accept(EXAMPLES[0].1));
}

#[test]
fn everything_that_can_be_said_reads_back_the_same() {
    let text = r#"
[daemon]
cores = [7, 2, 3]
idle = "spin"
state_dir = "/srv/a \"quoted\" folder"
socket_mode = 0o666
[arena]
size = "3072 MiB"
line = "16KiB"
stripe = "4MiB"
[limits]
request_bytes_max = "192KiB"
reserve = 0.125
[http]
listen = "[::]:9464"
allow_remote = true
token_file = "/etc/holdfast/token"
[events]
webhook = "http://[::1]:8080/holdfast?to=oncall"
timeout = "1500ms"
attempts = 10
[[volume]]
name = "a"
backing = { kind = "file", path = "/srv/a.img", size = "10GiB", create = true, thin_limit = "1GiB", buffered = true }
mode = "write-through"
budget = "12.5%"
flush_on_failure = "stall"
clients = { uids = [1000, 0], gids = [5] }
read_only = true
write_back = { from = 1.0, after = "1m 30s" }
[[volume.on_failure]]
class = ["gone", "space"]
policy = { kind = "hold-forever", stall_timeout = "0s" }
retry = { on = [], first = "10ms", max = "10ms" }
[[volume.on_failure]]
class = ["medium"]
policy = "evict-immediately"
[[volume]]
name = "b.2_c-d"
backing = { kind = "file", path = "/srv/b.img" }
budget = "1 GB"
[[volume]]
name = "0"
backing = { kind = "block", path = "/dev/vdb" }
"#;
    let settings = accept(text);
    assert_eq!(settings.daemon.reactors, 3);
    assert_eq!(settings.limits.reserve, 125);
    assert_eq!(settings.volumes[0].flush_on_failure, FlushOnFailure::Stall { timeout_ms: 300_000 });
    let rules = &settings.volumes[0].rules;
    let gone = rules.for_class(ErrorClass::Gone);
    assert_eq!(gone.policy, Policy::HoldForever(HoldForever { stall_timeout_ms: 0 }));
    assert!(!gone.retry.is_automatic());
    // No rule names it, so the default one does.
    assert_eq!(policy_name(rules.for_class(ErrorClass::Transient).policy), "hold-until-pressure");
    assert_eq!(accept(&settings.to_toml()), settings, "{}", settings.to_toml());
}

#[test]
fn budgets_left_out_share_equally_what_the_others_leave() {
    let volume = |name: &str, budget: &str| {
        format!(
            "[[volume]]\nname = \"{name}\"\nbacking = {{ kind = \"block\", path = \"/dev/{name}\" }}\n{budget}\n"
        )
    };
    let alone = accept(&volume("a", ""));
    let half = alone.slots_a_reactor() / 2;
    assert_eq!(alone.volumes[0].budget_bytes, half * 4096, "one volume takes half, not all");
    let text = volume("a", "budget = \"50%\"") + &volume("b", "") + &volume("c", "");
    let settings = accept(&text);
    let slots: Vec<u64> = settings.volumes.iter().map(|volume| settings.budget_slots(volume)).collect();
    let reserve = u64::from(settings.reserve_slots());
    assert_eq!(slots[0], settings.slots_a_reactor() / 2);
    assert_eq!(slots[1], slots[2]);
    let left = settings.slots_a_reactor() - reserve - slots[0];
    assert_eq!(slots[1], left / 2);
    assert!(slots.iter().sum::<u64>() + reserve <= settings.slots_a_reactor());
}

#[test]
fn a_budget_in_bytes_is_rounded_down_to_lines_of_each_reactor() {
    let settings = accept(&format!("[daemon]\nreactors = 2\n{MINIMAL}budget = \"100 MB\"\n"));
    assert_eq!(settings.budget_slots(&settings.volumes[0]), 100_000_000 / 8192 * 2);
    assert_eq!(settings.volumes[0].budget_bytes, 100_000_000 / 8192 * 8192);
}

/// C6: on each reactor the volumes' rooms fit beside the reserve; a volume reaches its whole budget on one reactor if that
/// has room for all budgets, and never less than its even share.
#[test]
fn a_reactor_has_room_for_the_part_of_every_budget() {
    let volume = |name: &str, budget: &str| {
        format!(
            "[[volume]]\nname = \"{name}\"\nbacking = {{ kind = \"block\", path = \"/dev/{name}\" }}\nbudget = \"{budget}\"\n"
        )
    };
    let rooms = |budgets: [&str; 2]| {
        let text = format!("[daemon]\nreactors = 4\n{}{}", volume("a", budgets[0]), volume("b", budgets[1]));
        let settings = accept(&text);
        let rooms = [0, 1].map(|at: usize| settings.room_slots(&settings.volumes[at]));
        let budgets = [0, 1].map(|at: usize| settings.budget_slots(&settings.volumes[at]));
        let room = settings.slots_a_reactor() - u64::from(settings.reserve_slots());
        assert!(rooms[0] + rooms[1] <= room, "{rooms:?} of {room}");
        (rooms, budgets, room)
    };
    let (small, budgets, _) = rooms(["10%", "12.5%"]);
    assert_eq!(small, budgets, "22.5% of the cache fit into a quarter of it");
    let (large, budgets, room) = rooms(["60%", "20%"]);
    assert_eq!(large, [room * 3 / 4, room / 4], "by the size of their budgets");
    assert!(large.iter().zip(budgets).all(|(&room, budget)| room >= budget / 4));
}

#[test]
fn limits_of_an_engine_hold_the_largest_request() {
    for line in ["4KiB", "8KiB", "16KiB"] {
        let settings = accept(&format!("[daemon]\nreactors = 4\n[arena]\nline = \"{line}\"\n{MINIMAL}"));
        let limits = settings.limits(3, 7);
        assert_eq!((limits.reactor, limits.reactors, limits.seed), (3, 4, 7));
        let lines = (1 << 20) / settings.arena.line_bytes as usize + 1;
        assert_eq!(limits.request_lines_max, lines);
        assert!(limits.reserve_slots as usize >= 2 * lines);
        assert_eq!(limits.run_lines_max * settings.arena.line_bytes as usize, 256 << 10);
        assert_eq!(u64::from(limits.reserve_slots), settings.slots_a_reactor() / 20);
    }
}

#[test]
#[should_panic(expected = "reactor 1 of 1")]
fn there_are_no_limits_for_a_reactor_that_is_not() {
    accept(MINIMAL).limits(1, 0);
}

#[test]
fn root_the_daemon_and_who_is_listed_may_open_a_volume() {
    let settings = accept(&format!("{MINIMAL}clients = {{ uids = [7], gids = [9] }}\n"));
    let clients = &settings.volumes[0].clients;
    let daemon_uid = 100;
    for (uid, gid, admitted) in
        [(0, 0, true), (100, 1, true), (7, 1, true), (8, 9, true), (8, 7, false), (9, 1, false)]
    {
        assert_eq!(clients.admit(uid, gid, daemon_uid), admitted, "uid {uid} gid {gid}");
    }
}

/// Budgets are computed for huge pages; where the arena ends up on smaller ones they must fit, too.
#[test]
fn an_arena_on_small_pages_has_at_least_the_slots_of_one_on_huge_pages() {
    for (reactors, line) in [(1, "4KiB"), (3, "8KiB"), (12, "16KiB"), (64, "4KiB")] {
        for pages in [600u64, 601, 777, 1024, 4097, 1 << 20] {
            let text = format!(
                "[daemon]\nreactors = {reactors}\n[limits]\nsession_bytes_max = \"64MiB\"\n\
                 [arena]\nsize = {}\nline = \"{line}\"\n{MINIMAL}",
                pages << 21
            );
            let settings = accept(&text);
            let (header_bytes, slots) = settings.shares_on(4096);
            assert!(slots >= settings.slots_a_reactor(), "{reactors} reactors, {line}, {pages} pages");
            let lines = slots * u64::from(settings.arena.line_bytes);
            assert!((header_bytes + lines) * reactors + 4096 <= settings.arena.size_bytes);
            assert!(header_bytes >= slots * 32);
        }
    }
}

#[test]
fn a_webhook_is_taken_apart() {
    let text = format!("[events]\nwebhook = \"http://[::1]:8080/hold?a=b\"\n{MINIMAL}");
    let webhook = accept(&text).events.webhook.expect("one");
    assert_eq!((webhook.host(), webhook.port(), webhook.path()), ("::1", 8080, "/hold?a=b"));
    assert_eq!(webhook.authority(), "[::1]:8080");
    let webhook = crate::config::Webhook::parse("http://pager").expect("one");
    assert_eq!((webhook.host(), webhook.port(), webhook.path()), ("pager", 80, "/"));
}
