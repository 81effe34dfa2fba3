//! How many instructions a request costs: a deterministic run, to be counted by a tool that counts.
//!
//! ```text
//! valgrind --tool=callgrind count write 0        and        count write 32000
//! ```
//! The difference of the two totals, divided by 32000, is the cost of one request with its share of the turn: 16 requests,
//! then `tick`, `commit` and `clear`. `asked` less `empty` is what this program adds by handing it over. `cargo xtask
//! count` does all that for every scene, and the subtraction. No bytes are copied.
//!
//! | scene | a request |
//! |---|---|
//! | `write` | 4 KiB over a dirty line |
//! | `read` | 4 KiB of a line that is there |
//! | `partial` | 512 bytes over a dirty line |
//! | `write-long`, `read-long` | the same as `write` and `read`, 64 KiB a request; the number is of one line |
//! | `miss` | a read of 4 KiB that is not there: its fill, its answer, and the eviction of another line |
//! | `cycle` | 4 KiB over a clean line, with its write-back and device flush |
//! | `empty` | nothing: the share of a turn without requests |
//! | `asked` | is made and not handed over, in such a turn |
#![allow(clippy::cast_possible_truncation, reason = "the numbers of this program are small")]

use holdfast_engine::*;
use holdfast_policy::*;
use std::sync::atomic::AtomicU64;

/// Lines that are in the cache.
const LINES: u64 = 4096;
/// Lines of the volume.
const VOLUME_LINES: u64 = 16 * LINES;
const A_TURN: u64 = 16;
/// Slots that no write takes.
const RESERVE: u32 = 64;

/// What the turns of a scene are made of.
#[derive(Clone, Copy)]
struct Scene {
    operation: Operation,
    /// Requests in a turn.
    requests: u64,
    /// Bytes of a request.
    length: u64,
    /// Lines that requests go to.
    lines: u64,
    /// Share of the budget in parts of 1000 at which write-back begins.
    write_back_from: u16,
    /// Milliseconds from turn to turn.
    step_ms: u64,
}

