//! Figures that are no rates beside a floor: what idling, flushes, crowds and write-back cost. One line of the table each.

mod flushes;
mod idle;
mod sessions;
mod write_back;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::machine::Machine;
use crate::own_daemon::OwnDaemon;
use crate::testbed::Testbed;

/// Which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Line {
    /// The share of a core of a daemon without work, and its first operation after that.
    Idle,
    /// Device flushes that 64 clients' concurrent flushes cost.
    Flushes,
    /// The rate of one session of which 255 others want nothing.
    Sessions,
    /// Write-back of dense and of sparse dirty data, beside O_DIRECT writers.
    WriteBack,
}

/// One figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, with its unit.
    pub what: String,
    /// The median.
    pub value: f64,
    /// All repeats.
    pub repeats: Vec<f64>,
    /// What it should be.
    pub wanted: String,
    /// Whether it is.
    pub reached: bool,
}

impl Figure {
    /// A figure that may be `most`.
    fn at_most(what: &str, repeats: Vec<f64>, most: f64) -> Self {
        let value = median(&repeats);
        let (what, wanted) = (what.to_owned(), format!("at most {most}"));
        Self { what, value, repeats, wanted, reached: value <= most }
    }

    /// A figure that should be `least`.
    fn at_least(what: &str, repeats: Vec<f64>, least: f64) -> Self {
        let value = median(&repeats);
        let (what, wanted) = (what.to_owned(), format!("at least {least}"));
        Self { what, value, repeats, wanted, reached: value >= least }
    }
}

/// The middle one; of an even number the upper. Not a number if there is none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Where it is measured.
#[derive(Debug)]
pub struct Place {
    /// Cores, cache and folder; settled.
    pub testbed: Testbed,
    /// For huge pages.
    pub machine: Machine,
    /// Bytes that write-back writes.
    pub span: u64,
    /// How often each is measured.
    pub repeats: u32,
}

impl Place {
    /// A daemon whose volume has so many bytes and these settings, and whose cache has so many.
    fn daemon(&self, volume: u64, cache: u64, settings: &str) -> anyhow::Result<OwnDaemon> {
        let text = format!(
            "# ?\nspan = {volume}\ncache = {cache}\n[[case]]\nname = \"all\"\nreads_percent = 0\ndepth = 32\n"
        );
        let (job, pages) = (Job::parse(&text)?, self.machine.huge_pages_free);
        OwnDaemon::start_with(&job, &self.testbed, pages, settings)
    }

    fn file(&self, name: &str) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("holdfast-perf-").tempdir_in(&self.testbed.directory)?;
        let path = folder.path().join(name);
        Ok((folder, path))
    }
}

/// Measures a line.
///
/// # Errors
/// If the daemon does not start or refuses, or there is no room.
pub fn measure(line: Line, place: &Place) -> anyhow::Result<Vec<Figure>> {
    match line {
        Line::Idle => idle::measure(place),
        Line::Flushes => flushes::measure(place),
        Line::Sessions => sessions::measure(place),
        Line::WriteBack => write_back::measure(place),
    }
}

/// A line for each figure, for the terminal.
#[must_use]
pub fn text(figures: &[Figure]) -> String {
    let line = |figure: &Figure| {
        let verdict = if figure.reached { "reached" } else { "NOT REACHED" };
        let least = figure.repeats.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figure.repeats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!(
            "{:<66} {:>12.3}  ({least:.3} to {most:.3})  {} {verdict}\n",
            figure.what, figure.value, figure.wanted
        )
    };
    figures.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_median() {
        assert!(Figure::at_most("x", vec![1.0, 9.0, 2.0], 2.0).reached);
        assert!(!Figure::at_least("x", vec![1.0, 9.0, 2.0], 2.5).reached);
        assert!(!Figure::at_most("nothing", Vec::new(), 2.0).reached, "nothing measured is nothing reached");
    }
}
