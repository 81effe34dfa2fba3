//! Write-back of what is dirty, beside writers that do nothing else.

use std::path::Path;
use std::time::Instant;

use super::{Figure, Place};
use crate::counters::Counters;
use crate::daemon_target::DaemonTarget;
use crate::files::{Direct, allocate, make_durable};
use crate::load::{LoadError, Operation, Target};
use crate::own_daemon::{OwnDaemon, VOLUME};

const DEPTH: u32 = 32;
const LINE: u64 = 4096;
/// Of the sequential writer beside it.
const LONG: u64 = 256 << 10;
/// Spreads neighbours over the volume; a prime above any number of blocks, so that none is met twice.
const STRIDE: u64 = 2_654_435_761;
/// Of a small cache, much.
const HEADERS: u64 = 8 << 20;
/// All of the span stays dirty until the flush.
const LAZY: &str = "budget = \"90%\"\nwrite_back = { from = \"95%\", after = \"1h\" }\n";

pub(super) fn measure(place: &Place) -> anyhow::Result<Vec<Figure>> {
    // Where three quarters of it are not clean, write-back begins before anybody asks for it.
    let cache = (place.span / 2 * 3 + HEADERS).next_multiple_of(2 << 20);
    let mut figures = side(place, cache, "dense", place.span, LONG, 0.95)?;
    figures.extend(side(place, cache, "sparse", cache * 4, LINE, 0.9)?);
    Ok(figures)
}

/// What one flush wrote.
struct Written {
    bytes_per_s: f64,
    bytes_an_operation: f64,
    core_s_a_gb: f64,
}

/// `span` bytes dirty in random order over `volume` bytes, and a writer of `block` bytes beside it.
fn side(
    place: &Place,
    cache: u64,
    name: &str,
    volume: u64,
    block: u64,
    least: f64,
) -> anyhow::Result<Vec<Figure>> {
    let daemon = place.daemon(volume, cache, LAZY)?;
    let (_folder, path) = place.file("direct")?;
    allocate(&path, volume)?;
    // Once before it counts: the first write of an allocated block changes the file's metadata, too.
    write_directly(&path, volume, LONG, volume)?;
    let mut target = DaemonTarget::connect(&daemon.socket, VOLUME, DEPTH, volume)?;
    write_all(&mut target, volume, LINE, volume)?;
    target.flush()?;
    let (mut ratios, mut sizes, mut cores) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..place.repeats {
        let written = flush_dirty(place, &daemon, &mut target, volume)?;
        let beside = write_directly(&path, volume, block, place.span)?;
        ratios.push(written.bytes_per_s / beside);
        sizes.push(written.bytes_an_operation / 1024.0);
        cores.push(written.core_s_a_gb);
    }
    let mut figures = vec![
        Figure::at_least(&format!("write-back, {name}: of the rate of an O_DIRECT writer"), ratios, least),
        Figure::at_most(&format!("write-back, {name}: core-seconds of busy turns a GB"), cores, 0.5),
    ];
    if name == "dense" {
        figures.insert(1, Figure::at_least("write-back, dense: mean device write in KiB", sizes, 128.0));
    }
    Ok(figures)
}

fn flush_dirty(
    place: &Place,
    daemon: &OwnDaemon,
    target: &mut DaemonTarget,
    volume: u64,
) -> anyhow::Result<Written> {
    let bytes = |counters: &Counters| counters.sum("holdfast_volume_device_written_bytes_total", &[]);
    let writes = |counters: &Counters| {
        counters.sum("holdfast_volume_device_operations_total", &["operation=\"write\""])
    };
    let busy = |counters: &Counters| counters.sum("holdfast_reactor_turn_duration_seconds_sum", &[]);
    write_all(target, volume, LINE, place.span)?;
    let before = Counters::scrape(&daemon.admin)?;
    let began = Instant::now();
    target.flush()?;
    let seconds = began.elapsed().as_secs_f64();
    let after = Counters::scrape(&daemon.admin)?;
    let moved = bytes(&after) - bytes(&before);
    anyhow::ensure!(
        moved > 0.0,
        "all was written before the flush began: choose a larger --span, so that write-back lasts"
    );
    Ok(Written {
        bytes_per_s: moved / seconds,
        bytes_an_operation: moved / (writes(&after) - writes(&before)).max(1.0),
        core_s_a_gb: (busy(&after) - busy(&before)) / (moved / 1e9),
    })
}

/// Bytes a second of a writer through O_DIRECT, made durable in the end as the flush is.
fn write_directly(path: &Path, volume: u64, block: u64, bytes: u64) -> anyhow::Result<f64> {
    let mut file = Direct::open(path, DEPTH, block)?;
    let began = Instant::now();
    write_all(&mut file, volume, block, bytes)?;
    make_durable(path)?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// Writes `bytes` of a volume in blocks: long ones in order, lines in random order.
fn write_all<T: Target>(target: &mut T, volume: u64, block: u64, bytes: u64) -> Result<(), LoadError> {
    let blocks = volume / block;
    let place = |step: u64| if block == LINE { step.wrapping_mul(STRIDE) % blocks } else { step };
    let mut offsets = (0..bytes / block).map(|step| place(step) * block);
    let mut idle: Vec<u32> = (0..DEPTH).collect();
    let mut in_flight = 0;
    loop {
        while let Some(tag) = idle.pop() {
            let Some(offset) = offsets.next() else { break };
            target.window(tag).fill(offset);
            target.submit(tag, Operation::Write, offset)?;
            in_flight += 1;
        }
        if in_flight == 0 {
            return Ok(());
        }
        let before = idle.len();
        target.poll(&mut idle)?;
        in_flight -= idle.len() - before;
    }
}
