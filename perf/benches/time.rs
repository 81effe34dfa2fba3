//! The same subjects as `count.rs`, in nanoseconds on this machine: `cargo bench -p holdfast-perf --bench time`.
//!
//! Both ends of a session are on one core here: no cache line moves between cores, which `floor` and `bench` are for.
#![allow(missing_docs, reason = "the macros make items without")]

mod subjects;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use holdfast_daemon::reactor::Clock;
use subjects::rings::{DEPTH, Pair, Shell};
use subjects::{REQUESTS, engine, index};

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    for scene in ["write", "read", "partial", "write-long", "read-long", "miss", "cycle"] {
        group.bench_function(scene, |bencher| {
            bencher.iter_batched_ref(
                || engine::warm(scene),
                |run| run.play(REQUESTS),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn dirty_index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    let mut marks = index::warm();
    group.bench_function("mark", |bencher| bencher.iter(|| marks.mark()));
    group.bench_function("next_run", |bencher| bencher.iter(|| marks.next_run()));
    group.finish();
}

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(u64::from(DEPTH)));
    let mut pair = Pair::warm();
    group.bench_function("submit, pop, answer, poll", |bencher| {
        bencher.iter(|| {
            pair.submit();
            pair.pop();
            pair.answer();
            pair.poll();
        });
    });
    for (name, writes) in [("turn, write", true), ("turn, read", false)] {
        let mut shell = Shell::warm(Clock::start(), writes, DEPTH);
        group.bench_function(name, |bencher| bencher.iter(|| shell.round(writes)));
    }
    group.finish();
}

criterion_group!(benches, apply, dirty_index, ring);
criterion_main!(benches);