fn scene(kind: &str) -> Option<Scene> {
    let write = Scene {
        operation: Operation::Write { fua: false },
        requests: A_TURN,
        length: 4096,
        lines: LINES,
        write_back_from: 1000,
        step_ms: 0,
    };
    let read = Scene { operation: Operation::Read, ..write };
    Some(match kind {
        "write" => write,
        "read" => read,
        "partial" => Scene { length: 512, ..write },
        "write-long" => Scene { requests: 1, length: 65536, ..write },
        "read-long" => Scene { requests: 1, length: 65536, ..read },
        "miss" => Scene { lines: VOLUME_LINES, write_back_from: 0, ..read },
        "cycle" => Scene { write_back_from: 0, step_ms: 10, ..write },
        "empty" => Scene { requests: 0, ..read },
        "asked" => read,
        _ => return None,
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let usage = "count write|read|partial|write-long|read-long|miss|cycle|empty|asked NUMBER";
    let scene = arguments.get(1).and_then(|kind| scene(kind)).expect(usage);
    let number: u64 = arguments.get(2).expect(usage).parse().expect(usage);
    let limits = Limits { reserve_slots: RESERVE, ops_max: 64, ..Limits::small(0, 1) };
    let headers: Vec<Header> = (0..2 * LINES).map(|_| Header::default()).collect();
    let words: Vec<AtomicU64> =
        (0..DirtyIndex::words_needed(VOLUME_LINES)).map(|_| AtomicU64::new(0)).collect();
    let mut engine = Engine::new(limits, &headers, Instant(0));
    let share = Share::new(1);
    engine.add_volume(setup(&words, scene.write_back_from, &share));
    let out = Actions::with_capacity(&limits);
    let done = Vec::with_capacity(limits.ops_max);
    let mut run = Run { engine, out, done, now: Instant(1), answers: 0, errno: 0, sends: true };
    let fill = Scene { operation: Operation::Write { fua: false }, length: 4096, lines: LINES, ..scene };
    let requests = requests(fill, 1);
    requests[..LINES as usize].chunks(A_TURN as usize).for_each(|requests| run.turn(requests, 0));
    // What the device has to do for this is done before anything is counted, and so is the making of requests. Lines
    // come in an order that no prefetcher and no neighbour helps.
    (0..1000).for_each(|_| run.turn(&[], 10));
    let requests = self::requests(scene, 2654435761);
    run.sends = arguments[1] != "asked";
    let mut turns = requests.chunks(scene.requests.max(1) as usize).cycle();
    let turn = |requests| run.turn(if scene.requests == 0 { &[] } else { requests }, scene.step_ms);
    turns.by_ref().take((number / A_TURN) as usize).for_each(turn);
    let stats = run.engine.stats(VolumeId(0));
    println!("{} answers, worst errno {}, {stats:?}", run.answers, run.errno);
}

/// Requests to lines that are `stride` apart, as many as the volume has lines.
fn requests(scene: Scene, stride: u64) -> Vec<Request> {
    let lines = scene.length.div_ceil(4096);
    let request = |step: u64| Request {
        session: SessionId(1),
        tag: step as u32,
        sequence: step,
        volume: VolumeId(0),
        operation: scene.operation,
        offset: step * stride % (scene.lines / lines) * lines * 4096,
        length: scene.length,
        buffer: step % A_TURN * scene.length,
        timeout_ms: 0,
        replay: 0,
    };
    (0..VOLUME_LINES).map(request).collect()
}

fn setup<'a>(words: &'a [AtomicU64], write_back_from: u16, share: &'a Share) -> VolumeSetup<'a> {
    let policy = Policy::HoldForever(HoldForever::default());
    let rule = Rule { classes: ClassSet::ANY, policy, retry: Retry::default() };
    VolumeSetup {
        id: VolumeId(0),
        geometry: Geometry {
            volume_bytes: VOLUME_LINES * 4096,
            block_bytes: 512,
            line_bytes: 4096,
            stripe_bytes: 1 << 20,
            reactors: 1,
            reactor: 0,
        },
        domain: DomainId(0),
        domain_owner: 0,
        mode: Mode::WriteBack,
        budget_slots: 2 * LINES,
        room_slots: 2 * LINES - u64::from(RESERVE),
        share,
        rules: Rules::new(&[rule]).expect("one rule for every class"),
        flush_on_failure: FlushOnFailure::Report,
        parked_flushes_max: 1,
        io_timeout_ms: 30_000,
        write_back_from,
        write_back_after_ms: u64::MAX,
        index_lines: LINES,
        index: words,
    }
}

/// An engine over a device that has done by the next turn what it was asked for.
struct Run<'a> {
    engine: Engine<'a>,
    out: Actions,
    done: Vec<Event>,
    now: Instant,
    answers: usize,
    errno: u16,
    /// Whether requests reach the engine.
    sends: bool,
}

impl Run<'_> {
    fn turn(&mut self, requests: &[Request], step_ms: u64) {
        self.now = self.now.after_ms(step_ms);
        for request in requests {
            // As the shell does: what finds no room waits in its ring.
            while !self.engine.has_room_for(VolumeId(0)) {
                self.end_turn();
            }
            let event = Event::Request(*request);
            if self.sends {
                self.engine.apply(self.now, event, &mut self.out);
            } else {
                std::hint::black_box(event);
            }
        }
        self.end_turn();
    }

    fn end_turn(&mut self) {
        self.engine.tick(self.now, &mut self.out);
        self.engine.commit();
        let done = |io: &Io| Event::Completed { op: io.op, result: io.length as i32 };
        self.done.extend(self.out.ios.iter().map(done));
        self.answers += self.out.completions.len();
        self.errno = self.out.completions.last().map_or(0, |completion| completion.errno).max(self.errno);
        self.out.clear();
        for event in self.done.drain(..) {
            self.engine.apply(self.now, event, &mut self.out);
        }
    }
}
