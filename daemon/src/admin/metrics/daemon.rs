//! Metrics of the daemon itself.

use super::Scrape;
use super::sample::Samples;
use crate::admin::health;
use crate::events::{Kind, Outcome};
use holdfast_ctl::api::Health;
use std::fmt::Result;

pub(super) fn build(_: &Scrape, samples: &mut Samples<'_>) -> Result {
    samples.gauge(&[("version", env!("CARGO_PKG_VERSION"))], 1)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 need 41 bits")]
pub(super) fn start_time(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    samples.gauge_f64(&[], scrape.daemon.started_unix_ms as f64 / 1e3)
}

pub(super) fn health(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    let worst = match health::worst(&scrape.reasons, None) {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::Faulted => 2,
    };
    samples.gauge(&[], worst)
}

pub(super) fn reasons(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for reason in &scrape.reasons {
        let one = (reason.code.name(), reason.volume.as_deref().unwrap_or_default());
        // Two reasons can share code and volume, two samples cannot share labels.
        if !told.contains(&one) {
            told.push(one);
            samples.gauge(&[("code", one.0), ("volume", one.1)], 1)?;
        }
    }
    Ok(())
}

pub(super) fn arena(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    samples.gauge(&[], scrape.daemon.arena.bytes)
}

pub(super) fn huge_pages(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    samples.gauge(&[], scrape.daemon.arena.huge_pages.into())
}

pub(super) fn ledger_stuck(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    samples.gauge(&[], scrape.daemon.ledger.stuck.is_some().into())
}

pub(super) fn ledger_waiting(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    samples.gauge(&[], scrape.daemon.ledger.stuck.map_or(0, |stuck| stuck.waiting_entries))
}

pub(super) fn events(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    let seen = scrape.measures.events.seen;
    Kind::ALL.iter().zip(seen).try_for_each(|(kind, count)| samples.counter(&[("event", kind.name())], count))
}

pub(super) fn deliveries(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    let ended = scrape.measures.events.ended;
    let mut each = Outcome::ALL.iter().zip(ended);
    each.try_for_each(|(outcome, count)| samples.counter(&[("result", outcome.name())], count))
}
