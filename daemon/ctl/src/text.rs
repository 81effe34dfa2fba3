//! The daemon's answers in words and tables: pure functions from the interface's types to text that ends with a newline.

mod audit;
mod extent;
mod health;
mod operation;
mod policy;
mod rates;
mod salvage;
mod session;
mod stats;
mod status;
mod volume;

pub use audit::audit;
pub use extent::{explanation, extents, faults, reports};
pub use health::{codes, health, health_detail};
pub use operation::{operation, operations};
pub use policy::{budget_set, policy, reloaded};
pub(crate) use rates::{WAITS, rates, reactor_cells, volume_cells, wait_cells};
pub use salvage::{exported, imported};
pub use session::sessions;
pub use stats::{event_lines, events, stats};
pub use status::{status, volumes};
pub use volume::{added, released, removed, reopened, resized, volume};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use std::fmt::Write;

/// How the reader got here, so that the commands he is told to type work where he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What was typed to start this program: `holdfastctl`, or `holdfastd ctl`.
    pub program: String,
    /// The admin socket, if it was given on the command line.
    pub socket: Option<String>,
}

impl Invocation {
    /// `command` with the reader's program and socket in the place of `holdfastctl`.
    pub fn command(&self, command: &str) -> String {
        let Some(rest) = command.strip_prefix("holdfastctl ") else { return command.to_owned() };
        match &self.socket {
            Some(socket) => format!("{} --socket {} {rest}", self.program, shell_word(socket)),
            None => format!("{} {rest}", self.program),
        }
    }
}

/// `text` as one word of a shell, quoted if it must be.
pub fn shell_word(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./+:@".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Columns of a terminal that text is broken at.
const COLUMNS: usize = 96;

/// `label` right-aligned to 7, a colon, and `text` broken into lines under its beginning.
fn labelled(label: &str, text: &str) -> String {
    const INDENT: usize = 9;
    let mut out = format!("{label:>7}:");
    let mut column = out.len();
    for word in text.split_whitespace() {
        if column + 1 + word.chars().count() > COLUMNS && column > INDENT {
            _ = write!(out, "\n{:INDENT$}", "");
            column = INDENT;
        } else {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.chars().count();
    }
    out.push('\n');
    out
}

/// How a column is written: numbers to the right, words to the left.
#[derive(Clone, Copy)]
enum Column {
    Words(&'static str),
    Numbers(&'static str),
}

/// A table without lines, two blanks between columns, none at the ends.
fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let name = |column: &Column| match column {
        Column::Words(name) | Column::Numbers(name) => *name,
    };
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(name)).add_rows(rows);
    for (column, form) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if matches!(form, Column::Numbers(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// `text` without control characters: names and paths are other people's, and go to a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_works_where_the_reader_is() {
        let plain = Invocation { program: "holdfastctl".to_owned(), socket: None };
        assert_eq!(plain.command("holdfastctl retry vm1"), "holdfastctl retry vm1");
        let elsewhere =
            Invocation { program: "holdfastd ctl".to_owned(), socket: Some("/tmp/it's".to_owned()) };
        assert_eq!(
            elsewhere.command("holdfastctl retry vm1"),
            r"holdfastd ctl --socket '/tmp/it'\''s' retry vm1"
        );
        assert_eq!(elsewhere.command("df -h /var"), "df -h /var");
    }

    #[test]
    fn long_text_is_broken_under_its_beginning() {
        let text = labelled("status", &"word ".repeat(40));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(" status: word"));
        assert!(lines[1].starts_with("         word"));
        assert!(lines.iter().all(|line| line.len() <= COLUMNS));
        assert_eq!(text.matches("word").count(), 40);
        let endless = labelled("status", &"x".repeat(200));
        assert_eq!(endless.lines().count(), 1, "a word is never broken, and begins no empty line: {endless}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("vm\u{1b}[2J"), "vm?[2J");
    }
}
