//! Instructions of a request, counted by valgrind: the same on every run and under any load, so that one too many shows.
//!
//! `cargo xtask count` runs this, divides by the requests, and compares with what the repository says they cost
//! (`perf/instructions.toml`). By hand: `cargo bench -p holdfast-perf --bench count`, which needs `gungraun-runner` of the
//! version that the root's Cargo.toml names, and valgrind.
#![allow(missing_docs, reason = "the macros make items without")]

mod subjects;

use gungraun::{library_benchmark, library_benchmark_group, main};
use holdfast_daemon::reactor::Clock;
use subjects::engine::Run;
use subjects::index::Marks;
use subjects::rings::{DEPTH, Pair, Shell};
use subjects::{REQUESTS, engine, index};

#[library_benchmark(setup = engine::warm)]
#[bench::write("write")]
#[bench::read("read")]
#[bench::partial("partial")]
#[bench::write_long("write-long")]
#[bench::read_long("read-long")]
#[bench::miss("miss")]
#[bench::cycle("cycle")]
#[bench::empty("empty")]
#[bench::asked("asked")]
fn apply(mut run: Run) -> Run {
    run.play(REQUESTS);
    run
}

#[library_benchmark(setup = index::warm)]
#[bench::plane()]
fn mark(mut marks: Marks) -> Marks {
    marks.mark();
    marks
}

#[library_benchmark(setup = index::warm)]
#[bench::plane()]
fn next_run(marks: Marks) -> (u64, Marks) {
    (marks.next_run(), marks)
}

#[library_benchmark(setup = Pair::warm)]
#[bench::client()]
fn submit(mut pair: Pair) -> Pair {
    pair.submit();
    pair
}

fn submitted() -> Pair {
    let mut pair = Pair::warm();
    pair.submit();
    pair
}

#[library_benchmark(setup = submitted)]
#[bench::daemon()]
fn pop(mut pair: Pair) -> Pair {
    pair.pop();
    pair
}

fn popped() -> Pair {
    let mut pair = submitted();
    pair.pop();
    pair
}

#[library_benchmark(setup = popped)]
#[bench::daemon()]
fn answer(mut pair: Pair) -> Pair {
    pair.answer();
    pair
}

fn answered() -> Pair {
    let mut pair = popped();
    pair.answer();
    pair
}

#[library_benchmark(setup = answered)]
#[bench::client()]
fn poll(mut pair: Pair) -> Pair {
    pair.poll();
    pair
}

/// No time passes: what a turn does must not depend on what is due by then on a machine of this speed.
fn warm(writes: bool, asked: u32) -> Shell {
    Shell::warm(Clock::standing(), writes, asked)
}

#[library_benchmark(setup = warm)]
#[bench::write(true, DEPTH)]
#[bench::read(false, DEPTH)]
#[bench::one_write(true, 1)]
#[bench::one_read(false, 1)]
#[bench::empty(true, 0)]
fn turn(mut shell: Shell) -> Shell {
    shell.turn();
    shell
}

/// As many bytes as a measurement copies, by the same routine: what of it is not ours.
struct Copies {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Copies {
    /// Memory that was touched.
    fn warm() -> Copies {
        Copies { from: vec![1; 4096], to: vec![2; 4096] }
    }

    /// Copies a line, `DEPTH` times.
    fn copy(&mut self) {
        for _ in 0..DEPTH {
            std::hint::black_box(&mut self.to).copy_from_slice(std::hint::black_box(&self.from));
        }
    }
}

#[library_benchmark(setup = Copies::warm)]
#[bench::lines()]
fn copy(mut copies: Copies) -> Copies {
    copies.copy();
    copies
}

library_benchmark_group!(
    name = requests,
    benchmarks = [apply, mark, next_run, submit, pop, answer, poll, turn, copy]
);
main!(library_benchmark_groups = requests);
