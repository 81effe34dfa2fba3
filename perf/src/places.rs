//! Where a client's requests go: random, in order, or some blocks much more often than others.

use crate::offsets::{BLOCK_BYTES, Offsets};
use crate::zipf::Zipf;

/// Zipf's draws cost a logarithm and a division each, so they are made before the round, and used again when they are
/// used up: 4 MiB that the processor prefetches.
const DRAWN: usize = 1 << 20;

/// How requests are spread over a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    /// Every block equally often, in no order.
    Random,
    /// Block after block, from the first one again after the last.
    Sequential,
    /// The k-th most frequent block in proportion to 1 / k^s; frequent ones are no neighbours.
    Zipf(f64),
}

/// An endless sequence of blocks; the same for the same seed.
#[derive(Debug, Clone)]
pub struct Places {
    order: Order,
    block_bytes: u64,
}

#[derive(Debug, Clone)]
enum Order {
    Random(Offsets),
    Sequential { next: u64, blocks: u64 },
    Zipf { drawn: Box<[u32]>, next: usize },
}

impl Places {
    /// Whole blocks of `block_bytes` in `0..span_bytes`.
    ///
    /// # Panics
    /// If there is no whole block, or there are 2^32 and more, or Zipf's exponent is not positive.
    #[must_use]
    pub fn new(pattern: Pattern, span_bytes: u64, block_bytes: u64, seed: u64) -> Self {
        let blocks = span_bytes / block_bytes;
        assert!((1..1 << 32).contains(&blocks), "{blocks} blocks");
        let order = match pattern {
            // Its unit is 4 KiB: as many of them as there are blocks of ours.
            Pattern::Random => Order::Random(Offsets::new(seed, blocks * BLOCK_BYTES)),
            Pattern::Sequential => Order::Sequential { next: 0, blocks },
            Pattern::Zipf(exponent) => Order::Zipf { drawn: zipf(exponent, blocks, seed), next: 0 },
        };
        Self { order, block_bytes }
    }

    /// The next offset in bytes.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        let block = match &mut self.order {
            Order::Random(offsets) => offsets.draw() / BLOCK_BYTES,
            Order::Sequential { next, blocks } => {
                let block = *next;
                *next = if block + 1 == *blocks { 0 } else { block + 1 };
                block
            }
            Order::Zipf { drawn, next } => {
                let block = drawn[*next];
                *next = (*next + 1) % DRAWN;
                u64::from(block)
            }
        };
        block * self.block_bytes
    }
}

fn zipf(exponent: f64, blocks: u64, seed: u64) -> Box<[u32]> {
    let mut ranks = Zipf::new(exponent, blocks, seed);
    let step = scattering(blocks);
    let place = |rank: u64| u128::from(rank - 1) * u128::from(step) % u128::from(blocks);
    (0..DRAWN).map(|_| u32::try_from(place(ranks.draw())).expect("below 2^32 blocks")).collect()
}

/// A step that comes to every block once before it returns to the first: about the golden section, and coprime.
fn scattering(blocks: u64) -> u64 {
    let golden = blocks * 618_033_989 / 1_000_000_000;
    (golden.max(1)..)
        .find(|step| greatest_common_divisor(*step, blocks) == 1)
        .expect("`blocks` + 1, at the latest")
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pattern: Pattern, blocks: u64, draws: u64) -> Vec<f64> {
        let mut places = Places::new(pattern, blocks * 8192 + 4096, 8192, 17);
        let mut counts = vec![0.0; usize::try_from(blocks).unwrap()];
        for _ in 0..draws {
            let offset = places.draw();
            assert!(offset.is_multiple_of(8192), "{offset}");
            counts[usize::try_from(offset / 8192).unwrap()] += 1.0;
        }
        counts
    }

    #[test]
    fn random_is_even_by_chi_square() {
        let counts = counts(Pattern::Random, 101, 101_000);
        let chi_square: f64 = counts.iter().map(|count| (count - 1000.0f64).powi(2) / 1000.0).sum();
        // 100 degrees of freedom: mean 100, deviation 14. Far below the mean would be no chance either.
        assert!((50.0..170.0).contains(&chi_square), "{chi_square}");
    }

    #[test]
    fn sequential_comes_to_every_block_in_turn() {
        let mut places = Places::new(Pattern::Sequential, 3 * 4096, 4096, 1);
        let drawn: Vec<u64> = (0..7).map(|_| places.draw() / 4096).collect();
        assert_eq!(drawn, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn zipf_scatters_its_frequent_blocks_and_keeps_their_shares() {
        let counts = counts(Pattern::Zipf(1.0), 1000, 1 << 20);
        let mut places: Vec<usize> = (0..1000).collect();
        places.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]));
        assert!(places[0].abs_diff(places[1]) > 100, "{:?}", &places[..2]);
        // The first of 1000 has 1 / H(1000) = 0.1336 of all, the second half of that.
        assert!((counts[places[0]] / 1_048_576.0 - 0.1336).abs() < 0.002, "{}", counts[places[0]]);
        assert!((counts[places[0]] / counts[places[1]] - 2.0).abs() < 0.05);
    }

    #[test]
    fn scattering_is_a_permutation() {
        for blocks in [1u64, 2, 3, 12, 1000, 4096, 30_030] {
            let step = scattering(blocks);
            let mut seen: Vec<u64> = (0..blocks).map(|rank| rank * step % blocks).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..blocks), "{blocks}: {step}");
        }
    }

    #[test]
    fn a_seed_names_a_sequence() {
        for pattern in [Pattern::Random, Pattern::Zipf(0.9)] {
            let draw = |seed| {
                let mut places = Places::new(pattern, 1 << 30, 4096, seed);
                (0..8).map(|_| places.draw()).collect::<Vec<_>>()
            };
            assert_eq!(draw(5), draw(5));
            assert_ne!(draw(5), draw(6));
        }
    }
}
