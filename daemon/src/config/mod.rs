//! The operator's configuration: a TOML file becomes checked [`Settings`], or a list of everything that is wrong with it.
//!
//! ```text
//! text -> toml's tree with spans -> Section/Node (each value checked where it is read) -> cross checks -> Settings
//! ```
//! Nothing else in the daemon sees the file: who holds a [`Settings`] holds values that are in range and agree with
//! each other, in the units the daemon counts in.
//!
//! Rejected: serde structs with `deny_unknown_fields`. They stop at the first unknown key or wrong type, and an
//! internally tagged enum (`{ kind = "file", .. }`) buffers its content and loses the spans, so that the very keys
//! which go wrong most could not be shown. Reading the tree by hand costs a page and finds every problem, in one run,
//! with its line. The keys that the readers ask for are the keys that exist; tests hold [`reference()`] and
//! `configs/README.md` against them.

mod check;
mod cross;
mod derive;
mod difference;
mod edit;
mod effective;
mod nearest;
mod node;
mod problem;
mod quantity;
mod read_daemon;
mod read_frontend;
mod read_outside;
mod read_rules;
mod read_volume;
mod reference;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod warning;

pub use check::check;
pub(crate) use check::{flush_in_words, rule_in_words};
pub(crate) use difference::thin_limit;
pub use difference::{Difference, differences, volume_differences};
pub use edit::{volume_toml, with_budget, with_equal_budgets, with_volume, without_volume};
pub use problem::{ConfigError, Problem};
pub use reference::{KeyDoc, reference};
pub use settings::*;
pub use warning::{Warning, warnings};

use section::Reader;
use std::io::Read;
use std::path::Path;

/// The most bytes a configuration file may have: 256 volumes with four rules each need about 300 KiB.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks the file at `path`.
///
/// # Errors
/// [`ConfigError::Unreadable`] or [`ConfigError::TooLong`] if there is nothing to check, else what [`parse`] says.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let name = path.display().to_string();
    let unreadable = |source| ConfigError::Unreadable { path: name.clone(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLong { path: name, bytes_max: FILE_BYTES_MAX });
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &name),
        Err(error) => Err(ConfigError::NotText { path: name, offset: error.utf8_error().valid_up_to() }),
    }
}

/// Checks `text`; `name` is what its errors call it.
///
/// # Errors
/// [`ConfigError::Refused`] with every problem that can be found: all mistakes of syntax, or, in a file that is TOML,
/// all unknown keys and impossible values, and, if each value alone is possible, all that do not fit together.
pub fn parse(text: &str, name: &str) -> Result<Settings, ConfigError> {
    let (tree, errors) = toml::de::DeTable::parse_recoverable(text);
    let reader = Reader::new(text);
    if errors.is_empty() {
        let settings = read(&reader, tree.get_ref());
        if let (Some(settings), true) = (settings, reader.is_content()) {
            return Ok(settings);
        }
    }
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reader.refuse(
            "",
            span,
            format!("not TOML: {}", error.message()),
            "correct the syntax; nothing else was checked",
        );
    }
    Err(ConfigError::Refused { name: name.to_owned(), problems: reader.into_problems() })
}

/// Reads a whole tree. `None` if a value that cannot be left out is missing; the reader then has a problem for it.
fn read(reader: &Reader<'_>, tree: &toml::de::DeTable<'_>) -> Option<Settings> {
    let mut root = section::Section::root(reader, tree);
    let daemon = read_daemon::daemon(&mut root);
    let arena = read_daemon::arena(&mut root);
    let limits = read_daemon::limits(&mut root);
    let debug = read_daemon::debug(&mut root);
    let (http, events) = (read_outside::http(&mut root), read_outside::events(&mut root));
    let volumes = read_volume::volumes(&mut root);
    let frontends = read_frontend::frontends(&mut root);
    root.finish();
    let volumes: Option<Vec<_>> = volumes.into_iter().collect();
    if !reader.is_content() {
        return None;
    }
    let frontends: Option<Vec<_>> = frontends.into_iter().collect();
    let (volumes, frontends) = (volumes?, frontends?);
    let parts = cross::Parts { daemon, arena, limits, http, events, debug, volumes, frontends };
    cross::settings(reader, parts)
}
