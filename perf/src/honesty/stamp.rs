//! What is written: blocks that say which version of which block they are, of which run.

use std::fmt;

use super::answer::errno_name;

/// Bytes of a block: what the paper's workloads write.
pub(super) const BLOCK: usize = 4096;
/// Bytes of the line that a block repeats.
const LINE: usize = 64;

/// One version of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// A is what was there before, B and C are what is written.
    pub(super) letter: char,
    /// Which block of the file or volume.
    pub(super) block: u64,
    /// Another number for each play: what an earlier one left on a disk is no answer.
    pub(super) run: u64,
}

impl Stamp {
    /// The line that the block repeats, without its end.
    pub(super) fn words(self) -> String {
        let Stamp { letter, block, run } = self;
        format!("{:<63}", format!("holdfast honesty {run:016x} block {block} is {letter}"))
    }

    /// The whole block.
    pub(super) fn bytes(self) -> Vec<u8> {
        format!("{}\n", self.words()).into_bytes().repeat(BLOCK / LINE)
    }
}

/// What a block was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This version, whole.
    Version(char),
    /// Only zeroes.
    Zeroes,
    /// The file ends before it.
    Nothing,
    /// Anything else, or more than one thing.
    Garbage,
    /// The read failed with this errno.
    Refused(i32),
}

impl Found {
    /// Looks at the bytes that were read for a block.
    pub(super) fn of(bytes: &[u8], block: u64, run: u64) -> Self {
        let whole = |letter: &char| Stamp { letter: *letter, block, run }.bytes() == bytes;
        match bytes {
            [] => Found::Nothing,
            _ if bytes.len() == BLOCK && bytes.iter().all(|&byte| byte == 0) => Found::Zeroes,
            _ => ['A', 'B', 'C']
                .iter()
                .find(|letter| whole(letter))
                .map_or(Found::Garbage, |&letter| Found::Version(letter)),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Version(letter) => write!(f, "{letter}"),
            Found::Zeroes => f.write_str("zeroes"),
            Found::Nothing => f.write_str("nothing"),
            Found::Garbage => f.write_str("garbage"),
            Found::Refused(errno) => f.write_str(&errno_name(*errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_known_by_its_whole_content_place_and_run() {
        let b = Stamp { letter: 'B', block: 1, run: 7 };
        assert_eq!(b.bytes().len(), BLOCK);
        assert_eq!(Found::of(&b.bytes(), 1, 7), Found::Version('B'));
        assert_eq!(Found::of(&b.bytes(), 0, 7), Found::Garbage, "of another block");
        assert_eq!(Found::of(&b.bytes(), 1, 8), Found::Garbage, "of another run");
        let a = Stamp { letter: 'A', ..b };
        let torn = [&a.bytes()[..512], &b.bytes()[512..]].concat();
        assert_eq!(Found::of(&torn, 1, 7), Found::Garbage);
        assert_eq!(Found::of(&[0; BLOCK], 1, 7), Found::Zeroes);
        assert_eq!(Found::of(&[0; 512], 1, 7), Found::Garbage, "a part of a block");
        assert_eq!(Found::of(&[], 1, 7), Found::Nothing);
    }
}
