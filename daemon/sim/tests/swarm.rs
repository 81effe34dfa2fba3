//! A few hundred drawn worlds. The long series is `cargo run --release -p holdfast-sim -- --seeds 1000`.

use holdfast_sim::{Coverage, Options, run};

#[test]
fn every_promise_holds_in_the_first_seeds() {
    let mut coverage = Coverage::default();
    for seed in 1..=200 {
        let report = std::panic::catch_unwind(|| run(seed, &Options { turns: 300, ..Options::default() }));
        let repeat = format!("cargo run --release -p holdfast-sim -- --seed {seed} --turns 300 --trace");
        coverage.add(
            &report.unwrap_or_else(|_| panic!("seed {seed} failed, see above; repeat: {repeat}")).coverage,
        );
    }
    assert!(coverage.gaps().is_empty(), "never exercised: {:?}\n{coverage}", coverage.gaps());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1_000..1_020 {
        let (one, two) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!((one.trace_hash, one.turns), (two.trace_hash, two.turns), "seed {seed}");
    }
    let (one, other) = (run(1, &Options::default()), run(2, &Options::default()));
    assert_ne!(one.trace_hash, other.trace_hash);
}
