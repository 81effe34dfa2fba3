//! What `check` says.

use super::{EXAMPLES, MINIMAL, accept};
use crate::config::{check, warnings};

#[test]
fn the_report_has_the_numbers_that_an_operator_plans_with() {
    let report = check(&accept(&format!("[daemon]\ncores = [2, 3]\n{MINIMAL}budget = \"256MiB\"\n")));
    for line in [
        "reactors   2, pinned to CPUs [2, 3], sleep when idle",
        "cache      1073741824 bytes (1.0 GiB) in /dev/hugepages/holdfast",
        "512 huge pages of 2 MiB",
        "129536 lines of 4096 bytes on each reactor",
        "6476 lines of each are the reserve",
        "headers 8290304 bytes (7.9 MiB)",
        "maps    2621440 bytes (2.5 MiB)",
        "indexes 0 bytes for the volumes of known size",
        "volume vm1",
        "budget     65536 lines, 268435456 bytes (256.0 MiB)",
        "space      held; from 90% of the budget writes wait, after 30s the oldest failure is given up; tried again on timer, \
         flush, overwrite, every 100ms to 30s",
    ] {
        assert!(report.contains(line), "{line:?} is not in:\n{report}");
    }
}

/// A budget that one reactor has no room for: the report says how far a client gets that writes to one stripe only.
#[test]
fn the_report_says_what_one_reactor_has_room_for() {
    let report = check(&accept(&format!("[daemon]\nreactors = 2\n{MINIMAL}budget = \"95%\"\n")));
    for line in ["budget     246118 lines", "  123060 lines of it at most on one reactor"] {
        assert!(report.contains(line), "{line:?} is not in:\n{report}");
    }
    let report = check(&accept(&format!("[daemon]\nreactors = 2\n{MINIMAL}budget = \"25%\"\n")));
    assert!(!report.contains("on one reactor"), "{report}");
}

/// Headers, map and index of a 4 GiB cache over a volume ten times its size: at most 1.25% of the cached bytes.
#[test]
fn the_overhead_of_a_large_cache_stays_within_its_promise() {
    let settings = accept(
        "[arena]\nsize = \"4GiB\"\n[[volume]]\nname = \"a\"\n\
         backing = { kind = \"file\", path = \"/a\", size = \"40GiB\" }\n",
    );
    let lines = (40u64 << 30) / 4096;
    let index = holdfast_policy::DirtyIndex::words_needed(lines) as u64 * 8;
    let overhead = settings.header_bytes() + settings.map_bytes() + index;
    assert!(overhead * 10_000 <= settings.arena.size_bytes * 125, "{overhead} bytes");
    assert!(check(&settings).contains(&format!("indexes {index} bytes")));
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    let stall = "flush_on_failure = \"stall\"\n[[volume.on_failure]]\nclass = \"space\"\npolicy = \"evict-immediately\"\n";
    let by_hand = "[[volume.on_failure]]\nclass = \"gone\"\npolicy = \"hold-forever\"\nretry = { on = [] }\n";
    for (before, after, says) in [
        ("[arena]\npath = \"/dev/shm/holdfast\"\n", "", "probably a tmpfs"),
        ("[daemon]\nstate_dir = \"/run/holdfast\"\n", "", "does not survive a reboot"),
        ("[daemon]\nstate_dir = \"/dev/hugepages/holdfast\"\n", "", "does not survive a reboot"),
        ("[daemon]\nidle = \"spin\"\n", "", "without daemon.cores"),
        ("[daemon]\nadmin_socket_mode = \"0666\"\n", "", "every user of this host can look at everything"),
        ("[debug]\nfault_injection = true\n", "", "healthy disks fail"),
        ("", stall, "refused as space is given up"),
        ("", by_hand, "refused as gone stays failed until an operator"),
    ] {
        let settings = accept(&format!("{before}{MINIMAL}{after}"));
        let found = warnings(&settings);
        assert!(found.len() == 1 && found[0].text.contains(says), "{says:?}: {found:?}");
        assert!(check(&settings).contains(&format!("warning: {}", found[0])));
    }
}

#[test]
fn only_the_example_for_trying_out_is_warned_of() {
    for (name, text) in EXAMPLES {
        let found = warnings(&accept(text));
        assert_eq!(found.is_empty(), name != "quickstart.toml", "{name}: {found:?}");
    }
}
