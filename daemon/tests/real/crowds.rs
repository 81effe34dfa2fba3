//! One user's clients, however many: they do not lock out everybody else's.

use crate::needs::can_use;
use crate::place::{LINE, MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use holdfast_ringbuf::client::{Client, Options};
use std::os::unix::net::UnixStream;

const NOBODY: u32 = 65534;

/// A volume that another user may open, with eight seats.
fn place() -> Place {
    let mut place = Place::new();
    place.change("sessions_max = 32", "sessions_max = 8");
    place.change("[arena]", "socket_mode = \"0666\"\n[arena]");
    let clients = format!("clients = {{ uids = [0, {NOBODY}] }}");
    place.add(&[Volume::file("vm", &place.file("vm"), 8 * MIB).with(&clients)]);
    place.give_to(NOBODY);
    place
}

/// What another user's thread does. Only this thread becomes that user: the others stay who they are.
fn as_nobody<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let work = || {
        let nobody = rustix::process::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root becomes whom it likes");
        what()
    };
    std::thread::scope(|scope| scope.spawn(work).join().expect("it does not panic"))
}

#[test]
fn one_user_cannot_take_all_seats() {
    if !can_use(&[]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let open = || Client::connect(place.clients(), "vm", Options { queue_depth: 4, ..Options::default() });
    let (held, refused) = as_nobody(|| {
        let held: Vec<Client> = (0..6).map(|_| open().expect("three quarters of eight")).collect();
        (held, open().expect_err("no more for one user").to_string())
    });
    assert!(refused.contains("limits.user_share") && refused.contains("6 of 8"), "{refused}");
    let ours: Vec<Client> = (0..2).map(|_| open().expect("the rest is for others")).collect();
    ours[0].write_at(&[1; LINE as usize], 0).expect("acknowledged");
    let refused = open().expect_err("eight seats").to_string();
    assert!(refused.contains("limits.sessions_max"), "{refused}");
    drop(ours);
    drop(held);
    eventually("a seat is free again", || as_nobody(open).ok());
    daemon.stop_clean();
}

/// Forty that knock and say nothing: for five seconds each would have kept a place, and everybody else would have waited.
#[test]
fn one_user_who_says_nothing_does_not_block_the_door() {
    if !can_use(&[]) {
        return;
    }
    let place = place();
    let daemon = Daemon::start(&place);
    let silent = as_nobody(|| {
        let knock = || UnixStream::connect(place.clients()).expect("the daemon listens");
        (0..40).map(|_| knock()).collect::<Vec<UnixStream>>()
    });
    eventually("more than three quarters of the handshakes are refused with words", || {
        let told = silent.iter().filter(|socket| {
            let mut reply = [0; 512];
            let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
            let bytes = rustix::net::recv(socket, &mut reply, flags).map_or(0, |(_, bytes)| bytes);
            reply[..bytes].windows(25).any(|words| words == b"has too many handshakes u")
        });
        (told.count() > 0).then_some(())
    });
    daemon.client("vm").write_at(&[1; LINE as usize], 0).expect("acknowledged");
    drop(silent);
    daemon.stop_clean();
}
