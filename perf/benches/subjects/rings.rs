//! A session whose two ends are on one thread, and a reactor over such a session: the shell around the engine.

use holdfast_daemon::arena::{Arena, ArenaLayout};
use holdfast_daemon::config::Idle;
use holdfast_daemon::device::{Backing, BackingKind, BackingSpec, Disk, DiskOptions};
use holdfast_daemon::reactor::{Clock, Link, Mail, Outlets, Post, Reactor, SEATS_MAX, Seat};
use holdfast_engine::{
    DomainId, Engine, FlushOnFailure, Geometry, Limits, Mode, RUN_LINES_MAX, SessionId, Share, VolumeId,
    VolumeSetup,
};
use holdfast_policy::{ClassSet, DirtyIndex, HoldForever, Policy, Retry, Rule, Rules};
use holdfast_ringbuf::VolumeInfo;
use holdfast_ringbuf::client::{Done, Options, Queue};
use holdfast_ringbuf::daemon_side::{DaemonRing, Door, Offer, Session};
use holdfast_ringbuf::request::Request;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tempfile::TempDir;

/// Requests in flight, and in one measurement.
pub(crate) const DEPTH: u32 = 32;
const LINE: u32 = 4096;
/// Bytes of the volume, all of them in the cache.
const VOLUME_BYTES: u64 = 4 << 20;
const LINES: u64 = VOLUME_BYTES / LINE as u64;
const RESERVE: u32 = 64;

/// A session.
pub(crate) struct Pair {
    /// The client's end.
    pub(crate) queue: Queue,
    /// The daemon's.
    pub(crate) ring: DaemonRing,
    requests: Vec<Request>,
    done: Vec<Done>,
    /// Open as long as this is.
    _session: Session,
}

impl Pair {
    /// A session in which each stage has run once.
    pub(crate) fn warm() -> Pair {
        let (queue, mut session) = connect();
        let ring = session.rings.remove(0);
        let depth = DEPTH as usize;
        let (requests, done) = (Vec::with_capacity(depth), Vec::with_capacity(depth));
        let mut pair = Pair { queue, ring, requests, done, _session: session };
        pair.submit();
        pair.pop();
        pair.answer();
        pair.poll();
        pair
    }

    /// The client asks.
    pub(crate) fn submit(&mut self) {
        submit(&mut self.queue, true, DEPTH);
    }

    /// The daemon takes what was asked.
    pub(crate) fn pop(&mut self) {
        self.requests.clear();
        while let Some(request) = self.ring.pop().expect("an honest client") {
            self.requests.push(request);
        }
        assert_eq!(self.requests.len(), DEPTH as usize);
    }

    /// The daemon answers.
    pub(crate) fn answer(&mut self) {
        for request in &self.requests {
            self.ring.note_begun(request.tag, request.sequence, 1);
            self.ring.push_completion(request.tag, request.sequence, 0, None).expect("an honest client");
        }
        self.ring.flush_publish();
    }

    /// The client takes the answers.
    pub(crate) fn poll(&mut self) {
        poll(&mut self.queue, &mut self.done, DEPTH);
    }
}

fn submit(queue: &mut Queue, writes: bool, count: u32) {
    for tag in 0..count {
        let offset = u64::from(tag) * 37 % LINES * u64::from(LINE);
        let asked = if writes {
            queue.submit_filled(tag, offset, LINE, false)
        } else {
            queue.submit_read(tag, offset, LINE)
        };
        asked.expect("a request within limits");
        queue.publish_lazily();
    }
}

fn poll(queue: &mut Queue, done: &mut Vec<Done>, count: u32) {
    done.clear();
    let taken = queue.poll(done).expect("an honest daemon");
    assert_eq!(taken, count as usize);
    assert!(done.iter().all(|done| done.result.is_ok()));
}

/// A session of one reactor, and the client's end of it.
fn connect() -> (Queue, Session) {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("socket");
    let door = Door::bind(&path, 0o600).expect("a socket");
    let client = std::thread::spawn(move || {
        let options = Options { queue_depth: DEPTH, request_bytes: LINE, ..Options::default() };
        Queue::connect(&path, "volume", options).expect("a session")
    });
    let time = Duration::from_secs(60);
    let mut pending = loop {
        if let Some(pending) = door.accept().expect("a door") {
            break pending;
        }
        std::thread::yield_now();
    };
    let hello = pending.read_hello(time).expect("a client of our own");
    let (ring_entries, payload_bytes) = Offer::sized_for(&hello, 256, 64 << 20);
    let volume = VolumeInfo {
        bytes: VOLUME_BYTES,
        block_bytes: 512,
        line_bytes: LINE,
        stripe_bytes: 1 << 20,
        read_only: false,
    };
    let offer = Offer {
        session: 1,
        incarnation: 1,
        arena: 1,
        volume,
        reactors: 1,
        ring_entries,
        payload_bytes,
        request_bytes_max: LINE,
    };
    let session = pending.offer(&offer, time).expect("the client takes it");
    (client.join().expect("connected"), session)
}

