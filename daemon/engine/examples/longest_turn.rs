//! How long the engine's longest turn is while a million failed extents are listed and tried again.
//!
//! ```text
//! cargo run --release -p holdfast-engine --example longest_turn -- 5
//! ```
//! Wall time is what a client sees, on a core that others use, too; the thread's own time is what the engine is to blame
//! for. Turns whose wall time is above 1 ms and whose own time is not were interrupted.

#[path = "million/world.rs"]
mod world;

use holdfast_engine::*;
use holdfast_policy::*;
use std::time::{Duration, Instant as Clock};
use world::{LINE, Mood, World, memory};

const LINES: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_millis(1);

/// Turns of one kind.
#[derive(Clone, Copy, Default)]
struct Turns {
    count: u64,
    longest: Duration,
    longest_own: Duration,
    over: u64,
    over_own: u64,
}

/// Time that this thread has had of a core.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

impl Turns {
    fn time(&mut self, world: &mut World<'_>) {
        let (wall, own) = (Clock::now(), own_time());
        world.think();
        let (wall, own) = (wall.elapsed(), own_time() - own);
        world.act();
        self.count += 1;
        self.longest = self.longest.max(wall);
        self.longest_own = self.longest_own.max(own);
        self.over += u64::from(wall > LIMIT);
        self.over_own += u64::from(own > LIMIT);
    }

    fn print(&self, what: &str) {
        println!(
            "{what:9} {:7} turns; longest {:6.1} us, of its own {:6.1} us; over 1 ms {}, of their own {}",
            self.count,
            self.longest.as_nanos() as f64 / 1e3,
            self.longest_own.as_nanos() as f64 / 1e3,
            self.over,
            self.over_own
        );
    }
}

fn run() -> [Turns; 3] {
    let (headers, index) = memory(LINES);
    let policy = Policy::HoldForever(HoldForever::default());
    let mut world = World::new(LINES, policy, &headers, &index);
    world.mood = Mood::Refuses(errno::EIO);
    let mut failing = Turns::default();
    for line in 0..LINES {
        world.ask(Operation::Write { fua: false }, line * LINE + 1536, 512);
        if line % 64 == 63 {
            failing.time(&mut world);
        }
    }
    while world.stats().failed < LINES {
        world.now_ms += 1;
        failing.time(&mut world);
    }
    let mut listing = Turns::default();
    let mut from = Some(0);
    while let Some(begin) = from {
        world.command(Command::List { state: ListState::Failed, from: begin });
        while world.answers.is_empty() {
            listing.time(&mut world);
        }
        let Answer::Listed { next, .. } = world.answers.remove(0) else { panic!("not a list") };
        from = next;
    }
    let mut retrying = Turns::default();
    world.mood = Mood::Well;
    world.command(Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    while world.answers.is_empty() {
        // Clients beside it, spread over the volume.
        for client in 0..4 {
            let line = (retrying.count * 4 + client) * 2_654_435_761 % LINES;
            world.ask(Operation::Read, line * LINE + 1536, 512);
            world.ask(Operation::Write { fua: false }, line * LINE + 1536, 512);
        }
        world.now_ms += 1;
        retrying.time(&mut world);
    }
    assert_eq!(world.stats().failed, 0, "all is healed");
    [failing, listing, retrying]
}

fn main() {
    let runs: usize = std::env::args().nth(1).map_or(5, |runs| runs.parse().expect("a number of runs"));
    let mut longest: [Vec<Duration>; 3] = Default::default();
    for number in 1..=runs {
        println!("run {number}: {LINES} extents");
        let names = ["failing", "listing", "retrying"];
        for ((turns, name), longest) in run().iter().zip(names).zip(&mut longest) {
            turns.print(name);
            longest.push(turns.longest_own);
        }
    }
    for (name, times) in ["failing", "listing", "retrying"].iter().zip(&mut longest) {
        times.sort_unstable();
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        println!(
            "{name:9} longest turn of its own: median {:.1} us, {:.1} to {:.1} us over {runs} runs",
            micros(times[runs / 2]),
            micros(times[0]),
            micros(times[runs - 1])
        );
    }
}
