//! A crowd of sessions that want nothing, and one that does.

use std::time::Duration;

use holdfast_ringbuf::client::{Options, Queue};

use super::{Figure, Place};
use crate::daemon_target::DaemonTarget;
use crate::load::{Load, Operation, run_round, warm_up};
use crate::own_daemon::VOLUME;

/// Beside the busy one.
const CROWD: u32 = 255;
const SPAN: u64 = 16 << 20;

pub(super) fn measure(place: &Place) -> anyhow::Result<Vec<Figure>> {
    let daemon = place.daemon(SPAN, 4 * SPAN, "")?;
    let mut figures = Vec::new();
    for depth in [32, 1] {
        let load = Load {
            operation: Operation::Write,
            depth,
            seed: 1,
            span_bytes: SPAN,
            duration: Duration::from_secs(1),
        };
        let mut target = DaemonTarget::connect(&daemon.socket, VOLUME, depth, SPAN)?;
        warm_up(&mut target, &load)?;
        let mut ratios = Vec::new();
        for _ in 0..place.repeats {
            let alone = run_round(&mut target, &load)?.rate_per_s;
            let options = Options { queue_depth: 1, request_bytes: 4096, ..Options::default() };
            let connect = |_| Queue::connect(&daemon.socket, VOLUME, options.clone());
            let crowd: Vec<Queue> = (0..CROWD).map(connect).collect::<Result<_, _>>()?;
            ratios.push(run_round(&mut target, &load)?.rate_per_s / alone);
            drop(crowd);
            // Their seats are given back one a turn.
            std::thread::sleep(Duration::from_millis(200));
        }
        let what = format!("writes at depth {depth} beside 255 idle sessions, of the rate alone");
        figures.push(Figure::at_least(&what, ratios, 0.9));
    }
    Ok(figures)
}
