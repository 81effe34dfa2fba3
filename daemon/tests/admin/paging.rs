//! Listing a million extents: every one exactly once, in order, in answers of bounded size.

use crate::fake::{LINE, STRIPE, failed};
use crate::world::World;
use holdfast_engine::{Extent, Instant, ListState};
use serde::Deserialize;

const MILLION: u64 = 1_000_000;
/// 4096 extents of at most 400 bytes of JSON, and the frame around them.
const ANSWER_BYTES_MAX: usize = 4096 * 400 + 1000;

/// An extent that the device was never asked about.
fn dirty(offset: u64, length: u64) -> Extent {
    Extent { state: ListState::Dirty, class: 0, errno: 0, attempts: 0, ..failed(offset, length) }
}

/// What these tests read of a page; the whole type is read elsewhere, and a million of them take their time.
#[derive(Deserialize)]
struct Page {
    extents: Vec<Place>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Place {
    offset: u64,
    length: u64,
}

fn get(world: &World, state: &str, from: u64) -> Page {
    let path = format!("/v1/volumes/vm1/extents?state={state}&from={from}");
    let answer = world.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    assert!(answer.len() < ANSWER_BYTES_MAX, "{} bytes", answer.len());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).expect("a page")
}

/// One line in two, so that nothing can be joined: every extent of every reactor must come through by itself.
#[test]
fn a_million_extents_come_once_each_and_in_order() {
    let world = World::new();
    world.state().volumes[0].size_bytes = MILLION * 2 * LINE;
    world.state().extents = (0..MILLION).map(|number| dirty(number * 2 * LINE, LINE)).collect();
    let (mut from, mut seen, mut pages) = (0, 0, 0);
    loop {
        let page = get(&world, "dirty", from);
        pages += 1;
        for extent in &page.extents {
            assert_eq!((extent.offset, extent.length), (seen * 2 * LINE, LINE));
            seen += 1;
        }
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, MILLION);
    assert_eq!(pages, MILLION.div_ceil(4096), "every page but the last is full");
}

/// The largest extents there are, in the largest page: [`get`] checks its size.
#[test]
fn a_full_page_of_refusals_is_bounded() {
    let world = World::new();
    let refused = |number: u64| {
        let (first, last) = (Instant(u64::MAX), Instant(u64::MAX));
        Extent { attempts: u32::MAX, errno: 4095, first, last, ..failed((1 << 62) + number * 2 * LINE, LINE) }
    };
    world.state().extents = (0..5000).map(refused).collect();
    let page = get(&world, "failed", 0);
    assert_eq!(page.extents.len(), 4096);
    assert_eq!(page.next, Some((1 << 62) + 4096 * 2 * LINE));
}

/// A million failed lines in a row are one extent to an operator, though three reactors hold them in a thousand
/// stripes of their own.
#[test]
fn neighbours_of_different_reactors_are_joined() {
    let world = World::new();
    let stripes = MILLION * LINE / STRIPE;
    world.state().extents = (0..stripes).map(|number| failed(number * STRIPE, STRIPE)).collect();
    let page = get(&world, "failed", 0);
    assert_eq!(page.extents.len(), 1);
    assert_eq!((page.extents[0].offset, page.extents[0].length), (0, stripes * STRIPE));
    assert_eq!(page.next, None);
}

/// A volume whose lines never join into a full page makes many rounds: the answer is cut short and goes on.
#[test]
fn a_page_of_long_runs_is_cut_short_and_continued() {
    let world = World::new();
    let pieces = STRIPE / 512;
    let piece = |number: u64| failed(number * 512, 512);
    let one_stripe = 0..pieces * 24;
    world.state().extents = one_stripe.map(piece).collect();
    let (mut from, mut pages, mut bytes) = (0, 0, 0);
    loop {
        let page = get(&world, "failed", from);
        pages += 1;
        bytes += page.extents.iter().map(|extent| extent.length).sum::<u64>();
        assert_eq!(page.extents.len(), 1);
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(bytes, 24 * STRIPE);
    assert!(pages > 1, "256 rounds of 64 pieces are less than there are");
}

#[test]
fn the_command_line_goes_from_page_to_page() {
    let world = World::new();
    world.state().extents =
        (0..10_000).map(|number| failed(number * 2 * LINE, LINE)).collect::<Vec<Extent>>();
    let json = world.ctl("extents vm1 --state failed --limit 9000 --json").json();
    assert_eq!(json["extents"].as_array().map(Vec::len), Some(9000));
    assert_eq!(json["next"], 9000 * 2 * LINE);
    let told = world.told("extents vm1 --state failed --limit 3");
    let last = told.lines().last();
    assert_eq!(last, Some("There are more: holdfastctl --socket S extents vm1 --state failed --from 24576"));
}
