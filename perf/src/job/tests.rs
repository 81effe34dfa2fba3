//! Jobs that are good, and what is said of those that are not.

use super::*;

const GOOD: &str = "# How fast\n# is it?\nspan = \"1MiB\"\n\n[[case]]\nname = \"a\"\nreads_percent = 0\n";

fn error(text: &str) -> String {
    Job::parse(text).expect_err("it is wrong").to_string()
}

#[test]
fn what_is_left_out_has_its_default_and_the_question_is_the_comment() {
    let job = Job::parse(GOOD).unwrap();
    assert_eq!(
        (job.question.as_str(), job.span, job.repeats, job.verify),
        ("How fast is it?", 1 << 20, 5, false)
    );
    let case = &job.cases[0];
    assert_eq!((case.depth, case.block, case.clients, case.rate), (1, 4096, 1, None));
    assert_eq!(case.pattern(), Pattern::Random);
}

#[test]
fn unknown_keys_and_values_out_of_range_are_refused_with_line_and_key() {
    for (line, wrong) in [
        (4, "spam = 1"),
        (4, "seconds = 0"),
        (4, "seconds = nan"),
        (4, "repeats = 0"),
        (4, "cache = \"3MiB\""),
    ] {
        let text = GOOD.replacen("\n\n", &format!("\n{wrong}\n\n"), 1);
        let key = wrong.split(' ').next().unwrap();
        let said = error(&text);
        assert!(said.contains(&format!("line {line}")) && said.contains(key), "{wrong}: {said}");
    }
    for wrong in [
        "spam = 1",
        "depth = 129",
        "block = 1000",
        "block = \"x\"",
        "pattern = \"odd\"",
        "rate = 0",
        "clients = 65",
        "wanted = [{ over = \"the moon\", rate = 1.0 }]",
        "wanted = [{ over = \"floor\", p42 = 1.0 }]",
    ] {
        let said = error(&format!("{GOOD}{wrong}\n"));
        let key = wrong.split(' ').next().unwrap();
        assert!(said.contains("line 8") && said.contains(key), "{wrong}: {said}");
    }
}

#[test]
fn a_job_without_a_question_a_case_or_a_span_is_refused() {
    assert!(matches!(
        Job::parse(GOOD.trim_start_matches("# How fast\n# is it?\n")),
        Err(JobError::NoQuestion)
    ));
    assert!(error("# What?\nspan = 4096\n").contains("case"));
    assert!(error("# What?\nspan = 4096\ncase = []\n").contains("case"));
    assert!(error("# What?\n[[case]]\nname = \"a\"\nreads_percent = 0\n").contains("span"));
}

#[test]
fn contradictions_name_the_case_and_what_would_do() {
    let said = error(&format!("{GOOD}[[case]]\nname = \"a\"\nreads_percent = 1\n"));
    assert!(said.contains("case \"a\"") && said.contains("rename"), "{said}");
    let said =
        error(&GOOD.replace("1MiB\"", "1MiB\"\nverify = true").replace("cent = 0", "cent = 0\nblock = 512"));
    assert!(said.contains("4096 and more"), "{said}");
    let said = error(&GOOD.replace("1MiB", "4KiB").replace("cent = 0", "cent = 0\nblock = 8192"));
    assert!(said.contains("8192 are needed"), "{said}");
}

#[test]
fn a_trouble_and_a_neighbour_that_writes_go_together() {
    let troubled = |trouble: &str, more: &str| {
        format!("{}{more}", GOOD.replace("\n\n", &format!("\ntrouble = \"{trouble}\"\n\n")))
    };
    let job = Job::parse(&troubled("hang", "neighbour = \"16MiB\"\n")).unwrap();
    assert_eq!((job.trouble, job.cases[0].neighbour), (Some(Trouble::Hang), Some(16 << 20)));
    assert_eq!(Job::parse(&troubled("retry", "")).unwrap().extents, 100_000);
    for (wrong, what) in [
        (troubled("hang", ""), "neighbour = \"16MiB\""),
        (troubled("hold", "neighbour = \"16MiB\"\n"), "leave it out"),
        (format!("{GOOD}neighbour = \"16MiB\"\n"), "leave `neighbour` out"),
        (troubled("odd", ""), "unknown variant `odd`"),
        (troubled("hang", "neighbour = 1\n"), "neighbour = 1"),
    ] {
        let said = error(&wrong);
        assert!(said.contains(what), "{wrong}: {said}");
    }
}

#[test]
fn a_rate_is_given_once_and_a_part_of_the_peak_is_one() {
    let job = Job::parse(&format!("{GOOD}rate_of_peak = 0.6\n")).unwrap();
    assert_eq!((job.cases[0].rate_of_peak, job.cases[0].rate), (Some(0.6), None));
    for (wrong, what) in [
        (format!("{GOOD}rate_of_peak = 1.5\n"), "rate_of_peak = 1.5 is not between 0.01 and 1"),
        (format!("{GOOD}rate_of_peak = 0.5\nrate = 1000\n"), "leave one out"),
        (format!("{}rate_of_peak = 0.5\n", GOOD.replace("\n\n", "\ntrouble = \"hold\"\n\n")), "give a rate"),
    ] {
        let said = error(&wrong);
        assert!(said.contains(what), "{wrong}: {said}");
    }
}

#[test]
fn the_jobs_of_the_suite_are_jobs() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Those of fio have a folder of their own.
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let job = Job::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(job.question.ends_with('?'), "{}: {}", path.display(), job.question);
        count += 1;
    }
    assert!(count >= 5, "{count} jobs");
}

#[test]
fn what_cannot_be_wanted_is_refused() {
    let wanted = |what: &str| error(&format!("{GOOD}wanted = [{{ {what} }}]\n"));
    assert!(wanted("over = \"holdfast\", rate = 1.0").contains("over holdfast itself"));
    assert!(wanted("over = \"floor\"").contains("say what"));
    assert!(wanted("over = \"floor\", p50 = 0.0").contains("0 is not above 0"));
    let good = format!("{GOOD}wanted = [{{ over = \"page-cache\", p50 = 0.5 }}]\n");
    assert_eq!(Job::parse(&good).unwrap().cases[0].wanted[0].p50, Some(0.5));
}
