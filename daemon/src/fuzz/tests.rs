//! The corpora, and mutations of them.

use super::{TARGETS, Target};
use std::path::{Path, PathBuf};

/// Mutations of each target. More: `HOLDFAST_FUZZ_INPUTS=10000000 cargo test -p holdfast-daemon --lib fuzz`; with coverage:
/// `cargo xtask fuzz`.
const INPUTS: u64 = 3_000;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).expect("readable")).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end as u64).max(1)).expect("below a usize")
    }
}

/// One to eight changes: flipped bits, numbers at the edges, cuts, repeats, and pieces of another input.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        let at = random.below(data.len());
        match random.below(7) {
            0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            1 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'='][random.below(8)],
            2 if data.len() >= 8 => {
                let at = random.below(data.len() - 7);
                let edge = [0, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 62, 1 << 63, 4096][random.below(8)];
                data[at..at + 8].copy_from_slice(&edge.to_le_bytes());
            }
            3 => data.truncate(at),
            4 => data.extend_from_within(at..),
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                data.splice(at.., other[from.min(other.len())..].iter().copied());
            }
            _ => data.insert(at.min(data.len()), u8::try_from(random.below(256)).expect("a byte")),
        }
        data.truncate(64 << 10);
    }
    data
}

fn run(name: &str, target: Target, inputs: u64) {
    let seeds = corpus(name);
    assert!(seeds.len() >= 2, "{name} has no corpus");
    seeds.iter().for_each(|seed| target(seed));
    let mut random = Random(0x9e37_79b9 + name.len() as u64);
    for number in 0..inputs {
        let data = mutated(&mut random, &seeds);
        let outcome = std::panic::catch_unwind(|| target(&data));
        assert!(outcome.is_ok(), "{name}: input {number} of this run: {data:02x?}");
    }
}

#[test]
fn nothing_that_strangers_write_breaks_its_reader() {
    let inputs =
        std::env::var("HOLDFAST_FUZZ_INPUTS").map_or(INPUTS, |count| count.parse().expect("a number"));
    for (name, target) in TARGETS {
        run(name, target, inputs);
    }
}
