//! Where requests go: random blocks of a span, from a seed, without a division.

/// Bytes of every request and of every block of a span.
pub const BLOCK_BYTES: u64 = 4096;
/// The same, as an index.
pub(crate) const BLOCK: usize = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);

/// Multiplier and increment of Knuth's MMIX generator: full period over `u64`.
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

/// An endless sequence of block-aligned offsets below a span; the same for the same seed.
///
/// A division costs some 10 ns, a tenth of what is measured, so a block is chosen by a multiplication: the upper half of
/// the generator's state (its good half), a fraction of 2^32, times the number of blocks.
#[derive(Debug, Clone)]
pub struct Offsets {
    state: u64,
    blocks: u64,
}

impl Offsets {
    /// Offsets in `0..span_bytes`.
    ///
    /// # Panics
    /// If the span has no whole block or 2^32 blocks (16 TiB) and more.
    #[must_use]
    pub fn new(seed: u64, span_bytes: u64) -> Self {
        let blocks = span_bytes / BLOCK_BYTES;
        assert!((1..1 << 32).contains(&blocks), "a span of {span_bytes} bytes has {blocks} blocks");
        Self { state: seed.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT), blocks }
    }

    /// The next offset in bytes.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        (((self.state >> 32) * self.blocks) >> 32) * BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_the_span_is_drawn_about_equally_often() {
        for blocks in [1u64, 3, 64, 1000] {
            let mut offsets = Offsets::new(7, blocks * BLOCK_BYTES);
            let mut drawn = vec![0u32; usize::try_from(blocks).unwrap()];
            for _ in 0..blocks * 200 {
                let offset = offsets.draw();
                assert!(offset.is_multiple_of(BLOCK_BYTES) && offset / BLOCK_BYTES < blocks, "{offset}");
                drawn[usize::try_from(offset / BLOCK_BYTES).unwrap()] += 1;
            }
            // 200 expected with a deviation of 14: 100 to 300 is seven of them.
            assert!(drawn.iter().all(|count| (100..=300).contains(count)), "{blocks} blocks: {drawn:?}");
        }
    }

    #[test]
    fn a_trailing_part_of_a_block_is_never_drawn() {
        let mut offsets = Offsets::new(1, 2 * BLOCK_BYTES + 4095);
        assert!((0..1000).all(|_| offsets.draw() <= BLOCK_BYTES));
    }

    #[test]
    fn the_last_block_of_a_large_span_can_be_drawn() {
        let span = ((1u64 << 32) - 1) * BLOCK_BYTES;
        let mut offsets = Offsets::new(3, span);
        let highest = (0..100_000).map(|_| offsets.draw()).max().unwrap();
        assert!(highest < span && highest > span - span / 1000, "{highest} of {span}");
    }

    #[test]
    fn a_seed_names_a_sequence() {
        let draw = |seed| {
            let mut offsets = Offsets::new(seed, 1 << 30);
            std::array::from_fn::<u64, 8, _>(|_| offsets.draw())
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    #[should_panic(expected = "0 blocks")]
    fn a_span_without_a_block_is_refused() {
        let _ = Offsets::new(1, 4095);
    }
}
