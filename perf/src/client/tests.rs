//! The generator over a real file, through the page cache and past it.

use super::*;
use crate::board::Board;
use crate::files::{Direct, PageCache};
use crate::job::Job;
use crate::stamps::Versions;
use crate::window::Window;

const SPAN: u64 = 64 * 4096;

fn case(more: &str) -> Case {
    let text = format!("# Does it?\nspan = {SPAN}\n[[case]]\nname = \"a\"\n{more}");
    Job::parse(&text).unwrap().cases.remove(0)
}

fn file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SPAN).unwrap();
    file
}

fn orders<'a>(case: &'a Case, versions: Option<Versions<'a>>, progress: &'a AtomicU64) -> Orders<'a> {
    let stamps = Stamps { seed: 5, versions };
    Orders { case, part: 0..SPAN, seed: 3, stamps, duration: Duration::from_millis(20), progress }
}

fn write_all<T: Target>(target: &mut T, stamps: Stamps<'_>) {
    let mut done = Vec::new();
    for offset in (0..SPAN).step_by(4096) {
        stamps.fill(target.window(0), offset);
        target.submit(0, Operation::Write, offset).unwrap();
        target.poll(&mut done).unwrap();
    }
    assert_eq!(done.len(), 64);
}

/// Acknowledges every write, and after the first so many carries none out.
struct Forgetful {
    file: PageCache,
    remembered: u32,
    acknowledged: Vec<u32>,
}

impl Target for Forgetful {
    fn window(&self, tag: u32) -> Window<'_> {
        self.file.window(tag)
    }
    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        if operation == Operation::Write && self.remembered == 0 {
            self.acknowledged.push(tag);
            return Ok(());
        }
        self.remembered -= u32::from(operation == Operation::Write);
        self.file.submit(tag, operation, offset)
    }
    fn publish(&mut self) {}
    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        done.append(&mut self.acknowledged);
        self.file.poll(done)
    }
}

#[test]
fn a_mix_is_checked_version_by_version_through_the_page_cache_and_past_it() {
    let (file, board, progress) = (file(), Board::create(SPAN).unwrap(), AtomicU64::new(0));
    let versions = board.versions();
    let case = case("reads_percent = 50\ndepth = 8\n");
    let orders = orders(&case, versions, &progress);
    let mut cached = PageCache::open(file.path(), 8, 4096).unwrap();
    write_all(&mut cached, orders.stamps);
    let tally = run(&mut cached, &orders).unwrap();
    assert!(tally.completed > 8 && tally.seconds >= 0.02 && !tally.latencies.is_empty(), "{tally:?}");
    assert_eq!(progress.load(Relaxed), tally.completed);
    match Direct::open(file.path(), 8, 4096) {
        // Versions go on where the other one stopped: it reads what that one wrote.
        Ok(mut direct) => assert!(run(&mut direct, &orders).unwrap().completed > 0),
        Err(error) => eprintln!("skipped past the page cache: {error}"),
    }
}

#[test]
fn a_lost_overwrite_is_seen_with_versions_only() {
    let (file, board, progress) = (file(), Board::create(SPAN).unwrap(), AtomicU64::new(0));
    let versions = board.versions();
    let case = case("reads_percent = 50\ndepth = 4\n");
    for versions in [None, versions] {
        let orders = orders(&case, versions, &progress);
        let inner = PageCache::open(file.path(), 4, 4096).unwrap();
        let mut target = Forgetful { file: inner, remembered: 64, acknowledged: Vec::new() };
        write_all(&mut target, orders.stamps);
        let outcome = run(&mut target, &orders);
        match versions {
            None => assert!(outcome.is_ok(), "{outcome:?}"),
            Some(_) => assert!(matches!(outcome, Err(LoadError::WrongData { .. })), "{outcome:?}"),
        }
    }
}

