//! What is wrong with a configuration, where, and what would do.

use super::section::PROBLEMS_MAX;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `volume[1].on_failure[0].retry.first`, counted from 0; empty if it is the syntax.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What is wrong, with the numbers.
    pub message: String,
    /// What would do.
    pub help: String,
    /// The text of the line, without its end.
    pub source: String,
    /// How many characters of the line the caret underlines, at least 1.
    pub width: usize,
}

impl Problem {
    /// A problem with the bytes `span` of `text`; a span that lies outside of it is moved to its end.
    pub(super) fn new(text: &str, key: &str, span: Range<usize>, message: String, help: String) -> Problem {
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_char(text, span.end).clamp(start, line_end);
        Problem {
            key: key.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            message,
            help,
            source: printable(&text[line_start..line_end]),
            width: text[start..end].chars().count().max(1),
        }
    }

    fn render(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let margin = self.line.to_string().len();
        let Problem { key, line, column, message, help, source, width } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        writeln!(f, "error: {key}{colon}{message}")?;
        writeln!(f, "{:margin$}--> {name}:{line}:{column}", "")?;
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{line} | {source}")?;
        writeln!(f, "{:margin$} | {:indent$}{:^<width$}", "", "", "", indent = column - 1)?;
        write!(f, "{:margin$} = help: {help}", "")
    }
}

/// The line as it is shown: one column a character, and nothing that could steer a terminal.
fn printable(line: &str) -> String {
    line.trim_end_matches('\r').chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The nearest character boundary of `text` at or before byte `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {source}; name another file or make this one readable")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a configuration: none is that long.
    #[error("the configuration {path} is longer than {bytes_max} bytes; is it the right file?")]
    TooLong {
        /// The file.
        path: String,
        /// The limit in bytes.
        bytes_max: u64,
    },
    /// The file is not UTF-8, as TOML must be.
    #[error("the configuration {path} is not UTF-8 from byte {offset} on; is it the right file?")]
    NotText {
        /// The file.
        path: String,
        /// The first byte that is not.
        offset: usize,
    },
    /// The configuration is readable and impossible.
    #[error("{}", Listing { name, problems })]
    Refused {
        /// The file, or what it was called.
        name: String,
        /// Everything that is wrong with it, in the order of the lines: 1 to 100 problems.
        problems: Vec<Problem>,
    },
}

struct Listing<'a> {
    name: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems {
            problem.render(self.name, f)?;
            f.write_str("\n\n")?;
        }
        let more = if self.problems.len() == PROBLEMS_MAX { ", and no more were looked for" } else { "" };
        let plural = if self.problems.len() == 1 { "" } else { "s" };
        write!(f, "{}: refused, {} problem{plural}{more}", self.name, self.problems.len())
    }
}
