//! Clients that are killed at any moment, and clients that come and go: nobody else is harmed, and no seat is lost.

use crate::pattern::{Random, check_backing, check_same, pattern};
use crate::place::{KIB, LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, again, eventually};
use holdfast_ringbuf::client::{Client, Options};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const CHILD: &str = "HOLDFAST_TEST_VICTIM";
/// Where the honest client works; the victims write everywhere before it.
const HONEST: u64 = 8 * MIB;

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 16 * MIB)]);
    place
}

/// The child: writes of all lengths, flushes, reads, until it is killed.
fn live_until_killed(socket: &str) -> ! {
    let client = Client::connect(socket, "vm", Options::default()).expect("a session");
    let mut random = Random::new(u64::from(std::process::id()));
    let mut data = vec![7; (512 * KIB) as usize];
    loop {
        let length = (random.below(1024) + 1) * 512;
        let at = random.below(HONEST / 512 - 1024) * 512;
        let part = &mut data[..length as usize];
        match random.below(8) {
            0 => client.flush(),
            1 | 2 => client.read_at(part, at),
            3 => client.write_zeroes(at, length),
            _ => client.write_at(part, at),
        }
        .expect("the disk is well");
    }
}

/// Writes and checks until it is told to stop; counts its rounds.
fn work(client: &Client, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut data = vec![0; (4 * LINE) as usize];
    let mut version = 0;
    while !stop.load(Ordering::Relaxed) {
        version += 1;
        let at = HONEST + STRIPE - 2 * LINE;
        client.write_at(&pattern(version, at, 4 * LINE), at).expect("acknowledged");
        client.read_at(&mut data, at).expect("read");
        check_same(&data, &pattern(version, at, 4 * LINE), "its own, over both reactors");
        if version % 16 == 0 {
            client.flush().expect("the disk is well");
        }
        rounds.store(version, Ordering::Relaxed);
    }
}

#[test]
fn clients_killed_at_any_moment_harm_nobody() {
    if let Ok(socket) = std::env::var(CHILD) {
        live_until_killed(&socket);
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let honest = daemon.client("vm");
    let before = daemon.sessions();
    assert_eq!(before, 1);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut random = Random::new(5);
    std::thread::scope(|scope| {
        scope.spawn(|| work(&honest, &stop, &rounds));
        let mut served = 0;
        for number in 0..20 {
            let socket = place.clients().display().to_string();
            let mut child = again("killed_clients::clients_killed_at_any_moment_harm_nobody", CHILD, &socket);
            if number % 4 != 0 {
                eventually("the victim has a session", || (daemon.sessions() > before).then_some(()));
                served += 1;
            }
            std::thread::sleep(Duration::from_millis(random.below(60)));
            child.kill().expect("alive until now");
            child.wait().expect("dead");
            let seen = rounds.load(Ordering::Relaxed);
            eventually("the honest one goes on", || {
                (rounds.load(Ordering::Relaxed) > seen + 2).then_some(())
            });
            eventually("the session is over", || (daemon.sessions() == before).then_some(()));
        }
        assert_eq!(served, 15);
        stop.store(true, Ordering::Relaxed);
    });
    honest.flush().expect("the disk is well");
    drop(honest);
    daemon.stop_clean();
    let at = HONEST + STRIPE - 2 * LINE;
    check_backing(&place.file("vm"), rounds.into_inner(), at, 4 * LINE);
}

/// There are 32 seats; 200 sessions one after the other use each again and again.
#[test]
fn seats_are_used_again() {
    let place = place();
    let daemon = Daemon::start(&place);
    for number in 0..200 {
        // The seat of one that left is free when the reactors have let go of it.
        let client = eventually("a seat", || {
            Client::connect(place.clients(), "vm", Options { queue_depth: 4, ..Options::default() }).ok()
        });
        client.write_at(&pattern(number, 0, LINE), 0).expect("acknowledged");
        if number % 2 == 0 {
            client.close();
        }
    }
    eventually("all are gone", || (daemon.sessions() == 0).then_some(()));
    let held: Vec<Client> = (0..32).map(|_| daemon.client("vm")).collect();
    let refused = Client::connect(place.clients(), "vm", Options::default());
    let words = refused.expect_err("32 seats").to_string();
    assert!(words.contains("sessions_max"), "{words}");
    drop(held);
    daemon.stop_clean();
    check_backing(&place.file("vm"), 199, 0, LINE);
}
