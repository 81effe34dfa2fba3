//! A table of the file, and the reader that collects what is wrong with it.

use super::nearest::nearest;
use super::node::Node;
use super::problem::Problem;
use super::reference::{KeyDoc, reference};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// More than that and it is another kind of file; nobody reads on, and each one costs a copy of its line.
pub(super) const PROBLEMS_MAX: usize = 100;

/// Reads one file: remembers which keys were asked for and what was refused.
///
/// A refused value yields `None` and reading goes on, so that one run finds every problem; whoever gets `None` may
/// put any value in its place, because nothing is built from a file that has a problem.
pub(super) struct Reader<'t> {
    text: &'t str,
    problems: RefCell<Vec<(usize, Problem)>>,
    asked: RefCell<BTreeMap<String, Range<usize>>>,
}

impl<'t> Reader<'t> {
    /// A reader of `text` that has found nothing yet.
    pub(super) fn new(text: &'t str) -> Reader<'t> {
        Reader { text, problems: RefCell::default(), asked: RefCell::default() }
    }

    /// Records a problem of `key` at the bytes `span`, unless there are [`PROBLEMS_MAX`] already.
    pub(super) fn refuse(
        &self,
        key: &str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.problems.borrow().len() >= PROBLEMS_MAX {
            return;
        }
        let problem = Problem::new(self.text, key, span.clone(), message.into(), help.into());
        self.problems.borrow_mut().push((span.start, problem));
    }

    /// Records a problem of a key that was asked for, where it was found.
    pub(super) fn refuse_key(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        let span = self.asked.borrow().get(key).cloned().unwrap_or(0..0);
        self.refuse(key, span, message, help);
    }

    /// Whether nothing was refused so far.
    pub(super) fn is_content(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Everything that was refused, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(start, _)| *start);
        problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Every key that was asked for, without the positions in lists: `volume.on_failure.class`.
    #[cfg(test)]
    pub(super) fn asked(&self) -> std::collections::BTreeSet<String> {
        self.asked.borrow().keys().map(|path| without_positions(path)).collect()
    }
}

/// A key's path without the positions in lists.
pub(super) fn without_positions(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = *c == '[' || (inside && *c != ']');
            !inside && *c != ']'
        })
        .collect()
}

/// A table of the file, or the place of one that was left out.
pub(super) struct Section<'r> {
    reader: &'r Reader<'r>,
    path: String,
    span: Range<usize>,
    table: Option<&'r DeTable<'r>>,
    known: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// The file's outermost table.
    pub(super) fn root(reader: &'r Reader<'r>, table: &'r DeTable<'r>) -> Section<'r> {
        Section { reader, path: String::new(), span: 0..0, table: Some(table), known: Vec::new() }
    }

    /// The table that `node` is; refuses a node that is none and goes on as if it were empty.
    pub(super) fn of(node: &Node<'r>) -> Section<'r> {
        let table = match node.value {
            DeValue::Table(table) => Some(table),
            _ => {
                node.refuse_type(
                    "a table",
                    "write `{ .. }` with the keys of the reference, or a `[section]`",
                );
                None
            }
        };
        Section {
            reader: node.reader,
            path: node.path.clone(),
            span: node.span.clone(),
            table,
            known: Vec::new(),
        }
    }

    /// The value of `key`, if it is there. Asking makes the key known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node<'r>> {
        self.known.push(key);
        let path = self.path_of(key);
        let found = self.table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
        let span = found.map_or(self.span.clone(), |(_, value)| value.span());
        self.reader.asked.borrow_mut().insert(path.clone(), span.clone());
        let (_, value) = found?;
        Some(Node { reader: self.reader, path, span, value: value.get_ref() })
    }

    /// The value of `key`, which has no default.
    pub(super) fn require(&mut self, key: &'static str, help: &str) -> Option<Node<'r>> {
        let node = self.take(key);
        if node.is_none() && self.table.is_some() {
            self.reader.refuse(&self.path_of(key), self.span.clone(), "is missing and has no default", help);
        }
        node
    }

    /// The table at `key`; one that was left out has nothing in it.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'r> {
        match self.take(key) {
            Some(node) => Section::of(&node),
            None => Section {
                reader: self.reader,
                path: self.path_of(key),
                span: self.span.clone(),
                table: None,
                known: Vec::new(),
            },
        }
    }

    /// Refuses whatever the section has that nobody asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.table.into_iter().flatten() {
            let key: &str = name.get_ref();
            if !self.known.contains(&key) {
                let message = if self.path.is_empty() {
                    "is no section that exists".to_owned()
                } else {
                    format!("is no key that {} has", self.path)
                };
                self.reader.refuse(&self.path_of(key), name.span(), message, self.advice(key));
            }
        }
    }

    /// What to do about an unknown key: what it resembles, whose it is, or, if it belongs here with another `kind`, what
    /// this one has.
    fn advice(&self, key: &str) -> String {
        if let Some(near) = nearest(key, self.known.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        let home = without_positions(&self.path);
        let last_of =
            |doc: &KeyDoc| doc.key.rsplit_once('.').filter(|(_, last)| *last == key).map(|(home, _)| home);
        let homes: Vec<&str> = reference().iter().filter_map(last_of).collect();
        if let (Some(other), false) = (homes.first(), homes.contains(&home.as_str())) {
            return format!("`{key}` belongs to `{other}`");
        }
        format!("known here: {}", self.known.join(", "))
    }

    fn path_of(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}
