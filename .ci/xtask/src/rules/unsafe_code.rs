//! Where `unsafe` may stand. The compiler keeps it out of crates that say so; this keeps every crate saying so, and
//! keeps the list of exceptions, tests included, in one place that a reviewer sees change.

use super::{Source, Violation};

/// One path a line, with comments.
const LIST: &str = ".ci/unsafe-files.txt";

/// What the root file of a library or a program has to say.
const REFUSALS: [&str; 2] = ["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"];

/// How code starts that the compiler does not check.
const STARTS: [&str; 5] = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"];

fn is_crate_root(path: &str) -> bool {
    let named = |end: &str| path == end || path.ends_with(&format!("/{end}"));
    named("src/lib.rs") || named("src/main.rs") || path.contains("/src/bin/")
}

fn has_unsafe(file: &Source) -> bool {
    let code = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter()
        .any(|line| STARTS.iter().any(|start| line.contains(start) && !line.contains(&format!("\"{start}"))))
}

fn listed(files: &[Source]) -> Vec<&str> {
    let list = files.iter().find(|file| file.path == LIST);
    let lines = list.map_or("", |file| file.text.as_str()).lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

fn silent_root(file: &Source) -> Option<Violation> {
    let silent = is_crate_root(&file.path) && !REFUSALS.iter().any(|refusal| file.text.contains(refusal));
    silent.then(|| Violation::new(&file.path, format!("is a crate's root: it has to say `{}`", REFUSALS[0])))
}

fn not_listed(file: &Source, list: &[&str]) -> Option<Violation> {
    let strange = has_unsafe(file) && !list.contains(&file.path.as_str());
    strange.then(|| Violation::new(&file.path, format!("has `unsafe`: do without, or name it in {LIST}")))
}

fn outdated(entry: &str, files: &[Source]) -> Option<Violation> {
    let needed = files.iter().any(|file| file.path == entry && has_unsafe(file));
    (!needed)
        .then(|| Violation::new(LIST, format!("names {entry}, which has no `unsafe` any more: take it out")))
}

/// Every Rust file, and the list.
pub(super) fn check(files: &[Source]) -> Vec<Violation> {
    let list = listed(files);
    let rust = files.iter().filter(|file| file.is_rust());
    let mut found: Vec<Violation> =
        rust.flat_map(|file| silent_root(file).into_iter().chain(not_listed(file, &list))).collect();
    found.extend(list.iter().filter_map(|entry| outdated(entry, files)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn places(files: &[Source]) -> Vec<String> {
        check(files).into_iter().map(|violation| violation.place).collect()
    }

    #[test]
    fn a_crate_that_does_not_refuse_is_named() {
        assert_eq!(places(&[file("perf/src/main.rs", "fn main() {}")]), ["perf/src/main.rs"]);
        assert!(places(&[file("perf/src/main.rs", "#![deny(unsafe_code)]\n")]).is_empty());
        assert!(places(&[file("perf/src/plan.rs", "fn plan() {}")]).is_empty());
    }

    #[test]
    fn unsafe_code_has_to_be_listed_in_tests_too() {
        let code = concat!("let x = uns", "afe { read() };");
        assert_eq!(places(&[file("ringbuf/tests/door.rs", code)]), ["ringbuf/tests/door.rs"]);
        assert!(
            places(&[file("ringbuf/tests/door.rs", code), file(LIST, "ringbuf/tests/door.rs\n")]).is_empty()
        );
        assert!(places(&[file("a.rs", concat!("// an uns", "afe { } in a comment"))]).is_empty());
    }

    #[test]
    fn an_entry_that_is_not_needed_any_more_is_named() {
        assert_eq!(places(&[file(LIST, "# why\nringbuf/src/gone.rs\n")]), [LIST]);
        assert_eq!(places(&[file(LIST, "a.rs"), file("a.rs", "fn safe() {}")]), [LIST]);
    }
}
