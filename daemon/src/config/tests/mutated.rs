//! Whatever is done to a good file, reading it answers: with settings that hold together, or with problems that have
//! a place in the file.

use super::EXAMPLES;
use crate::config::settings::{Settings, VolumeSettings};
use crate::config::{ConfigError, check, parse};
use proptest::prelude::*;

/// What people and accidents put into files.
const FRAGMENTS: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    "#",
    ".",
    ",",
    "-",
    "0",
    "99999999999999999999",
    "1e400",
    "nan",
    "true",
    "\u{0}",
    "\u{fc}",
    "\"\"\"",
    "[[volume]]\n",
    "\"50%\"",
    "\"8EiB\"",
    "\"9999999999999y\"",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(prop::sample::Index, &'static str),
    Remove(prop::sample::Index, usize),
    SwapLines(prop::sample::Index, prop::sample::Index),
    ReplaceNumber(prop::sample::Index, u64),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), prop::sample::select(&FRAGMENTS[..])).prop_map(|(at, text)| Edit::Insert(at, text)),
        (index(), 1..40usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        (index(), index()).prop_map(|(left, right)| Edit::SwapLines(left, right)),
        (index(), any::<u64>()).prop_map(|(at, number)| Edit::ReplaceNumber(at, number)),
    ]
}

fn apply(text: &str, edit: &Edit) -> String {
    let chars: Vec<char> = text.chars().collect();
    let part = |range: std::ops::Range<usize>| chars[range].iter().collect::<String>();
    match edit {
        Edit::Insert(at, fragment) => {
            let at = at.index(chars.len() + 1);
            part(0..at) + fragment + &part(at..chars.len())
        }
        Edit::Remove(at, count) => {
            let at = at.index(chars.len() + 1);
            part(0..at) + &part((at + count).min(chars.len())..chars.len())
        }
        Edit::SwapLines(left, right) => {
            let mut lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let (left, right) = (left.index(lines.len()), right.index(lines.len()));
                lines.swap(left, right);
            }
            lines.join("\n")
        }
        Edit::ReplaceNumber(at, number) => {
            let starts: Vec<usize> = (0..chars.len()).filter(|at| chars[*at].is_ascii_digit()).collect();
            if starts.is_empty() {
                return text.to_owned();
            }
            let start = starts[at.index(starts.len())];
            let count = chars[start..].iter().take_while(|c| c.is_ascii_digit()).count();
            part(0..start) + &number.to_string() + &part(start + count..chars.len())
        }
    }
}

fn holds(text: &str) {
    match parse(text, "mutated.toml") {
        Ok(settings) => {
            let reactors = u64::from(settings.daemon.reactors);
            let sum = |slots: fn(&Settings, &VolumeSettings) -> u64| -> u64 {
                settings.volumes.iter().map(|volume| slots(&settings, volume)).sum()
            };
            let room = settings.slots_a_reactor() - u64::from(settings.reserve_slots());
            assert!(sum(Settings::budget_slots) <= room * reactors);
            assert!(sum(Settings::room_slots) <= room);
            assert!(check(&settings).contains("reserve"));
            assert_eq!(
                parse(&settings.to_toml(), "written.toml").expect("what we write we accept"),
                settings
            );
        }
        Err(ConfigError::Refused { problems, .. }) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                assert!(problem.line >= 1 && problem.line <= text.matches('\n').count() + 1);
                assert!(problem.column >= 1 && !problem.message.is_empty() && !problem.help.is_empty());
            }
        }
        Err(other) => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_good_file_with_a_few_changes_is_read_or_refused(
        example in 0..EXAMPLES.len(),
        edits in prop::collection::vec(edit(), 1..5),
    ) {
        let changed = edits.iter().fold(EXAMPLES[example].1.to_owned(), |text, edit| apply(&text, edit));
        holds(&changed);
    }

    #[test]
    fn any_text_is_refused(text in "[ -~\n\u{fc}]{0,200}") {
        holds(&text);
    }
}

/// Each value of the file of defaults in turn becomes one of another type or far out of range.
#[test]
fn every_value_of_the_defaults_may_be_anything() {
    let (_, text) = EXAMPLES[0];
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        for value in [
            "-1",
            "0",
            "18446744073709551615",
            "1.5",
            "true",
            "\"\"",
            "\"x\"",
            "[]",
            "[[]]",
            "{}",
            "{ kind = 1 }",
            "1979-05-27",
        ] {
            let changed = format!("{key} = {value}");
            let mut lines = lines.clone();
            lines[at] = &changed;
            holds(&lines.join("\n"));
        }
    }
}
