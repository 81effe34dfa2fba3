//! What was seen, as tables for people. Markdown that can be read on a terminal, too.

use std::fmt::Write;

use comfy_table::{Table, presets::ASCII_MARKDOWN};

use super::contender::Contender;
use super::play::{AT_THE_END, Play};
use super::scene::{SCENES, Scene};
use super::{Honesty, NotPlayed};

/// The whole report.
#[must_use]
pub(super) fn text(honesty: &Honesty) -> String {
    let mut text = String::new();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a string can grow");
    line("# What a flush says, and what is true\n");
    line(&format!(
        "Seen on {} with Linux {} and Holdfast {}.",
        honesty.date, honesty.kernel, honesty.holdfast
    ));
    let versions: Vec<&str> = honesty.versions.iter().map(String::as_str).collect();
    line(&format!("Programs: {}.\n", versions.join("; ")));
    for NotPlayed { system, scene, why } in &honesty.not_played {
        let scene = scene.map_or_else(String::new, |scene| format!(", {scene}"));
        line(&format!("* not played: {system}{scene}: {why}"));
    }
    line(&summary(honesty));
    for scene in SCENES {
        let plays: Vec<&Play> = honesty.plays.iter().filter(|play| play.scene == scene.name()).collect();
        if !plays.is_empty() {
            line(&format!("\n## {}: {scene}\n", scene.name()));
            line(&steps(&plays));
            line(&complaints(&plays));
        }
    }
    text
}

/// One row a scene, one column a system, and the story of each in a cell.
fn summary(honesty: &Honesty) -> String {
    let systems = systems(&honesty.plays.iter().collect::<Vec<_>>());
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    table.set_header(std::iter::once("scene".to_owned()).chain(systems.iter().map(|name| heading(name))));
    for scene in SCENES {
        let of = |system: &&str| find(honesty, scene, system).map_or_else(|| "-".to_owned(), story);
        let cells: Vec<String> = systems.iter().map(of).collect();
        if cells.iter().any(|cell| cell != "-") {
            table.add_row(std::iter::once(scene.name().to_owned()).chain(cells));
        }
    }
    format!(
        "A cell: what flushes said, the last by a second session in another process / what reads returned at first, after \
         eviction, after a restart (of Holdfast: kill -9) / what is on the disk at the end, after it was well again / the promises \
         of Holdfast's contract that this does not keep.\n\n{table}"
    )
}

fn find<'a>(honesty: &'a Honesty, scene: Scene, system: &str) -> Option<&'a Play> {
    honesty.plays.iter().find(|play| play.scene == scene.name() && play.system == system)
}

fn systems<'a>(plays: &[&'a Play]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for play in plays {
        if !names.contains(&play.system.as_str()) {
            names.push(&play.system);
        }
    }
    names
}

fn heading(system: &str) -> String {
    Contender::named(system).map_or_else(|_| system.to_owned(), Contender::heading)
}

fn seen(play: &Play, what: &str) -> String {
    play.steps
        .iter()
        .find(|step| step.what == what)
        .map_or_else(|| "-".to_owned(), |step| step.seen.to_string())
}

fn story(play: &Play) -> String {
    let all = |steps: &[&str]| steps.iter().map(|what| seen(play, what)).collect::<Vec<_>>().join(", ");
    let flushes = all(&["flush", "flush again", "a second session flushes"]);
    // Each of them may be of several blocks.
    let reads =
        ["read", "read after eviction", "read after restart"].map(|what| seen(play, what).replace(", ", " "));
    let end = seen(play, AT_THE_END).replace(", ", " ");
    format!("{flushes} / {} / {end} / {}", reads.join(", "), promises(play))
}

/// The numbers of what was not kept.
fn promises(play: &Play) -> String {
    let mut numbers: Vec<&str> = play.broken.iter().map(|broken| broken.promise).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() { "all kept".to_owned() } else { format!("not {}", numbers.join(" ")) }
}

/// One row a step, one column a system.
fn steps(plays: &[&Play]) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN);
    table.set_header(std::iter::once(String::new()).chain(plays.iter().map(|play| heading(&play.system))));
    for what in rows(plays) {
        table.add_row(std::iter::once(what.to_owned()).chain(plays.iter().map(|play| seen(play, what))));
    }
    let refused = |play: &&Play| format!("{} writes, {} flushes", play.refused_writes, play.refused_flushes);
    table.add_row(std::iter::once("the disk refused".to_owned()).chain(plays.iter().map(refused)));
    let by = |play: &&Play| play.refused_by.to_owned();
    table.add_row(std::iter::once("which it knew by".to_owned()).chain(plays.iter().map(by)));
    let promises = |play: &&Play| promises(play);
    table.add_row(std::iter::once("the contract".to_owned()).chain(plays.iter().map(promises)));
    table.to_string()
}

/// The steps of all plays: one that was cut short has fewer.
fn rows(plays: &[&Play]) -> Vec<&'static str> {
    let mut rows: Vec<&'static str> = Vec::new();
    for play in plays {
        let mut at = 0;
        for step in &play.steps {
            match rows.iter().position(|row| *row == step.what) {
                Some(found) => at = found + 1,
                None => {
                    rows.insert(at, step.what);
                    at += 1;
                }
            }
        }
    }
    rows
}

/// What is wrong, sentence by sentence.
fn complaints(plays: &[&Play]) -> String {
    let mut text = String::new();
    for play in plays {
        for broken in &play.broken {
            writeln!(
                text,
                "* {}, {} ({}): {}",
                heading(&play.system),
                broken.step,
                broken.promise,
                broken.why
            )
            .expect("a string can grow");
        }
    }
    text
}
