//! Metrics of each volume.

use super::Scrape;
use super::sample::Samples;
use crate::admin::{ThinView, VolumeView};
use holdfast_ctl::api::VolumeState;
use holdfast_engine::VolumeStats;
use holdfast_policy::ErrorClass;
use std::fmt::Result;

/// A number of each volume.
fn gauge(scrape: &Scrape, samples: &mut Samples<'_>, read: impl Fn(&VolumeView) -> u64) -> Result {
    scrape.volumes.iter().try_for_each(|volume| samples.gauge(&[("volume", &volume.name)], read(volume)))
}

fn counter(scrape: &Scrape, samples: &mut Samples<'_>, read: impl Fn(&VolumeStats) -> u64) -> Result {
    let mut volumes = scrape.volumes.iter();
    volumes.try_for_each(|volume| samples.counter(&[("volume", &volume.name)], read(&volume.stats)))
}

pub(super) fn serving(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| {
        matches!(volume.state, VolumeState::Serving | VolumeState::Draining).into()
    })
}

pub(super) fn size(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| volume.size_bytes)
}

pub(super) fn data(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    for VolumeView { name, stats, .. } in &scrape.volumes {
        let states = [
            ("dirty", stats.dirty),
            ("writing", stats.writing),
            ("unstable", stats.unstable),
            ("failed", stats.failed),
            ("lost", stats.lost),
        ];
        for (state, lines) in states {
            samples.gauge(&[("volume", name), ("state", state)], scrape.bytes(lines))?;
        }
    }
    Ok(())
}

pub(super) fn not_clean(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| scrape.bytes(volume.stats.not_clean))
}

pub(super) fn budget(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| scrape.bytes(volume.stats.budget))
}

pub(super) fn gate(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    for VolumeView { name, stats, .. } in &scrape.volumes {
        for class in ErrorClass::ALL.into_iter().filter(|class| class.gates()) {
            let closed = stats.gate_class == class as u8;
            samples.gauge(&[("volume", name), ("class", class.name())], closed.into())?;
        }
    }
    Ok(())
}

pub(super) fn overdue(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| volume.stats.overdue)
}

pub(super) fn stalled(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| volume.stats.stalled_writes)
}

pub(super) fn waiting(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| volume.stats.waiting_flushes)
}

pub(super) fn parked(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    gauge(scrape, samples, |volume| volume.stats.parked_flushes)
}

fn thin(scrape: &Scrape, samples: &mut Samples<'_>, read: impl Fn(ThinView) -> u64) -> Result {
    let mut thin = scrape.volumes.iter().filter_map(|volume| volume.thin.map(|thin| (&volume.name, thin)));
    thin.try_for_each(|(name, thin)| samples.gauge(&[("volume", name)], read(thin)))
}

pub(super) fn thin_limit(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    thin(scrape, samples, |thin| thin.limit_bytes)
}

pub(super) fn thin_allocated(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    thin(scrape, samples, |thin| thin.allocated_bytes)
}

/// A counter of each volume, in two results.
fn results(
    scrape: &Scrape,
    samples: &mut Samples<'_>,
    read: impl Fn(&VolumeStats) -> [(&'static str, u64); 2],
) -> Result {
    for VolumeView { name, stats, .. } in &scrape.volumes {
        for (result, count) in read(stats) {
            samples.counter(&[("volume", name), ("result", result)], count)?;
        }
    }
    Ok(())
}

pub(super) fn reads(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    results(scrape, samples, |stats| [("hit", stats.read_hits), ("miss", stats.read_misses)])
}

pub(super) fn writes(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    counter(scrape, samples, |stats| stats.writes)
}

pub(super) fn flushes(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    results(scrape, samples, |stats| [("ok", stats.flushes_ok), ("failed", stats.flushes_failed)])
}

pub(super) fn operations(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    for VolumeView { name, stats, .. } in &scrape.volumes {
        let counts = [
            ("read", stats.device_reads, stats.device_reads_refused),
            ("write", stats.device_writes, stats.device_writes_refused),
            ("flush", stats.device_flushes, stats.device_flushes_failed),
        ];
        for (operation, ok, refused) in counts {
            for (result, count) in [("ok", ok), ("refused", refused)] {
                let labels = [("volume", name.as_str()), ("operation", operation), ("result", result)];
                samples.counter(&labels, count)?;
            }
        }
    }
    Ok(())
}

pub(super) fn refusals(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    for (volume, measures) in scrape.volumes.iter().zip(&scrape.measures.volumes) {
        for (class, count) in ErrorClass::ALL.iter().zip(measures.refused) {
            samples.counter(&[("volume", &volume.name), ("class", class.name())], count)?;
        }
    }
    Ok(())
}

pub(super) fn written(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    counter(scrape, samples, |stats| stats.device_write_bytes)
}

pub(super) fn given_up(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    counter(scrape, samples, |stats| scrape.bytes(stats.given_up))
}
