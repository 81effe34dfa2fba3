//! The header of a slot: what goes in comes out, and no flipped bit passes for the truth.

use holdfast_engine::{Header, HeaderDamage, Identity, Status};
use holdfast_policy::State;
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;

/// A header over words that a test can damage: the same four words, as an arena holds them.
fn header_of(words: [u64; 4]) -> Header {
    Header::from_words(words.map(AtomicU64::new))
}

/// The generations that a life can have given out are below it.
const GENERATIONS: u64 = 1 << 62;

fn identity() -> impl Strategy<Value = Identity> {
    (any::<u16>(), 0..1u64 << 48, 0..GENERATIONS, any::<u32>())
        .prop_map(|(volume, line, generation, dirty)| Identity { volume, line, generation, dirty })
}

fn status() -> impl Strategy<Value = Status> {
    (1u8..9, any::<u32>(), 0u8..5, any::<u8>(), 0u8..134).prop_map(
        |(state, valid, class, attempts, errno)| Status {
            state: State::from_u8(state).unwrap(),
            valid,
            class,
            attempts,
            errno,
        },
    )
}

fn written(identity: Identity, status: Status) -> Header {
    let header = Header::default();
    header.assign(identity);
    header.publish(status);
    header
}

proptest! {
    /// What was assigned and published is recovered.
    #[test]
    fn a_header_keeps_what_it_was_given(identity in identity(), status in status()) {
        let header = written(identity, status);
        prop_assert_eq!(header.recover(), Ok((identity, status)));
        prop_assert_eq!(header.status(), status);
        prop_assert_eq!(header.state(), status.state);
        prop_assert_eq!((header.volume(), header.line()), (identity.volume, identity.line));
        prop_assert_eq!((header.generation(), header.dirty()), (identity.generation, identity.dirty));
        prop_assert_eq!(header.valid(), status.valid);
    }

    /// Each single flipped bit is damage that recovery sees.
    #[test]
    fn every_flipped_bit_is_seen(identity in identity(), status in status()) {
        let words = written(identity, status).words();
        for bit in 0..256 {
            let mut damaged = words;
            damaged[bit / 64] ^= 1 << (bit % 64);
            prop_assert!(header_of(damaged).recover().is_err(), "bit {} of {:?} {:?}", bit, identity, status);
        }
    }
}

/// Memory that was never a header is free, if it is zero, and damage if it is not.
#[test]
fn fresh_memory_is_free() {
    let (_, status) = header_of([0; 4]).recover().unwrap();
    assert_eq!(status, Status::FREE);
    assert!(matches!(header_of([u64::MAX; 4]).recover(), Err(HeaderDamage::Status { .. })));
}

/// A crash between the identity and the status leaves a free slot, whatever the identity says.
#[test]
fn an_identity_without_a_status_is_free() {
    let header = Header::default();
    header.assign(Identity { volume: 3, line: 7, generation: 9, dirty: 1 });
    let (_, status) = header.recover().unwrap();
    assert_eq!(status.state, State::Free);
    header.publish(Status::FREE);
    assert_eq!(header.recover().unwrap().1, Status::FREE);
}

/// A line that does not fit is our bug.
#[test]
#[should_panic(expected = "does not fit a header")]
fn a_line_beyond_48_bits_is_a_bug() {
    Header::default().assign(Identity { volume: 0, line: 1 << 48, generation: 1, dirty: 1 });
}

/// A generation that nobody counts up to is damage, whatever its checksum says: the next life would go on behind it.
#[test]
fn a_generation_that_no_life_gave_out_is_damage() {
    let status = Status::new(State::Clean, 1);
    for (generation, sound) in [(GENERATIONS - 1, true), (GENERATIONS, false), (u64::MAX, false)] {
        let header = written(Identity { volume: 1, line: 2, generation, dirty: 1 }, status);
        assert_eq!(header.recover().is_ok(), sound, "{generation:x}");
        assert_eq!(header.sound_identity().is_some(), sound, "{generation:x}");
    }
}
