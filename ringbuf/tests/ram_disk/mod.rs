//! A daemon of the smallest kind: its volume is a byte vector. Reactors, sleeping and the end of sessions are real.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_ringbuf::daemon_side::{DaemonRing, Door, Offer, Pending, Refusal, WakeState};
use holdfast_ringbuf::request::{Opcode, Request};
use holdfast_ringbuf::{FailureId, PeerFault, VolumeInfo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) const VOLUME_BYTES: u64 = 4 << 20;
pub(crate) const STRIPE_BYTES: u64 = 256 << 10;
const ENTRIES_MAX: u32 = 64;
const EIO: i32 = 5;

/// What happened to one reactor's part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) reactor: u32,
    pub(crate) opcode: Opcode,
    pub(crate) fua: bool,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) timeout_ms: u32,
}

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) bytes: Mutex<Vec<u8>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// By reactor: what a flush answers there.
    pub(crate) flush_errors: Mutex<HashMap<u32, (i32, u64)>>,
    /// Errno for each write that touches this byte.
    pub(crate) bad_byte: Mutex<Option<u64>>,
    /// While set, requests are taken and not answered.
    pub(crate) hold: AtomicBool,
    pub(crate) faults: Mutex<Vec<PeerFault>>,
    pub(crate) handshakes_failed: Mutex<Vec<String>>,
    pub(crate) sessions_live: AtomicU32,
    /// Times that a reactor went to sleep.
    pub(crate) sleeps: AtomicU32,
    sockets: Mutex<HashMap<u64, OwnedFd>>,
    stop: AtomicBool,
}

struct Seat {
    session: u64,
    ring: DaemonRing,
    held: Vec<Request>,
}

pub(crate) struct RamDisk {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<Disk>,
    threads: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl RamDisk {
    /// A daemon with one volume, `ram`, of 4 MiB in stripes of 256 KiB.
    pub(crate) fn start(reactors: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("holdfast.sock");
        let door = Door::bind(&path, 0o600).expect("a socket");
        let disk = Arc::new(Disk { bytes: Mutex::new(vec![0; VOLUME_BYTES as usize]), ..Disk::default() });
        let mut threads = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..reactors {
            let (sender, receiver) = mpsc::channel();
            let disk = Arc::clone(&disk);
            mailboxes.push(sender);
            threads.push(std::thread::spawn(move || reactor(&disk, &receiver)));
        }
        let control = Arc::clone(&disk);
        threads.push(std::thread::spawn(move || control_thread(&control, &door, &mailboxes)));
        Self { path, disk, threads, _directory: directory }
    }

    /// Ends the daemon at once: nothing in flight is answered.
    pub(crate) fn kill(&mut self) {
        self.disk.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("the daemon survives its clients");
        }
    }

    /// Waits until `holds`, for 20 s at most.
    pub(crate) fn eventually(&self, what: &str, holds: impl Fn(&Disk) -> bool) {
        for _ in 0..4000 {
            if holds(&self.disk) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("did not happen: {what}; faults {:?}", self.disk.faults.lock());
    }
}

impl Drop for RamDisk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.kill();
        }
    }
}

