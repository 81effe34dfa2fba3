//! What happens to one matching operation after the other, as a short word.

use rustix::io::Errno;
use std::fmt;
use std::str::FromStr;

/// The longest word: nobody writes more by hand, and it lives in a fixed place.
const STEPS_MAX: usize = 64;

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Fail,
    Work,
    Hang,
}

/// A word over `x` (fail one), `w` (let one pass), `h` (hang one), and, at its end, `X`, `W` or `H` (the same from
/// then on). When a word without such an end is used up, everything passes.
///
/// `xxwX`: the first two fail, the third passes, from the fourth on all fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    steps: Vec<Step>,
    rest: Step,
    text: String,
}

/// Why a fault rule is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultParseError {
    /// The word is empty or too long.
    #[error("a fault sequence has 1 to 64 letters, not {length}")]
    Length {
        /// Its length.
        length: usize,
    },
    /// A letter that has no meaning.
    #[error(
        "{letter:?} at place {place} of the fault sequence: it takes x, w, h (one) and X, W, H (from then on)"
    )]
    Letter {
        /// The letter.
        letter: char,
        /// Counted from 1.
        place: usize,
    },
    /// Something follows a letter that means "from then on".
    #[error("{letter:?} at place {place} of the fault sequence goes on for ever: nothing can follow it")]
    After {
        /// The letter.
        letter: char,
        /// Counted from 1.
        place: usize,
    },
    /// No such errno.
    #[error("{text:?} is no errno; write a name such as EIO or ENOSPC, or a number from 1 to 133")]
    Errno {
        /// What was written.
        text: String,
    },
    /// No such operation.
    #[error("{text:?} is no operation; write read, write (also zeroes and discard), flush or any")]
    Operation {
        /// What was written.
        text: String,
    },
}

impl Sequence {
    /// What happens to the `number`th matching operation, counted from 0.
    pub(super) fn at(&self, number: u64) -> Step {
        usize::try_from(number).ok().and_then(|number| self.steps.get(number)).copied().unwrap_or(self.rest)
    }
}

impl FromStr for Sequence {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Sequence, FaultParseError> {
        let length = text.chars().count();
        if !(1..=STEPS_MAX).contains(&length) {
            return Err(FaultParseError::Length { length });
        }
        let mut steps = Vec::with_capacity(length);
        let mut rest = Step::Work;
        for (place, letter) in (1..).zip(text.chars()) {
            let step = match letter.to_ascii_lowercase() {
                'x' => Step::Fail,
                'w' => Step::Work,
                'h' => Step::Hang,
                _ => return Err(FaultParseError::Letter { letter, place }),
            };
            if !letter.is_ascii_uppercase() {
                steps.push(step);
            } else if place == length {
                rest = step;
            } else {
                return Err(FaultParseError::After { letter, place });
            }
        }
        Ok(Sequence { steps, rest, text: text.to_owned() })
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names of what disks, file systems and fabrics answer.
const NAMES: [(&str, Errno); 26] = [
    ("EPERM", Errno::PERM),
    ("EIO", Errno::IO),
    ("ENXIO", Errno::NXIO),
    ("EAGAIN", Errno::AGAIN),
    ("ENOMEM", Errno::NOMEM),
    ("EACCES", Errno::ACCESS),
    ("EBUSY", Errno::BUSY),
    ("ENODEV", Errno::NODEV),
    ("EINVAL", Errno::INVAL),
    ("EFBIG", Errno::FBIG),
    ("ENOSPC", Errno::NOSPC),
    ("EROFS", Errno::ROFS),
    ("ENOLINK", Errno::NOLINK),
    ("EPROTO", Errno::PROTO),
    ("EBADE", Errno::BADE),
    ("ENODATA", Errno::NODATA),
    ("ETIME", Errno::TIME),
    ("ECOMM", Errno::COMM),
    ("EILSEQ", Errno::ILSEQ),
    ("EOPNOTSUPP", Errno::OPNOTSUPP),
    ("ENETDOWN", Errno::NETDOWN),
    ("ECONNRESET", Errno::CONNRESET),
    ("ETIMEDOUT", Errno::TIMEDOUT),
    ("ESTALE", Errno::STALE),
    ("EREMOTEIO", Errno::REMOTEIO),
    ("EDQUOT", Errno::DQUOT),
];

/// An errno by name or number.
///
/// # Errors
/// [`FaultParseError::Errno`] if Linux has none such, or it is not one that a disk answers and written as a name.
pub fn parse_errno(text: &str) -> Result<u16, FaultParseError> {
    let named =
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, errno)| errno.raw_os_error());
    let number = named.or_else(|| text.parse().ok()).filter(|number| (1..=133).contains(number));
    let number = number.and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| FaultParseError::Errno { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(word: &str, count: u64) -> String {
        let sequence: Sequence = word.parse().expect("a good word");
        let letter = |number| match sequence.at(number) {
            Step::Fail => 'x',
            Step::Work => 'w',
            Step::Hang => 'h',
        };
        (0..count).map(letter).collect()
    }

    #[test]
    fn words_mean_what_the_table_says() {
        let table = [
            ("x", "xwww"),
            ("w", "wwww"),
            ("X", "xxxx"),
            ("wX", "wxxx"),
            ("xxwX", "xxwx"),
            ("xW", "xwww"),
            ("h", "hwww"),
            ("hxh", "hxhw"),
            ("wH", "whhh"),
        ];
        for (word, expected) in table {
            assert_eq!(steps(word, 4), expected, "{word}");
        }
    }

    #[test]
    fn bad_words_are_refused_with_their_place() {
        let parse = |word: &str| word.parse::<Sequence>().expect_err(word);
        assert_eq!(parse(""), FaultParseError::Length { length: 0 });
        assert_eq!(parse(&"x".repeat(65)), FaultParseError::Length { length: 65 });
        assert_eq!(parse("xq"), FaultParseError::Letter { letter: 'q', place: 2 });
        assert_eq!(parse("xXw"), FaultParseError::After { letter: 'X', place: 2 });
        assert_eq!("xxwX".parse::<Sequence>().expect("good").to_string(), "xxwX");
    }

    #[test]
    fn an_errno_is_a_name_or_a_number() {
        assert_eq!(parse_errno("ENOSPC"), Ok(28));
        assert_eq!(parse_errno("eio"), Ok(5));
        assert_eq!(parse_errno("110"), Ok(110));
        for text in ["0", "134", "-5", "EFOO", ""] {
            assert_eq!(parse_errno(text), Err(FaultParseError::Errno { text: text.to_owned() }));
        }
    }
}
