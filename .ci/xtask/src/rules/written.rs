//! How files are written: none too long to hold in the head, none left half done.

use super::{Source, Violation};

/// Lines of a Rust file at most. One file that grows without limit is what spoils a good codebase.
const LINES_MAX: usize = 500;

/// Joined from halves, or this file would break its own rule.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
];

fn too_long(file: &Source) -> Option<Violation> {
    let lines = file.text.lines().count();
    let what = format!("{lines} lines, {LINES_MAX} at most: split it where the story has a joint");
    (lines > LINES_MAX).then(|| Violation::new(&file.path, what))
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether `line` has `mark`, and not as a part of a longer word.
fn has(line: &str, mark: &str) -> bool {
    let bytes = line.as_bytes();
    line.match_indices(mark).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        let after = bytes.get(at + mark.len()).filter(|_| !mark.ends_with('('));
        !is_word(before) && !is_word(after)
    })
}

fn unfinished(file: &Source) -> impl Iterator<Item = Violation> {
    file.text.lines().enumerate().flat_map(move |(number, line)| {
        UNFINISHED.iter().filter(move |mark| has(line, mark)).map(move |mark| {
            let place = format!("{}:{}", file.path, number + 1);
            Violation::new(place, format!("has `{mark}`: finish it, or file an issue and take it out"))
        })
    })
}

/// Every Rust file.
pub(super) fn check(files: &[Source]) -> Vec<Violation> {
    let rust = files.iter().filter(|file| file.is_rust());
    rust.flat_map(|file| too_long(file).into_iter().chain(unfinished(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str, text: String) -> Vec<String> {
        check(&[Source { path: path.into(), text }]).into_iter().map(|violation| violation.place).collect()
    }

    #[test]
    fn the_limit_is_the_last_length_that_passes() {
        assert!(places("a.rs", "\n".repeat(LINES_MAX)).is_empty());
        assert_eq!(places("a.rs", "\n".repeat(LINES_MAX + 1)), ["a.rs"]);
        assert!(places("a.md", "\n".repeat(LINES_MAX + 1)).is_empty());
    }

    #[test]
    fn every_mark_is_found_with_its_line() {
        for mark in UNFINISHED {
            assert_eq!(places("a.rs", format!("fn a() {{}}\n    {mark} x);\n")), ["a.rs:2"], "{mark}");
        }
    }

    #[test]
    fn a_longer_word_is_no_mark() {
        assert!(!has("let not_dbg!(x)", UNFINISHED[4]));
        assert!(!has(concat!("TO", "DOS is a list"), UNFINISHED[0]));
        assert!(has(concat!("// TO", "DO: later"), UNFINISHED[0]));
    }
}
