//! Rules about files that no compiler checks.

mod sources;
mod top_level;
mod unsafe_code;
mod written;

use crate::step::{Failed, root};
use std::fmt;
use std::time::Instant;

/// One file of the repository.
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// Empty where it is no text.
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// A file that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The file, with a line where there is one.
    pub(crate) place: String,
    /// What is wrong, and the way out.
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Violation {
        Violation { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Every rule on every file.
fn violations(files: &[Source]) -> Vec<Violation> {
    let rules = [top_level::check, written::check, unsafe_code::check];
    rules.iter().flat_map(|rule| rule(files)).collect()
}

/// Reads the repository and checks it.
pub(crate) fn check() -> Result<(), Failed> {
    println!("\n==> the rules about files");
    let begun = Instant::now();
    let files = sources::read(&root()).map_err(|error| Failed {
        what: format!("the repository's files could not be read: {error}"),
        way_out: "run it inside a checkout that you may read".into(),
    })?;
    let found = violations(&files);
    for violation in &found {
        println!("{violation}");
    }
    if found.is_empty() {
        println!("    {} files passed in {:.1} s", files.len(), begun.elapsed().as_secs_f64());
        return Ok(());
    }
    Err(Failed {
        what: format!("{} violations of the rules about files", found.len()),
        way_out: "each line above ends with its own way out".into(),
    })
}
