//! Many clients flush at once: how often the device does.

use holdfast_ringbuf::client::{Done, Options, Queue};

use super::{Figure, Place};
use crate::counters::Counters;
use crate::own_daemon::VOLUME;

const CLIENTS: u64 = 64;
const ROUNDS: u32 = 50;

pub(super) fn measure(place: &Place) -> anyhow::Result<Vec<Figure>> {
    let daemon = place.daemon(16 << 20, 32 << 20, "")?;
    let options = Options { queue_depth: 1, request_bytes: 4096, ..Options::default() };
    let connect = |_| Queue::connect(&daemon.socket, VOLUME, options.clone());
    let mut clients: Vec<Queue> = (0..CLIENTS).map(connect).collect::<Result<_, _>>()?;
    let flushes = |counters: &Counters| {
        counters.sum("holdfast_volume_device_operations_total", &["operation=\"flush\""])
    };
    let mut repeats = Vec::new();
    for repeat in 0..place.repeats {
        let before = flushes(&Counters::scrape(&daemon.admin)?);
        for round in 0..ROUNDS {
            let data = [u8::try_from((repeat + round) % 251)?; 4096];
            for (client, at) in clients.iter_mut().zip((0..).step_by(4096)) {
                client.submit_write(0, at, &data)?;
                client.publish();
            }
            await_all(&mut clients)?;
            for client in &mut clients {
                client.submit_flush(0)?;
                client.publish();
            }
            await_all(&mut clients)?;
        }
        let after = flushes(&Counters::scrape(&daemon.admin)?);
        repeats.push((after - before) / f64::from(ROUNDS));
    }
    Ok(vec![Figure::at_most("64 clients' concurrent flushes, device flushes a round", repeats, 2.0)])
}

fn await_all(clients: &mut [Queue]) -> anyhow::Result<()> {
    let mut done: Vec<Done> = Vec::with_capacity(1);
    for client in clients {
        done.clear();
        client.wait(&mut done)?;
        anyhow::ensure!(done.iter().all(|done| done.result.is_ok()), "refused: {done:?}");
    }
    Ok(())
}
