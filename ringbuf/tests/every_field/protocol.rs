//! The tables of PROTOCOL.md, as they stand there.

use std::collections::BTreeSet;

/// Entries of a ring of these tests, which the document calls E.
pub(crate) const ENTRIES: u64 = 8;

/// A field, by its row.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    /// All cells of the row, in the order of the table's head.
    pub(crate) cells: Vec<String>,
}

/// A structure, by its table.
#[derive(Debug)]
pub(crate) struct Structure {
    pub(crate) name: String,
    pub(crate) head: Vec<String>,
    pub(crate) fields: Vec<Field>,
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// `4096 + 64 * E`.
fn place(text: &str) -> u64 {
    let number = |factor: &str| if factor == "E" { ENTRIES } else { factor.parse().expect("a place") };
    text.split(" + ").map(|term| term.split(" * ").map(number).product::<u64>()).sum()
}

/// Name and bytes of `sq_tail (u32)`, of `client_wake` in a table of words, and of `E records of 16 bytes, by tag`.
fn word(text: &str) -> (String, u64) {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["E", name, "of", bytes, ..] => (name.to_owned(), ENTRIES * bytes.parse::<u64>().expect("bytes")),
        [name, ..] => (name.to_owned(), 4),
        [] => panic!("a row without a name"),
    }
}

/// Every structure that has a table of fields, in the document's order. What maps whole areas has none.
pub(crate) fn structures() -> Vec<Structure> {
    let text = include_str!("../../PROTOCOL.md");
    let (mut found, mut heading, mut open) = (Vec::<Structure>::new(), "", false);
    for line in text.lines() {
        if let Some(title) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
        {
            heading = title.split(" (").next().expect("a title");
        }
        if !line.starts_with("| ") {
            open &= line.starts_with('|');
            continue;
        }
        let row = cells(line);
        let memory = row[0].strip_suffix(", at");
        if memory.is_some() || row[0] == "at" {
            open = memory.is_some() || row[2] == "field";
            if open {
                let name = memory.unwrap_or(heading).to_owned();
                found.push(Structure { name, head: row, fields: Vec::new() });
            }
        } else if open {
            let structure = found.last_mut().expect("a head");
            let (name, bytes) = if structure.head[0] == "at" {
                (row[2].clone(), row[1].parse().expect("bytes"))
            } else {
                word(&row[1])
            };
            structure.fields.push(Field { name, at: place(&row[0]), bytes, cells: row });
        }
    }
    found
}

impl Structure {
    /// The field that a byte is in; several are called `reserved`, so the place belongs to the name.
    fn field_at(&self, byte: u64) -> &Field {
        let inside = |field: &&Field| (field.at..field.at + field.bytes).contains(&byte);
        let field = self.fields.iter().find(inside);
        field.unwrap_or_else(|| panic!("byte {byte} of {} is tried and not in PROTOCOL.md", self.name))
    }

    /// The one field in which `odd` differs from `honest`.
    pub(crate) fn field_tried(&self, honest: &[u8], odd: &[u8]) -> &Field {
        assert_eq!(honest.len(), odd.len());
        let differing = (0..honest.len()).filter(|&byte| honest[byte] != odd[byte]);
        let fields: Vec<&Field> = differing.map(|byte| self.field_at(byte as u64)).collect();
        let places: BTreeSet<u64> = fields.iter().map(|field| field.at).collect();
        assert_eq!(places.len(), 1, "a trial of one field of {} at a time: {fields:?}", self.name);
        fields[0]
    }

    /// The field that is all of these bytes.
    pub(crate) fn field_over(&self, at: u64, bytes: u64) -> &Field {
        let field = self.field_at(at);
        assert_eq!((field.at, field.bytes), (at, bytes), "{} of {}", field.name, self.name);
        field
    }

    /// Fails unless the places that were tried are those of all fields.
    pub(crate) fn check_tried(&self, who: &str, tried: &BTreeSet<u64>) {
        let left: Vec<_> = self.fields.iter().filter(|field| !tried.contains(&field.at)).collect();
        let left: Vec<String> = left.iter().map(|field| format!("{} at {}", field.name, field.at)).collect();
        assert!(left.is_empty(), "{}{who}: nobody tries {}", self.name, left.join(", "));
    }
}
