//! One value of the file: every way to read it, each of which checks type and range and refuses with its line.

use super::nearest::nearest;
use super::quantity::{self, Wrong};
use super::section::Reader;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use toml::de::DeValue;

/// A value with its place in the file.
pub(super) struct Node<'r> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) path: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'r DeValue<'r>,
}

/// Which sizes are possible. All in bytes.
pub(super) struct Sizes {
    /// The least.
    pub(super) min: u64,
    /// The most.
    pub(super) max: u64,
    /// What it must be a whole multiple of.
    pub(super) multiple_of: u64,
}

impl<'r> Node<'r> {
    /// Records that this value is impossible.
    pub(super) fn refuse(&self, message: impl Into<String>, help: impl Into<String>) {
        self.reader.refuse(&self.path, self.span.clone(), message, help);
    }

    /// Records that this value has the wrong type.
    pub(super) fn refuse_type(&self, wanted: &str, help: impl Into<String>) {
        let article = if "aeiou".contains(&self.value.type_str()[..1]) { "an" } else { "a" };
        self.refuse(format!("is {article} {}, not {wanted}", self.value.type_str()), help);
    }

    fn wrong(&self, wrong: Wrong) {
        self.refuse(wrong.message, wrong.help);
    }

    /// A string; `example` is what the advice shows.
    pub(super) fn text(&self, example: &str) -> Option<&'r str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.refuse_type("a string", format!("write it in quotes, as {example:?}"));
        }
        text
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.refuse_type("a boolean", "write `true` or `false`, without quotes");
        }
        value
    }

    /// The elements of a list.
    pub(super) fn list(&self, example: &str) -> Option<Vec<Node<'r>>> {
        let Some(list) = self.value.as_array() else {
            self.refuse_type("a list", format!("write it in brackets, as {example}"));
            return None;
        };
        let element = |(at, value): (usize, &'r toml::Spanned<DeValue<'r>>)| Node {
            reader: self.reader,
            path: format!("{}[{at}]", self.path),
            span: value.span(),
            value: value.get_ref(),
        };
        Some(list.iter().enumerate().map(element).collect())
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        let words = words.join(", ");
        let Some(text) = self.value.as_str() else {
            self.refuse_type("a string", format!("write one of {words}"));
            return None;
        };
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let help = match nearest(text, choices.iter().map(|(word, _)| *word)) {
                Some(near) => format!("did you mean {near:?}? possible: {words}"),
                None => format!("possible: {words}"),
            };
            self.refuse(format!("{text:?} is not possible"), help);
        }
        found.map(|(_, value)| *value)
    }

    /// A whole number.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let (min, max) = (*range.start(), *range.end());
        let Some(integer) = self.value.as_integer() else {
            self.refuse_type("an integer", format!("write a whole number, {min} to {max}, without quotes"));
            return None;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i128::MAX);
        match u64::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let near = if number < i128::from(min) { min } else { max };
                self.refuse(
                    format!("{} is not within {min} to {max}", integer.as_str()),
                    format!("the nearest is {near}"),
                );
                None
            }
        }
    }

    /// [`integer`](Self::integer) of a range that fits.
    pub(super) fn integer32(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let wide = u64::from(*range.start())..=u64::from(*range.end());
        self.integer(wide).and_then(|number| u32::try_from(number).ok())
    }

    /// A size in bytes: `"8GiB"`, `"8 GB"` (decimal), or a bare number of bytes.
    pub(super) fn size(&self, sizes: &Sizes) -> Option<u64> {
        let bytes = match self.value {
            DeValue::String(text) => quantity::size(text),
            DeValue::Integer(integer) => quantity::bare_size(integer.as_str(), integer.radix()),
            _ => {
                self.refuse_type("a size", r#"write a number and a unit in quotes, as "8GiB""#);
                return None;
            }
        };
        let checked = bytes.and_then(|bytes| quantity::check_size(bytes, sizes, self.value.as_str()));
        checked.map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// A time in milliseconds: `"100ms"`, `"30s"`, `"1h 30m"`.
    pub(super) fn duration_ms(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let duration = match self.value {
            DeValue::String(text) => quantity::duration_ms(text, &range),
            DeValue::Integer(integer) => Err(quantity::no_unit(integer.as_str())),
            _ => {
                self.refuse_type("a time", r#"write a number and a unit in quotes, as "30s""#);
                return None;
            }
        };
        duration.map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// A share in parts of 1000: `"50%"`, `"12.5%"` or `0.5`.
    pub(super) fn share(&self, range: RangeInclusive<u16>) -> Option<u16> {
        let share = match self.value {
            DeValue::String(text) => quantity::percent(text, &range),
            DeValue::Float(float) => quantity::fraction(float.as_str(), &range),
            DeValue::Integer(integer) => quantity::whole_share(integer.as_str(), &range),
            _ => {
                self.refuse_type("a share", r#"write "50%" or 0.5"#);
                return None;
            }
        };
        share.map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// An absolute path.
    pub(super) fn path(&self, example: &str) -> Option<PathBuf> {
        let text = self.text(example)?;
        if !text.starts_with('/') {
            let help = format!(
                "write it from the root on, as {example:?}: nobody knows the daemon's working directory"
            );
            self.refuse(format!("{text:?} is not an absolute path"), help);
            return None;
        }
        // PATH_MAX counts the zero at the end.
        if text.contains('\0') || text.len() > 4095 {
            self.refuse(
                format!("a path of {} bytes, or one with a zero byte", text.len()),
                "use at most 4095 bytes, none of them zero",
            );
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// The path of a Unix socket, which the kernel bounds.
    pub(super) fn socket_path(&self, example: &str) -> Option<PathBuf> {
        let path = self.path(example)?;
        let bytes = path.as_os_str().len();
        // sockaddr_un has 108 bytes, the zero at the end included.
        if bytes > 107 {
            self.refuse(
                format!("{bytes} bytes are too long for a Unix socket"),
                "use a path of at most 107 bytes",
            );
            return None;
        }
        Some(path)
    }

    /// The mode of a file: `"0660"` or `0o660`.
    pub(super) fn file_mode(&self) -> Option<u32> {
        let mode = match self.value {
            DeValue::String(text) => {
                u32::from_str_radix(text, 8).ok().filter(|_| text.len() <= 4 && !text.starts_with('+'))
            }
            DeValue::Integer(integer) if integer.radix() == 8 => {
                u32::from_str_radix(integer.as_str(), 8).ok()
            }
            _ => None,
        };
        let mode = mode.filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            self.refuse("is not an octal file mode from 0000 to 0777", r#"write "0660" or 0o660"#);
        }
        mode
    }
}