/// A reactor whose volume is in its cache and dirty, and its client.
pub(crate) struct Shell {
    reactor: Reactor,
    queue: Queue,
    done: Vec<Done>,
    asked: u32,
    _files: TempDir,
}

impl Shell {
    /// A reactor with `asked` requests in its ring, all of them hits.
    pub(crate) fn warm(clock: Clock, writes: bool, asked: u32) -> Shell {
        let files = TempDir::new_in("/dev/shm").expect("memory");
        let (queue, mut session) = connect();
        let mut shell = Shell {
            reactor: reactor(files.path(), session.rings.remove(0), clock),
            queue,
            done: Vec::with_capacity(DEPTH as usize),
            asked: DEPTH,
            _files: files,
        };
        // Every line that is asked for gets its data, and everything has run more than once.
        submit(&mut shell.queue, true, DEPTH);
        (0..4).for_each(|_| shell.round(true));
        shell.turn();
        poll(&mut shell.queue, &mut shell.done, DEPTH);
        submit(&mut shell.queue, writes, asked);
        shell.asked = asked;
        // The session's other end: the client's queue looks at it only after many fruitless polls.
        std::mem::forget(session);
        shell
    }

    /// One turn.
    pub(crate) fn turn(&mut self) {
        let busy = self.reactor.pass().expect("a ring to the kernel");
        assert_eq!(busy, self.asked > 0);
    }

    /// A turn, its answers taken, and the next one asked for.
    pub(crate) fn round(&mut self, writes: bool) {
        self.turn();
        poll(&mut self.queue, &mut self.done, self.asked);
        submit(&mut self.queue, writes, self.asked);
    }
}

fn reactor(files: &Path, ring: DaemonRing, clock: Clock) -> Reactor {
    let layout = ArenaLayout {
        path: files.join("arena"),
        size_bytes: 4 * VOLUME_BYTES,
        reactors: 1,
        line_bytes: LINE,
        stripe_bytes: 1 << 20,
        prefault: true,
        lock_memory: false,
        discard_existing: false,
        volumes: Vec::new(),
    };
    let shard = Arena::create(&layout, &mut |_, _| {}).expect("an arena in memory").take_shards().remove(0);
    let limits = Limits {
        reserve_slots: RESERVE,
        requests_a_turn: 256,
        steps_a_turn: 1024,
        requests_max: 1024,
        ..Limits::small(0, 1)
    };
    let options = DiskOptions {
        ops_max: limits.ops_max,
        segments_max: RUN_LINES_MAX,
        volumes_max: 1,
        watches_max: SEATS_MAX as usize + 1,
        workers_max: 1,
        reactor_cores: &[0],
    };
    let (mut disk, _) = Disk::new(&options, shard.slots.addresses()).expect("io_uring");
    let spec = BackingSpec {
        kind: BackingKind::File,
        path: files.join("volume"),
        size: Some(VOLUME_BYTES),
        create: true,
        buffered_allowed: true,
        thin_limit: None,
        read_only: false,
    };
    disk.attach(VolumeId(0), &Backing::open(&spec).expect("a file"), None).expect("attached");
    let mut engine = Engine::new(limits, shard.headers, clock.now());
    engine.add_volume(setup(4 * LINES - u64::from(RESERVE)));
    let links: Arc<[Link]> = Arc::new([Link::new(1).expect("an eventfd")]);
    let outlets = Outlets {
        ledger: Arc::new(Post::new(1024).expect("an eventfd")),
        words: Arc::new(Post::new(1024).expect("an eventfd")),
        links: Arc::clone(&links),
    };
    let reactor = Reactor::new(limits, engine, disk, shard.slots, outlets, clock, Idle::Spin, None, 1);
    let seat = Seat::new(SessionId(1), VolumeId(0), false, ring);
    assert!(links[0].inbox.push(Mail::Seat(Box::new(seat))).is_ok());
    reactor.expect("a reactor")
}

fn setup(room_slots: u64) -> VolumeSetup<'static> {
    let rule = Rule {
        classes: ClassSet::ANY,
        policy: Policy::HoldForever(HoldForever::default()),
        retry: Retry::default(),
    };
    let words: Vec<AtomicU64> = (0..DirtyIndex::words_needed(LINES)).map(|_| AtomicU64::new(0)).collect();
    VolumeSetup {
        id: VolumeId(0),
        geometry: Geometry {
            volume_bytes: VOLUME_BYTES,
            block_bytes: 512,
            line_bytes: LINE,
            stripe_bytes: 1 << 20,
            reactors: 1,
            reactor: 0,
        },
        domain: DomainId(0),
        domain_owner: 0,
        mode: Mode::WriteBack,
        budget_slots: room_slots,
        room_slots: room_slots / 2,
        share: Box::leak(Box::new(Share::new(1))),
        rules: Rules::new(&[rule]).expect("one rule for every class"),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 1,
        io_timeout_ms: 30_000,
        write_back_from: 1000,
        write_back_after_ms: u64::MAX,
        index_lines: LINES,
        index: words.leak(),
    }
}