fn control_thread(disk: &Arc<Disk>, door: &Door, mailboxes: &[mpsc::Sender<Seat>]) {
    let mut next_session = 1;
    let mut handshakes = Vec::new();
    while !disk.stop.load(Ordering::SeqCst) {
        wait_readable(&mut [PollFd::new(door, PollFlags::IN)]);
        while let Some(pending) = door.accept().expect("accept") {
            let (disk, mailboxes, session) = (Arc::clone(disk), mailboxes.to_vec(), next_session);
            next_session += 1;
            handshakes.push(std::thread::spawn(move || {
                if let Err(why) = admit(&disk, pending, session, &mailboxes) {
                    disk.handshakes_failed.lock().unwrap().push(why);
                }
            }));
        }
        disk.sockets.lock().unwrap().retain(|_, socket| {
            let mut event = [PollFd::new(socket, PollFlags::IN)];
            let _ = poll(&mut event, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            event[0].revents().is_empty()
        });
        disk.sessions_live
            .store(u32::try_from(disk.sockets.lock().unwrap().len()).unwrap(), Ordering::SeqCst);
    }
    for handshake in handshakes {
        handshake.join().expect("no client can panic a handshake");
    }
    disk.sockets.lock().unwrap().clear();
}

fn admit(
    disk: &Disk,
    mut pending: Pending,
    session: u64,
    mailboxes: &[mpsc::Sender<Seat>],
) -> Result<(), String> {
    let time = Duration::from_millis(1000);
    assert_eq!(pending.uid(), rustix::process::getuid().as_raw());
    assert!(pending.pid() > 0 && pending.gid() == rustix::process::getgid().as_raw());
    let hello = pending.read_hello(time).map_err(|error| error.to_string())?;
    if hello.volume != "ram" {
        let refusal =
            Refusal { errno: 2, text: format!("no volume {:?}: there is only \"ram\"", hello.volume) };
        return pending.refuse(&refusal).map_err(|error| error.to_string());
    }
    let (ring_entries, payload_bytes) = Offer::sized_for(&hello, ENTRIES_MAX, 64 << 20);
    let volume = VolumeInfo {
        bytes: VOLUME_BYTES,
        block_bytes: 512,
        line_bytes: 4096,
        stripe_bytes: STRIPE_BYTES,
        read_only: false,
    };
    let offer = Offer {
        session,
        incarnation: 77,
        arena: 1,
        volume,
        reactors: u32::try_from(mailboxes.len()).unwrap(),
        ring_entries,
        payload_bytes,
        request_bytes_max: u32::try_from(payload_bytes.min(1 << 20)).unwrap(),
    };
    let session = pending.offer(&offer, time).map_err(|error| error.to_string())?;
    disk.sockets.lock().unwrap().insert(session.id, session.socket);
    for (ring, mailbox) in session.rings.into_iter().zip(mailboxes) {
        let _ = mailbox.send(Seat { session: session.id, ring, held: Vec::new() });
    }
    Ok(())
}

fn reactor(disk: &Disk, mailbox: &mpsc::Receiver<Seat>) {
    let mut seats: Vec<Seat> = Vec::new();
    let mut idle_turns = 0;
    while !disk.stop.load(Ordering::SeqCst) {
        seats.extend(mailbox.try_iter());
        let mut worked = false;
        seats.retain_mut(|seat| match turn(disk, seat) {
            Ok(progress) => {
                worked |= progress;
                disk.sockets.lock().unwrap().contains_key(&seat.session)
            }
            Err(fault) => {
                disk.faults.lock().unwrap().push(fault);
                disk.sockets.lock().unwrap().remove(&seat.session);
                false
            }
        });
        idle_turns = if worked { 0 } else { idle_turns + 1 };
        if idle_turns > 20 {
            sleep(disk, &mut seats);
        }
    }
}

fn turn(disk: &Disk, seat: &mut Seat) -> Result<bool, PeerFault> {
    let mut progress = false;
    while let Some(request) = seat.ring.pop()? {
        progress = true;
        seat.held.push(request);
    }
    if !disk.hold.load(Ordering::SeqCst) {
        for request in seat.held.drain(..) {
            let (status, failure) = perform(disk, &seat.ring, &request)?;
            seat.ring.push_completion(request.tag, request.sequence, status, failure)?;
        }
    }
    seat.ring.flush_publish();
    Ok(progress)
}

fn perform(disk: &Disk, ring: &DaemonRing, request: &Request) -> Result<(i32, Option<FailureId>), PeerFault> {
    let Request { opcode, fua, offset, length, timeout_ms, .. } = *request;
    let reactor = ring.reactor();
    disk.seen.lock().unwrap().push(Seen { reactor, opcode, fua, offset, length, timeout_ms });
    let mut bytes = disk.bytes.lock().unwrap();
    let stripes = ring.limits().stripes;
    if opcode == Opcode::Flush {
        let error = disk.flush_errors.lock().unwrap().get(&reactor).copied();
        return Ok(error.map_or((0, None), |(errno, id)| (errno, Some(FailureId(id)))));
    }
    if offset.checked_add(length).is_none_or(|end| end > VOLUME_BYTES) {
        return Ok((22, None));
    }
    let (start, end) = (offset as usize, (offset + length) as usize);
    match opcode {
        Opcode::Read => ring.copy_to_payload(request.payload, &bytes[start..end])?,
        Opcode::Write => {
            if disk.bad_byte.lock().unwrap().is_some_and(|bad| (offset..offset + length).contains(&bad)) {
                return Ok((EIO, None));
            }
            ring.copy_from_payload(request.payload, &mut bytes[start..end])?;
        }
        Opcode::Discard | Opcode::WriteZeroes => {
            for part in stripes.parts(offset, length, u64::MAX).filter(|part| part.reactor == reactor) {
                bytes[part.offset as usize..(part.offset + part.length) as usize].fill(0);
            }
        }
        Opcode::Flush => unreachable!("answered above"),
    }
    Ok((0, None))
}

fn sleep(disk: &Disk, seats: &mut [Seat]) {
    // Not `all`, which stops at the first: an armed ring must be disarmed again, `awake` below does that for each.
    let mut may_sleep = true;
    for seat in seats.iter_mut() {
        may_sleep &= seat.ring.prepare_sleep().unwrap_or(false);
    }
    if may_sleep {
        disk.sleeps.fetch_add(1, Ordering::SeqCst);
        let mut events: Vec<PollFd<'_>> =
            seats.iter().map(|seat| PollFd::from_borrowed_fd(seat.ring.wake_fd(), PollFlags::IN)).collect();
        wait_readable(&mut events);
    }
    for seat in seats.iter_mut() {
        seat.ring.awake();
        if seat.ring.drain_wake() == WakeState::HungUp {
            disk.sockets.lock().unwrap().remove(&seat.session);
        }
    }
}

/// Until readable, or 20 ms: the mailbox has no descriptor.
fn wait_readable(events: &mut [PollFd<'_>]) {
    let _ = poll(events, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
}
