//! The range map against a plain array of sectors.

use super::super::ranges::{RangeMap, Span};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECTORS: usize = 64;

#[derive(Clone, Debug)]
enum Step {
    Set(usize, usize, u8),
    Remove(usize, usize),
    AddOne(usize, usize),
    FillGaps(usize, usize, u8),
    Save,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..SECTORS, 1..20usize).prop_map(|(from, length)| (from, (from + length).min(SECTORS)));
    let step = prop_oneof![
        4 => (place(), 0..3u8).prop_map(|((from, to), value)| Step::Set(from, to, value)),
        3 => place().prop_map(|(from, to)| Step::Remove(from, to)),
        2 => place().prop_map(|(from, to)| Step::AddOne(from, to)),
        2 => (place(), 0..3u8).prop_map(|((from, to), value)| Step::FillGaps(from, to, value)),
        1 => Just(Step::Save),
    ];
    prop::collection::vec(step, 1..60)
}

fn span(from: usize, to: usize) -> Span {
    Span::new(from as u64, to as u64).expect("steps are not empty")
}

/// The fewest pieces that say what the sectors say.
fn pieces(sectors: &[Option<u8>]) -> Vec<(u64, u64, u8)> {
    let mut out: Vec<(u64, u64, u8)> = Vec::new();
    for (at, value) in sectors.iter().enumerate() {
        let (at, Some(value)) = (at as u64, *value) else { continue };
        match out.last_mut() {
            Some((_, end, last)) if *end == at && *last == value => *end += 1,
            _ => out.push((at, at + 1, value)),
        }
    }
    out
}

fn save(map: &mut RangeMap<u8>, store: &mut BTreeMap<u64, (u64, u8)>) {
    for start in map.take_touched() {
        match map.starting_at(start) {
            Some((end, value)) => store.insert(start, (end, *value)),
            None => store.remove(&start),
        };
    }
}

fn play(map: &mut RangeMap<u8>, sectors: &mut [Option<u8>], step: &Step) {
    match *step {
        Step::Set(from, to, value) => {
            map.update(span(from, to), |_, _| Some(value));
            sectors[from..to].fill(Some(value));
        }
        Step::Remove(from, to) => {
            map.update_pieces(span(from, to), |_, _| None);
            sectors[from..to].fill(None);
        }
        Step::AddOne(from, to) => {
            map.update_pieces(span(from, to), |_, value| Some(value + 1));
            sectors[from..to].iter_mut().for_each(|sector| *sector = sector.map(|value| value + 1));
        }
        Step::FillGaps(from, to, value) => {
            map.update(span(from, to), |_, old| old.or(Some(value)));
            sectors[from..to].iter_mut().for_each(|sector| *sector = sector.or(Some(value)));
        }
        Step::Save => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn maps_like_an_array_of_sectors(steps in steps()) {
        let (mut map, mut sectors) = (RangeMap::default(), [None; SECTORS]);
        let mut store = BTreeMap::new();
        for step in &steps {
            play(&mut map, &mut sectors, step);
            let seen: Vec<_> = map.iter().map(|(span, value)| (span.start, span.end, *value)).collect();
            prop_assert_eq!(&seen, &pieces(&sectors));
            let (half, end) = (SECTORS / 4, SECTORS / 2);
            let inside: Vec<_> =
                map.inside(span(half, end)).iter().map(|(span, value)| (span.start, span.end, *value)).collect();
            let mut window = [None; SECTORS];
            window[half..end].copy_from_slice(&sectors[half..end]);
            prop_assert_eq!(inside, pieces(&window));
            if matches!(step, Step::Save) {
                save(&mut map, &mut store);
                let stored: Vec<_> = store.iter().map(|(start, (end, value))| (*start, *end, *value)).collect();
                prop_assert_eq!(stored, seen);
            }
        }
    }
}

#[test]
fn loading_refuses_overlaps_and_empty_pieces() {
    let mut map = RangeMap::default();
    assert!(map.load(10, 20, 1));
    assert!(map.load(20, 30, 1), "pieces may touch");
    assert!(!map.load(19, 21, 2));
    assert!(!map.load(0, 11, 2));
    assert!(!map.load(5, 40, 2));
    assert!(!map.load(40, 40, 2));
    assert!(!map.load(50, 40, 2));
    assert_eq!(map.len(), 2);
    assert!(!map.is_touched(), "what comes from the store needs no write");
}
