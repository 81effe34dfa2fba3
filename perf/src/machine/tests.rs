//! What the kernel's files say, from samples of them.

use super::*;

fn quiet() -> Machine {
    Machine {
        cpu_model: "a processor".into(),
        kernel: "6.1.0".into(),
        virtual_machine: false,
        cores: vec![0, 1],
        smt_siblings: false,
        governor: Some("performance".into()),
        l3_bytes: Some(32 << 20),
        huge_pages: 512,
        huge_pages_free: 512,
        memory_available: 1 << 30,
        transparent_huge_pages: "madvise".into(),
        load: 0.1,
        debug_build: false,
    }
}

#[test]
fn a_quiet_machine_has_no_findings_and_each_trouble_has_one() {
    assert!(quiet().findings(0, 1).is_empty());
    assert!(Machine { governor: None, ..quiet() }.findings(0, 1).is_empty());
    let found = |machine: Machine, server_core, word| {
        let findings = machine.findings(0, server_core);
        assert!(findings.len() == 1 && findings[0].contains(word), "{word}: {findings:?}");
    };
    found(Machine { debug_build: true, ..quiet() }, 1, "debug build");
    found(quiet(), 0, "share one core");
    found(Machine { smt_siblings: true, ..quiet() }, 1, "hyperthreads");
    found(Machine { huge_pages_free: 0, ..quiet() }, 1, "huge pages");
    found(Machine { governor: Some("powersave".into()), ..quiet() }, 1, "powersave");
    found(Machine { load: 3.5, ..quiet() }, 1, "3.5");
}

#[test]
fn steal_and_preemption_are_findings_when_they_matter() {
    let during = |steal_percent, client_preemptions_per_s| During { steal_percent, client_preemptions_per_s };
    assert!(during(0.1, 2.0).findings().is_empty());
    assert_eq!(during(3.0, 2.0).findings().len(), 1);
    assert_eq!(during(3.0, 200.0).findings().len(), 2);
}

#[test]
fn processor_time_counts_guests_once() {
    assert_eq!(processor_time("cpu  10 0 20 70 1 2 3 4 9 9"), (110, 4));
    assert_eq!(processor_time(""), (0, 0));
}

#[test]
fn fields_are_found_by_their_whole_name() {
    let text = "HugePages_Total:     512\nHugePages_Free:       8\nnonvoluntary_ctxt_switches:\t17\n";
    assert_eq!(number(text, "HugePages_Free"), 8);
    assert_eq!(number(text, "nonvoluntary_ctxt_switches"), 17);
    assert_eq!(number(text, "ctxt_switches"), 0);
}

#[test]
fn lists_of_cores_and_sizes_of_caches_are_read() {
    assert!(in_list("0-3,8", 2) && in_list("0-3,8", 8) && in_list("1", 1));
    assert!(!in_list("0-3,8", 4) && !in_list("", 0));
    assert_eq!(kibibytes("32768K"), Some(32 << 20));
    assert_eq!(kibibytes("x"), None);
}

#[test]
fn the_machine_that_runs_this_has_a_kernel_and_its_time_goes_on() {
    let before = Counters::now();
    assert!(before.total > 0);
    assert!(!Machine::inspect(vec![0], 0, 0).kernel.is_empty());
    let during = before.since();
    assert!((0.0..=100.0).contains(&during.steal_percent) && during.client_preemptions_per_s >= 0.0);
}
