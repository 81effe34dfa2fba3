//! A daemon that is killed and started again: nothing that was acknowledged is gone, and clients see a pause.

use crate::pattern::{check_backing, check_same, pattern};
use crate::place::{LINE, MIB, Place, STRIPE, Volume};
use crate::running::{Daemon, eventually};

fn place() -> Place {
    let mut place = Place::new();
    place.add(&[Volume::file("vm", &place.file("vm"), 16 * MIB)]);
    place
}

/// The data is nowhere but in the arena when the daemon is killed.
#[test]
fn what_was_acknowledged_is_read_from_the_next_daemon_and_written_by_it() {
    let place = place();
    let mut daemon = Daemon::start(&place);
    let client = daemon.client("vm");
    daemon.must(&["fault", "vm", "add", "write", "EIO", "--sequence", "X"]);
    let at = STRIPE - 2 * LINE;
    client.write_at(&pattern(1, at, 4 * LINE), at).expect("acknowledged");
    client.write_at(&pattern(2, at + LINE, LINE), at + LINE).expect("acknowledged");
    daemon.kill();

    let again = Daemon::start(&place);
    let mut data = vec![0; 4 * LINE as usize];
    client.read_at(&mut data, at).expect("the client finds the next daemon");
    let mut expected = pattern(1, at, 4 * LINE);
    expected[LINE as usize..2 * LINE as usize].copy_from_slice(&pattern(2, at + LINE, LINE));
    check_same(&data, &expected, "what was acknowledged by the first");
    eventually("the fault died with the first daemon", || client.flush().ok());
    drop(client);
    again.stop_clean();
    check_backing(&place.file("vm"), 1, at, LINE);
    check_backing(&place.file("vm"), 2, at + LINE, LINE);
    check_backing(&place.file("vm"), 1, at + 2 * LINE, 2 * LINE);
}
