//! Draws a run's shape from its seed: small enough that everything collides, different enough that nothing is spared.

use crate::Random;
use crate::medium::{CHUNK, MediumSetup};
use crate::plan::{Plan, VolumePlan};
use holdfast_engine::{FlushOnFailure, Geometry, Limits, Mode};
use holdfast_policy::{
    ClassSet, ErrorClass, EvictImmediately, HoldForever, HoldUntilPressure, Policy, Retry, Rule, Rules,
};

/// The shape of the run with this seed.
pub fn plan(seed: u64) -> Plan {
    let mut random = Random::new(seed ^ 0x706c_616e);
    let random = &mut random;
    let reactors = random.pick(&[1u32, 1, 2, 2, 3]);
    let line_bytes = random.pick(&[4096u32, 4096, 4096, 8192, 16384]);
    let slots = random.pick(&[64usize, 96, 128, 256, 512]);
    let limits = limits(random, reactors);
    let count = random.pick(&[1u16, 1, 2, 2, 3]);
    let shared = random.chance(250);
    let volumes = (0..count).map(|number| {
        let domain = if shared { 0 } else { number };
        volume(
            random,
            reactors,
            line_bytes,
            slots as u64,
            u64::from(limits.reserve_slots),
            u64::from(count),
            domain,
        )
    });
    let volumes = volumes.collect();
    Plan { seed, reactors, line_bytes, slots, limits, volumes }
}

fn limits(random: &mut Random, reactors: u32) -> Limits {
    Limits {
        ops_max: random.pick(&[8, 16, 32]),
        run_lines_max: random.pick(&[1, 4, 16, 64]),
        requests_max: random.pick(&[32, 256]),
        // The reserve holds one request.
        request_lines_max: random.pick(&[4, 8]),
        ledger_entries_max: random.pick(&[192, 512]),
        reserve_slots: random.pick(&[8, 16]),
        requests_a_turn: random.pick(&[2, 16]),
        steps_a_turn: random.pick(&[16, 64]),
        flush_after_ms: random.pick(&[20, 200, 1_000]),
        seed: random.word(),
        ..Limits::small(0, reactors)
    }
}

fn volume(
    random: &mut Random,
    reactors: u32,
    line_bytes: u32,
    slots: u64,
    reserve: u64,
    count: u64,
    domain: u16,
) -> VolumePlan {
    let block_bytes = random.pick(&[512u32, 512, 4096]);
    let lines = slots * u64::from(reactors) * random.between(2, 8) / count;
    // Often the volume ends inside a line.
    let volume_bytes =
        lines.max(16) * u64::from(line_bytes) + u64::from(block_bytes) * random.pick(&[0, 1, 0]);
    let stripe_bytes = random.pick(&[1u64, 1, 2]) << 20;
    let geometry = Geometry { volume_bytes, block_bytes, line_bytes, stripe_bytes, reactors, reactor: 0 };
    let share = (slots - reserve) / count;
    VolumePlan {
        geometry,
        domain,
        mode: if random.chance(850) { Mode::WriteBack } else { Mode::WriteThrough },
        // At times so little that one reactor has room for all of it.
        budget_slots: (share * random.between(400, 1000) / 1000).max(8) * u64::from(reactors),
        rules: rules(random),
        flush_on_failure: if random.chance(650) {
            FlushOnFailure::Report
        } else {
            FlushOnFailure::Stall { timeout_ms: random.pick(&[50, 500, 5_000]) }
        },
        parked_flushes_max: random.pick(&[1, 2, 8]),
        // Above what a healthy operation takes, with the longest pause between two turns.
        io_timeout_ms: random.pick(&[300, 1_000, 5_000]),
        write_back_from: random.pick(&[50, 300, 700]),
        write_back_after_ms: random.pick(&[5, 100, 3_000]),
        medium: medium(random, volume_bytes, block_bytes),
    }
}

fn medium(random: &mut Random, volume_bytes: u64, block_bytes: u32) -> MediumSetup {
    let sectors = volume_bytes / 512;
    let chunks = sectors.div_ceil(CHUNK);
    MediumSetup {
        sectors,
        block_sectors: u64::from(block_bytes) / 512,
        zeroes: random.chance(850),
        discards: random.chance(700),
        chunks_max: if random.chance(400) { chunks * random.between(1, 30) / 100 } else { u64::MAX },
    }
}

/// Rules that an operator could have written.
pub(crate) fn rules(random: &mut Random) -> Rules {
    let special = ClassSet::from_classes(random.pick(&[
        &[ErrorClass::Space][..],
        &[ErrorClass::Transient, ErrorClass::Space],
        &[ErrorClass::Medium],
        &[ErrorClass::Gone, ErrorClass::Transient],
    ]));
    let first = Rule { classes: special, policy: policy(random), retry: retry(random) };
    let rest = Rule { classes: ClassSet::ANY, policy: policy(random), retry: retry(random) };
    let rules = if random.chance(500) { Rules::new(&[first, rest]) } else { Rules::new(&[rest]) };
    rules.expect("rules that an operator could have written")
}

fn policy(random: &mut Random) -> Policy {
    let stall_timeout_ms = random.pick(&[20, 200, 3_000]);
    match random.below(3) {
        0 => Policy::EvictImmediately(EvictImmediately {}),
        1 => {
            let pressure = random.pick(&[300, 700, 900, 1_000]);
            Policy::HoldUntilPressure(HoldUntilPressure { pressure, stall_timeout_ms })
        }
        _ => Policy::HoldForever(HoldForever { stall_timeout_ms }),
    }
}

fn retry(random: &mut Random) -> Retry {
    let first_ms = random.pick(&[1, 10, 100]);
    let max_ms = first_ms * random.pick(&[1, 8, 100]);
    let on_timer = random.chance(800);
    Retry {
        on_timer,
        on_flush: !on_timer || random.chance(700),
        on_overwrite: random.chance(700),
        first_ms,
        max_ms,
    }
}
