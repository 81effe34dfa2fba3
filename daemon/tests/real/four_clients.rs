//! Four processes over one volume that is larger than the cache, each with data of its own that it checks.

use crate::pattern::{Random, check_backing, check_same, pattern};
use crate::place::{KIB, MIB, Place, Volume};
use crate::running::{Daemon, again};
use holdfast_ringbuf::client::{Client, Options};

const CLIENTS: u64 = 4;
const ROUNDS: u64 = 600;
const PIECE: u64 = 16 * KIB;
const BYTES: u64 = 48 * MIB;
const CHILD: &str = "HOLDFAST_TEST_HAMMER";

/// The piece that a client writes in a round.
fn piece(random: &mut Random, client: u64) -> u64 {
    let own = BYTES / PIECE / CLIENTS;
    (random.below(own) * CLIENTS + client) * PIECE
}

/// A client's versions of its pieces after all rounds.
fn versions(client: u64) -> Vec<(u64, u64)> {
    let mut random = Random::new(client + 1);
    let mut last = std::collections::BTreeMap::new();
    for round in 1..=ROUNDS {
        last.insert(piece(&mut random, client), round * CLIENTS + client);
    }
    last.into_iter().collect()
}

/// The child: writes, reads back older pieces of its own, flushes now and then.
fn hammer(socket: &str, number: u64) {
    let client = Client::connect(socket, "vm", Options { queue_depth: 8, ..Options::default() });
    let client = client.expect("a session");
    let mut random = Random::new(number + 1);
    let mut written = std::collections::BTreeMap::new();
    let mut data = vec![0; PIECE as usize];
    for round in 1..=ROUNDS {
        let at = piece(&mut random, number);
        let version = round * CLIENTS + number;
        client.write_at(&pattern(version, at, PIECE), at).expect("acknowledged");
        written.insert(at, version);
        let (&at, &version) = written.range(round * PIECE..).next().unwrap_or((&at, &version));
        client.read_at(&mut data, at).expect("read");
        check_same(&data, &pattern(version, at, PIECE), "the newest of its own");
        if round % 50 == 0 {
            client.flush().expect("the disk is well");
        }
    }
    client.flush().expect("the disk is well");
}

#[test]
fn four_processes_hammer_one_volume() {
    if let Ok(socket) = std::env::var(CHILD) {
        let (socket, number) = socket.rsplit_once(':').expect("socket:number");
        return hammer(socket, number.parse().expect("a number"));
    }
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), BYTES)]);
    let daemon = Daemon::start(&place);
    let name = "four_clients::four_processes_hammer_one_volume";
    let socket = place.clients();
    let children: Vec<_> =
        (0..CLIENTS).map(|number| again(name, CHILD, &format!("{}:{number}", socket.display()))).collect();
    for mut child in children {
        assert!(child.wait().expect("our child").success(), "a client saw something wrong");
    }
    assert!(daemon.count("vm", "writes") >= CLIENTS * ROUNDS);
    daemon.stop_clean();
    for client in 0..CLIENTS {
        for (at, version) in versions(client) {
            check_backing(&place.file("vm"), version, at, PIECE);
        }
    }
}
