//! Metrics of each reactor.

use super::Scrape;
use super::sample::Samples;
use crate::admin::ReactorView;
use std::fmt::Result;

/// For each reactor, with its number as a word.
fn each(scrape: &Scrape, mut read: impl FnMut(&str, &ReactorView) -> Result) -> Result {
    scrape.daemon.reactors.iter().enumerate().try_for_each(|(number, one)| read(&number.to_string(), one))
}

pub(super) fn turns(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| {
        samples.counter(&[("reactor", reactor), ("kind", "busy")], one.busy_turns)?;
        samples.counter(&[("reactor", reactor), ("kind", "idle")], one.idle_turns)
    })
}

pub(super) fn turn_duration(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    let mut all = scrape.measures.turns.iter().enumerate();
    all.try_for_each(|(number, counts)| samples.histogram(&[("reactor", &number.to_string())], counts))
}

#[allow(clippy::cast_precision_loss, reason = "a turn is no month")]
pub(super) fn longest_turn(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| samples.gauge_f64(&[("reactor", reactor)], one.longest_turn_ns as f64 * 1e-9))
}

#[allow(clippy::cast_precision_loss, reason = "nor is a stall")]
pub(super) fn silent(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| samples.gauge_f64(&[("reactor", reactor)], one.silent_ms as f64 / 1e3))
}

pub(super) fn cache(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| {
        let cache = one.cache;
        let clean = cache.slots.saturating_sub(cache.free).saturating_sub(cache.not_clean);
        for (state, slots) in [("free", cache.free), ("clean", clean), ("not_clean", cache.not_clean)] {
            samples.gauge(&[("reactor", reactor), ("state", state)], scrape.bytes(slots))?;
        }
        Ok(())
    })
}

pub(super) fn evictions(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| samples.counter(&[("reactor", reactor)], one.cache.evictions))
}

pub(super) fn requests(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| samples.gauge(&[("reactor", reactor)], one.cache.requests))
}

pub(super) fn operations(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| samples.gauge(&[("reactor", reactor)], one.cache.ops))
}

pub(super) fn entries(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    each(scrape, |reactor, one| samples.gauge(&[("reactor", reactor)], one.cache.ledger_entries))
}
