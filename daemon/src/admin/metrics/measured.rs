//! The latency histograms of each volume.

use super::Scrape;
use super::sample::Samples;
use crate::admin::VolumeMeasures;
use crate::latency::{Counts, Kind};
use std::fmt::Result;

fn histograms(
    scrape: &Scrape,
    samples: &mut Samples<'_>,
    read: impl Fn(&VolumeMeasures) -> &[Counts; Kind::ALL.len()],
) -> Result {
    for (volume, measures) in scrape.volumes.iter().zip(&scrape.measures.volumes) {
        for (kind, counts) in Kind::ALL.iter().zip(read(measures)) {
            samples.histogram(&[("volume", &volume.name), ("operation", kind.name())], counts)?;
        }
    }
    Ok(())
}

pub(super) fn requests(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    histograms(scrape, samples, |measures| &measures.requests)
}

pub(super) fn device(scrape: &Scrape, samples: &mut Samples<'_>) -> Result {
    histograms(scrape, samples, |measures| &measures.device)
}