#[test]
fn every_block_size_is_stamped_alike() {
    let (file, progress) = (file(), AtomicU64::new(0));
    let unversioned = Stamps { seed: 5, versions: None };
    write_all(&mut PageCache::open(file.path(), 1, 4096).unwrap(), unversioned);
    for block in [4096, 512, 16384, 4096] {
        let more = format!("reads_percent = 50\ndepth = 3\nblock = {block}\npattern = \"sequential\"\n");
        let case = case(&more);
        let orders = orders(&case, None, &progress);
        run(&mut PageCache::open(file.path(), 3, block).unwrap(), &orders).unwrap();
    }
}

/// Answers nothing until some time.
struct Stalled(PageCache, Instant);

impl Target for Stalled {
    fn window(&self, tag: u32) -> Window<'_> {
        self.0.window(tag)
    }
    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        self.0.submit(tag, operation, offset)
    }
    fn publish(&mut self) {}
    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        if Instant::now() < self.1 {
            std::thread::yield_now();
            return Ok(());
        }
        self.0.poll(done)
    }
}

#[test]
fn an_open_loop_counts_every_arrival_from_when_it_was_due() {
    let (file, progress) = (file(), AtomicU64::new(0));
    let case = case("reads_percent = 0\ndepth = 2\nrate = 10000\narrivals = \"even\"\n");
    let mut orders = orders(&case, None, &progress);
    orders.duration = Duration::from_millis(40);
    let cached = PageCache::open(file.path(), 2, 4096).unwrap();
    let tally = run(&mut Stalled(cached, Instant::now() + Duration::from_millis(30)), &orders).unwrap();
    // 0.1, 0.2, ... 39.9 ms, whatever became of those before.
    assert_eq!(tally.completed + tally.unserved, 399);
    assert_eq!(tally.latencies.len(), 399);
    // Nothing was answered for 30 ms while two were in flight: a closed loop would have two slow requests, this one has
    // all that arrived in the first 20 ms.
    let slow = tally.latencies.count_between(10_000_000, 60_000_000_000);
    assert!(slow >= 190, "{slow} of 399");
}

/// A rate of nothing is no figure, and nothing can be compared with it.
#[test]
fn an_open_loop_is_not_given_up_before_it_has_an_answer() {
    let (file, progress) = (file(), AtomicU64::new(0));
    let case = case("reads_percent = 0\ndepth = 2\nrate = 10000\narrivals = \"even\"\n");
    let mut orders = orders(&case, None, &progress);
    orders.duration = Duration::from_millis(2);
    let cached = PageCache::open(file.path(), 2, 4096).unwrap();
    let stall = orders.duration * (OVERRUN + 4);
    let tally = run(&mut Stalled(cached, Instant::now() + stall), &orders).unwrap();
    assert!(tally.completed > 0 && tally.rate_per_s() > 0.0, "{tally:?}");
    assert_eq!(tally.completed + tally.unserved, 19);
}

#[test]
fn a_round_in_which_nothing_arrives_is_an_error_with_its_way_out() {
    let (file, progress) = (file(), AtomicU64::new(0));
    let case = case("reads_percent = 0\ndepth = 2\nrate = 1\narrivals = \"even\"\n");
    let mut cached = PageCache::open(file.path(), 2, 4096).unwrap();
    let error = run(&mut cached, &orders(&case, None, &progress)).expect_err("no figure");
    assert!(error.to_string().contains("at 1 a second nothing arrived in 0.02 s"), "{error}");
}

#[test]
fn a_tally_comes_to_another_process_as_it_was() {
    let mut tally = Tally { completed: 9, seconds: 0.5, latencies: empty(), unserved: 2 };
    for taken in [1, 77, 77, 123_456, 70_000_000_000] {
        tally.latencies.saturating_record(taken);
    }
    let text = serde_json::to_string(&Told::from(&tally)).unwrap();
    let there = Tally::from(serde_json::from_str::<Told>(&text).unwrap());
    assert_eq!((there.completed, there.seconds, there.unserved), (9, 0.5, 2));
    assert_eq!(there.latencies, tally.latencies);
}
