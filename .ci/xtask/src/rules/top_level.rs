//! The top level is a page that a newcomer reads first: a handful of folders, and what every repository has.

use super::{Source, Violation};

const PERMITTED: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "configs",
    "daemon",
    "docs",
    "perf",
    "policy",
    "ringbuf",
];

fn is_permitted(entry: &str) -> bool {
    entry.starts_with('.') || PERMITTED.contains(&entry)
}

/// Names each entry of the top level that is not permitted, once.
pub(super) fn check(files: &[Source]) -> Vec<Violation> {
    let mut entries: Vec<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    entries.sort_unstable();
    entries.dedup();
    let strange = entries.into_iter().filter(|entry| !is_permitted(entry));
    strange
        .map(|entry| Violation::new(entry, "does not belong at the top level: move it into a package"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Source {
        Source { path: path.into(), text: String::new() }
    }

    #[test]
    fn a_strange_folder_is_named_once() {
        let files = ["daemon/src/lib.rs", "scripts/a.sh", "scripts/b.sh", ".ci/run"].map(file);
        let places: Vec<String> = check(&files).into_iter().map(|violation| violation.place).collect();
        assert_eq!(places, ["scripts"]);
    }
}
