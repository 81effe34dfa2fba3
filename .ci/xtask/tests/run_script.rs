//! `.ci/run` begins to install and build at once: whoever asks it something first gets an answer, and nothing else.

use std::process::{Command, Output};

fn asked(arguments: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../run");
    Command::new(script).args(arguments).output().expect("the script runs")
}

#[test]
fn help_says_what_it_does_and_needs() {
    let said = asked(&["--help"]);
    assert_eq!(said.status.code(), Some(0));
    let words = String::from_utf8_lossy(&said.stdout);
    for needed in ["root", "huge pages", "GB free", "network", "minutes"] {
        assert!(words.contains(needed), "{needed}: {words}");
    }
}

#[test]
fn arguments_that_it_does_not_know_are_refused() {
    for arguments in [&["--fast"][..], &["--help", "--fast"], &["test"], &[""]] {
        let said = asked(arguments);
        assert_eq!(said.status.code(), Some(64), "{arguments:?}");
        assert!(said.stdout.is_empty(), "{arguments:?} begins nothing");
        assert!(String::from_utf8_lossy(&said.stderr).contains("--help"), "{arguments:?}");
    }
}
