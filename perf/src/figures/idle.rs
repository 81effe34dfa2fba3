//! A daemon without work, and its first operation after that, beside a bare wake-up of the same two cores.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use holdfast_ringbuf::client::{Done, Options, Queue};

use super::{Figure, Place, median};
use crate::counters::processor_s;
use crate::own_daemon::{OwnDaemon, VOLUME};
use crate::testbed::{Idle, Testbed};

/// After so long without work a daemon shall be quiet.
const QUIET: Duration = Duration::from_secs(2);
/// Between two first operations: longer than a reactor spins.
const PAUSE: Duration = Duration::from_millis(20);
const OPERATIONS: u32 = 51;

pub(super) fn measure(place: &Place) -> anyhow::Result<Vec<Figure>> {
    let daemon = place.daemon(16 << 20, 32 << 20, "")?;
    let mut queue = Queue::connect(&daemon.socket, VOLUME, Options { queue_depth: 1, ..Options::default() })?;
    let mut done = Vec::new();
    queue.submit_write(0, 0, &[1; 4096])?;
    queue.wait(&mut done)?;
    queue.submit_flush(0)?;
    queue.wait(&mut done)?;
    let (mut shares, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..place.repeats {
        shares.push(share_without_work(&daemon)?);
        let bare = bare_wake_ups(place.testbed.reactor_cores[0])?;
        ratios.push(first_operations(&mut queue, &mut done)? / bare);
    }
    drop((queue, daemon));
    let testbed = Testbed { idle: Idle::Spin, ..place.testbed.clone() };
    let spinning = Place { testbed, machine: place.machine.clone(), ..*place };
    let daemon = spinning.daemon(16 << 20, 32 << 20, "")?;
    let polling = (0..place.repeats).map(|_| share_without_work(&daemon)).collect::<Result<_, _>>()?;
    Ok(vec![
        Figure::at_most("idle daemon, percent of a core after 2 s", shares, 1.0),
        Figure::at_most("first read after idle, times a bare wake-up and back", ratios, 1.3),
        Figure::at_least("a daemon without work and with idle = \"spin\", percent of a core", polling, 95.0),
    ])
}

/// How much of a core, in percent, a daemon uses that has had nothing to do for a while.
fn share_without_work(daemon: &OwnDaemon) -> anyhow::Result<f64> {
    std::thread::sleep(QUIET);
    let (before, began) = (processor_s(daemon.pid())?, Instant::now());
    std::thread::sleep(QUIET);
    let used = processor_s(daemon.pid())? - before;
    Ok(100.0 * used / began.elapsed().as_secs_f64())
}

/// The median of reads that each find the reactor asleep, in seconds.
fn first_operations(queue: &mut Queue, done: &mut Vec<Done>) -> anyhow::Result<f64> {
    let mut taken = Vec::new();
    for _ in 0..OPERATIONS {
        std::thread::sleep(PAUSE);
        done.clear();
        let began = Instant::now();
        queue.submit_read(0, 0, 4096)?;
        queue.wait(done)?;
        taken.push(began.elapsed().as_secs_f64());
        anyhow::ensure!(done.iter().all(|done| done.result.is_ok()), "a read failed: {done:?}");
    }
    Ok(median(&taken))
}

/// The same of a byte through a socket to a thread that sleeps on the reactor's core, and back.
fn bare_wake_ups(core: usize) -> anyhow::Result<f64> {
    let (mut near, mut far) = UnixStream::pair()?;
    let echo = std::thread::spawn(move || {
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
        let mut byte = [0];
        while pinned && far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let mut taken = Vec::new();
    for _ in 0..OPERATIONS {
        std::thread::sleep(PAUSE);
        let (began, mut byte) = (Instant::now(), [1]);
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        taken.push(began.elapsed().as_secs_f64());
    }
    drop(near);
    anyhow::ensure!(echo.join().is_ok(), "the echo of a bare wake-up ended early");
    Ok(median(&taken))
}
