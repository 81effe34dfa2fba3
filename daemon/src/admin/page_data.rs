//! What the page shows and `holdfastctl` does not need: the map of a volume, and latencies.

use super::ask::{self, Asked, Named};
use super::look::{Answer, EXTENTS_MAX, SharedState, answer};
use super::{Peer, Shared, VolumeView, listing};
use crate::latency::{self, Counts, Kind};
use axum::routing::get;
use axum::{Extension, Router, extract::State};
use holdfast_ctl::api::{ExtentMap, Latencies, Latency, VolumeLatencies, VolumeState};
use holdfast_engine::{ByteRange, ListState};
use serde::Deserialize;
use std::sync::Arc;

/// The most cells of a map: more than a screen has room for.
const CELLS_MAX: usize = 4096;

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/volumes/{volume}/map", get(map)).route("/v1/latencies", get(latencies))
}

/// How fine a map is to be.
#[derive(Deserialize)]
struct MapQuery {
    cells: Option<usize>,
}

async fn map(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Asked(query): Asked<MapQuery>,
) -> Answer<ExtentMap> {
    let volume = ask::volume(&shared, &name)?;
    let wanted = ask::limit(query.cells, CELLS_MAX)?;
    let cell_bytes = cell_bytes(volume.size_bytes, wanted, shared.backend.daemon().line_bytes);
    let mut cells = shared.backend.map(volume.id, cell_bytes);
    let mut lost_known_to = None;
    // The index knows what is in the cache; what is lost is not. Nobody is asked where nothing is.
    let served = matches!(volume.state, VolumeState::Serving | VolumeState::Draining);
    if served && volume.stats.lost > 0 {
        let lost = listing::list(&*shared.backend, volume.id, ListState::Lost, 0, EXTENTS_MAX, peer).await?;
        lost.extents.iter().for_each(|extent| mark(&mut cells, extent.range, cell_bytes));
        lost_known_to = lost.next;
    }
    let cells = cells.into_iter().map(char::from).collect();
    answer(ExtentMap { volume: volume.name, cell_bytes, cells, lost_known_to })
}

/// Whole lines, so many that there are no more than `cells` cells.
fn cell_bytes(volume_bytes: u64, cells: usize, line_bytes: u32) -> u64 {
    let cells = u64::try_from(cells).expect("few cells");
    volume_bytes.div_ceil(cells).next_multiple_of(line_bytes.into()).max(line_bytes.into())
}

fn mark(cells: &mut [u8], range: ByteRange, cell_bytes: u64) {
    if range.length == 0 {
        return;
    }
    let cell = |offset: u64| usize::try_from(offset / cell_bytes).unwrap_or(usize::MAX);
    let (first, last) = (cell(range.offset), cell(range.end() - 1));
    let end = cells.len().min(last.saturating_add(1));
    if let Some(touched) = cells.get_mut(first..end) {
        touched.fill(ExtentMap::LOST);
    }
}

async fn latencies(State(shared): SharedState) -> Answer<Latencies> {
    answer(Latencies { volumes: latencies_of(&shared, shared.backend.volumes()) })
}

/// How long the clients and devices of these volumes waited, since each came.
pub(super) fn latencies_of(shared: &Shared, views: Vec<VolumeView>) -> Vec<VolumeLatencies> {
    let measures = shared.backend.measures(&views);
    let volumes = views.into_iter().zip(&measures.volumes).map(|(view, measured)| VolumeLatencies {
        volume: view.name,
        requests: each(&measured.requests),
        device: each(&measured.device),
    });
    volumes.collect()
}

fn each(counts: &[Counts; Kind::ALL.len()]) -> Vec<Latency> {
    let counted = Kind::ALL.iter().zip(counts).filter(|(_, counts)| counts.count() > 0);
    counted.map(|(kind, counts)| one(*kind, counts)).collect()
}

fn one(kind: Kind, counts: &Counts) -> Latency {
    let buckets = (latency::FIRST..).zip(counts.buckets.iter().copied()).filter(|(_, count)| *count > 0);
    Latency {
        operation: kind.name().to_owned(),
        count: counts.count(),
        sum_ns: counts.sum_ns,
        buckets: buckets.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_whole_lines_and_never_too_many() {
        assert_eq!(cell_bytes(10 << 30, 512, 4096), 20 << 20);
        assert_eq!(cell_bytes(4096, 512, 4096), 4096);
        assert_eq!(cell_bytes(0, 512, 4096), 4096, "a volume that is not open may have no size");
        for bytes in [1, 4095, 4097, (1 << 40) + 512, 7 * 4096 + 1] {
            let cell = cell_bytes(bytes, 64, 4096);
            assert!(cell.is_multiple_of(4096) && bytes.div_ceil(cell) <= 64, "{bytes}: {cell}");
        }
    }

    #[test]
    fn a_loss_marks_every_cell_that_it_touches() {
        let mut cells = *b"....";
        mark(&mut cells, ByteRange { offset: 4095, length: 2 }, 4096);
        assert_eq!(&cells, b"ll..");
        mark(&mut cells, ByteRange { offset: 3 * 4096, length: u64::MAX - 3 * 4096 }, 4096);
        assert_eq!(&cells, b"ll.l");
        mark(&mut cells, ByteRange { offset: 9 * 4096, length: 512 }, 4096);
        mark(&mut cells, ByteRange { offset: 2 * 4096, length: 0 }, 4096);
        assert_eq!(&cells, b"ll.l", "what is beyond, or nothing, marks nothing");
    }
}
