//! Lines of a volume: every byte has one owner and one line, whatever the size, the stripes and the reactors.

use holdfast_engine::Geometry;
use proptest::prelude::*;

fn geometry() -> impl Strategy<Value = Geometry> {
    (1u64..60_000, 0u32..=2, 0u32..=3, 1u32..=9).prop_map(|(sectors, line, stripe, reactors)| Geometry {
        volume_bytes: sectors * 512,
        block_bytes: 512,
        line_bytes: 4096 << line,
        stripe_bytes: 1 << (20 + stripe),
        reactors,
        reactor: 0,
    })
}

/// The shapes that the reactors of one volume have.
fn shares(geometry: Geometry) -> Vec<Geometry> {
    (0..geometry.reactors).map(|reactor| Geometry { reactor, ..geometry }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Each line of the volume is one local line of its owner; local lines are dense and in order.
    #[test]
    fn lines_map_one_to_one(geometry in geometry()) {
        let shares = shares(geometry);
        let mut next = vec![0; shares.len()];
        let line_bytes = u64::from(geometry.line_bytes);
        for line in 0..geometry.volume_bytes.div_ceil(line_bytes) {
            let offset = line * line_bytes;
            let owner = usize::try_from(geometry.owner(offset)).unwrap();
            prop_assert_eq!(owner as u64, offset / geometry.stripe_bytes % shares.len() as u64);
            prop_assert_eq!(shares[owner].local_line(offset), next[owner]);
            prop_assert_eq!(shares[owner].offset_of(next[owner]), offset);
            next[owner] += 1;
        }
        for (share, count) in shares.iter().zip(next) {
            prop_assert_eq!(share.local_lines(), count);
        }
    }

    /// The masks of all lines together have a bit for each sector of the volume.
    #[test]
    fn every_sector_exists_once(geometry in geometry()) {
        let sectors: u64 = shares(geometry)
            .iter()
            .flat_map(|share| (0..share.local_lines()).map(|line| u64::from(share.existing_mask(line).count_ones())))
            .sum();
        prop_assert_eq!(sectors * 512, geometry.volume_bytes);
    }

    /// `first_line_at_or_after` counts the lines of the reactor that begin before the offset.
    #[test]
    fn lines_before_an_offset_are_counted(geometry in geometry(), at in 0u64..60_000) {
        let offset = at * 512 % geometry.volume_bytes;
        for share in shares(geometry) {
            let before = (0..share.local_lines()).filter(|&line| share.offset_of(line) < offset).count();
            prop_assert_eq!(share.first_line_at_or_after(offset), before as u64);
        }
    }

    /// Lines that are said to be contiguous are neighbours on the device, and the next one is not.
    #[test]
    fn contiguous_lines_are_neighbours(geometry in geometry(), at in any::<u64>()) {
        for share in shares(geometry).into_iter().filter(|share| share.local_lines() > 0) {
            let line = at % share.local_lines();
            let count = share.contiguous_from(line);
            let line_bytes = u64::from(share.line_bytes);
            prop_assert!(count >= 1 && line + count <= share.local_lines());
            prop_assert_eq!(share.offset_of(line + count - 1), share.offset_of(line) + (count - 1) * line_bytes);
            if line + count < share.local_lines() && share.reactors > 1 {
                prop_assert_ne!(share.offset_of(line + count), share.offset_of(line) + count * line_bytes);
            }
        }
    }
}
