//! What requests cost, in instructions: the engine's own example, counted by valgrind. A count is the same on every run
//! and under any load, so that one number too many shows.

use crate::step::{Failed, Step, target_folder};
use std::process::Command;

/// Requests that are counted; what the example does at its start is counted without any and taken off.
const NUMBER: u64 = 32_000;

/// A scene of `daemon/engine/examples/count.rs`.
struct Scene {
    name: &'static str,
    what: &'static str,
    /// What it may cost.
    limit: Option<u64>,
}

const SCENES: &[Scene] = &[
    Scene { name: "write", what: "4 KiB written over a dirty line", limit: Some(450) },
    Scene { name: "read", what: "4 KiB read, a hit", limit: Some(300) },
    Scene { name: "partial", what: "512 bytes written over a dirty line", limit: None },
    Scene { name: "write-long", what: "64 KiB written over dirty lines, a line", limit: None },
    Scene { name: "read-long", what: "64 KiB read, a hit, a line", limit: None },
    Scene { name: "miss", what: "4 KiB read, a miss, with fill and eviction", limit: None },
    Scene { name: "cycle", what: "4 KiB written over a clean line, with its write-back", limit: None },
];

/// Builds the example, counts every scene and prints a table; fails if a scene costs more than it may.
pub(crate) fn count() -> Result<(), Failed> {
    if !is_installed() {
        return Err(Failed {
            what: "NOTHING WAS COUNTED: there is no valgrind".into(),
            way_out: "install it (`apt-get install valgrind`), or leave counting to a machine that has it"
                .into(),
        });
    }
    Step::cargo("build --release --locked --package holdfast-engine --example count")
        .advise("mend the example: it drives the engine as its crate's documentation says")
        .run()?;
    println!("\ninstructions a request, with its share of a turn of 16:");
    let (empty, asked) = (cost("empty")?, cost("asked")?);
    println!("  {:<11} {empty:>6}  the sixteenth part of a turn without requests", "empty");
    let mut over = Vec::new();
    for scene in SCENES {
        // What the example does to hand a request over is not the engine's.
        let cost = cost(scene.name)? - (asked - empty);
        let limit = scene.limit.map_or(String::new(), |limit| format!("at most {limit}"));
        println!("  {:<11} {cost:>6}  {:<58} {limit}", scene.name, scene.what);
        if scene.limit.is_some_and(|limit| cost > limit) {
            over.push(scene.name);
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    Err(Failed {
        what: format!("more instructions than allowed: {}", over.join(", ")),
        way_out: "valgrind --tool=callgrind on the example, then callgrind_annotate, shows where".into(),
    })
}

/// Whether there is something to count with.
pub(crate) fn is_installed() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Instructions a request of a scene.
fn cost(scene: &str) -> Result<u64, Failed> {
    Ok((run(scene, NUMBER)? - run(scene, 0)?) / NUMBER)
}

/// Instructions of one run of the example.
fn run(scene: &str, number: u64) -> Result<u64, Failed> {
    let program = target_folder().join("release/examples/count");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&program)
        .args([scene, &number.to_string()])
        .output();
    let text = output.as_ref().map_or(String::new(), |output| String::from_utf8_lossy(&output.stderr).into());
    // A program that panics is counted, too: with what it takes to print where.
    let passed = output.is_ok_and(|output| output.status.success());
    collected(&text).filter(|_| passed).ok_or_else(|| Failed {
        what: format!("valgrind did not count `{} {scene} {number}`: {text}", program.display()),
        way_out: "run it by hand; what it printed is above".into(),
    })
}

/// The total in what callgrind prints: `==123== Collected : 456`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_what_callgrind_prints() {
        let text = "==7== Events    : Ir\n==7== Collected : 46356023\n==7== \n";
        assert_eq!(collected(text), Some(46_356_023));
        assert_eq!(collected("==7== Collected : many\n"), None);
        assert_eq!(collected("valgrind: no such program\n"), None);
    }

    #[test]
    fn every_scene_is_one_of_the_example() {
        let example = include_str!("../../../daemon/engine/examples/count.rs");
        for name in SCENES.iter().map(|scene| scene.name).chain(["empty", "asked"]) {
            assert!(example.contains(&format!("\"{name}\" =>")), "{name}");
        }
    }
}
