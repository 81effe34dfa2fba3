//! The honesty table: what flushes say and reads return when a write-back fails, here and elsewhere.
//!
//! The kernel's page cache over three file systems, and Holdfast under each policy, play the same scenes on the same disk,
//! which is nbdkit with a script that refuses on demand. **A cell is what was seen**: nothing in here knows what anybody
//! will answer. The scenes are the two workloads of "Can Applications Recover from fsync Failures?" (Rebello et al., USENIX
//! ATC'20), each on a disk that refuses one block of data, every write, or every flush; then come a second
//! session in another process, eviction, a restart on the ill disk (of Holdfast: `kill -9`), and an operator once it is well, who
//! accepts what was given up.

mod answer;
mod contender;
mod disk;
mod holdfast;
mod judge;
mod kernel;
mod kernel_log;
mod patience;
mod place;
mod play;
mod scene;
mod stamp;
mod system;
mod table;

pub use contender::{CONTENDERS, Contender};
pub use place::flush_on_errand;
pub use scene::{Fault, SCENES, Scene, Workload};

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use patience::Patience;
use play::{Play, play};

/// What is played, and where.
#[derive(Clone, Debug)]
pub struct Request {
    /// Columns; none twice.
    pub systems: Vec<Contender>,
    /// Tables; none twice.
    pub scenes: Vec<Scene>,
    /// Where the disks' images go, a few hundred MiB at a time.
    pub directory: PathBuf,
}

/// What was seen.
#[derive(Debug, Serialize)]
pub struct Honesty {
    date: String,
    kernel: String,
    holdfast: String,
    versions: Vec<String>,
    not_played: Vec<NotPlayed>,
    plays: Vec<Play>,
    /// Whether something could not be set up, or ended in an error of the stage, though nothing was missing.
    failed: bool,
}

/// A column, or a cell of one, that is not there.
#[derive(Debug, Serialize)]
struct NotPlayed {
    system: &'static str,
    scene: Option<&'static str>,
    why: String,
}

impl Honesty {
    /// As tables, in Markdown.
    #[must_use]
    pub fn text(&self) -> String {
        table::text(self)
    }

    /// 0: everything was played, and Holdfast kept its promises. 1: it did not, or a play failed. 3: something is missing on
    /// this machine, and the rest is well.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        let is_holdfast = |play: &&Play| Contender::named(&play.system).is_ok_and(Contender::is_holdfast);
        let broken = self.plays.iter().filter(is_holdfast).any(|play| !play.broken.is_empty());
        match (broken || self.failed, self.not_played.is_empty()) {
            (true, _) => ExitCode::from(1),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::from(3),
        }
    }

    /// Writes `honesty.md` and `honesty.json` into a folder, which is made.
    ///
    /// # Errors
    /// If it cannot be written to.
    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (name, text) in [("honesty.md", self.text()), ("honesty.json", json)] {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// Plays what can be played here; `progress` is told what comes next.
///
/// # Errors
/// If interrupted. What a system lacks, or what goes wrong with it, is in the report.
pub fn see(request: &Request, mut progress: impl FnMut(&str)) -> anyhow::Result<Honesty> {
    let patience = Patience::until_interrupted().context("hearing Ctrl-C")?;
    let (mut systems, mut honesty) = (Vec::new(), empty(&patience)?);
    for &system in &request.systems {
        let lacks = system.lacks(&patience);
        if lacks.is_empty() {
            systems.push(system);
            continue;
        }
        let why = format!("it needs {}", lacks.join(", and "));
        progress(&format!("{} is skipped: {why}", system.name()));
        honesty.not_played.push(NotPlayed { system: system.name(), scene: None, why });
    }
    let count = request.scenes.len() * systems.len();
    let pairs = request.scenes.iter().flat_map(|&scene| systems.iter().map(move |&system| (scene, system)));
    for (index, (scene, system)) in pairs.enumerate() {
        progress(&format!("[{}/{count}] {}: {scene}", index + 1, system.heading()));
        match one(system, scene, &request.directory, &patience) {
            Ok(play) => honesty.plays.push(play),
            Err(error) => {
                patience.check()?;
                let why = format!("{error:#}");
                progress(&format!("    failed: {why}"));
                honesty.failed = true;
                honesty.not_played.push(NotPlayed { system: system.name(), scene: Some(scene.name()), why });
            }
        }
    }
    Ok(honesty)
}

fn one(system: Contender, scene: Scene, directory: &Path, patience: &Patience) -> anyhow::Result<Play> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // What is left of the lowest bits differs between any two plays.
    let run = u64::try_from(since.as_nanos() & u128::from(u64::MAX))?;
    let mut set_up = system.set_up(scene, run, directory, patience)?;
    play(system.name(), &mut *set_up, scene, run, patience)
}

/// A report without a play, with what it was made with.
fn empty(patience: &Patience) -> anyhow::Result<Honesty> {
    let mut versions = Vec::new();
    let programs: [&[&str]; 5] = [
        &["nbdkit", "--version"],
        &["nbdfuse", "--version"],
        &["mkfs.ext4", "-V"],
        &["mkfs.xfs", "-V"],
        &["mkfs.btrfs", "-V"],
    ];
    for words in programs {
        // What is missing is said where it is needed.
        let Ok(said) = patience.run(words[0], &words[1..]) else { continue };
        versions.extend(said.out.lines().chain(said.err.lines()).next().map(|line| line.trim().to_owned()));
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    Ok(Honesty {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        kernel: kernel.trim().to_owned(),
        holdfast: format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("HOLDFAST_REVISION")),
        versions,
        not_played: Vec::new(),
        plays: Vec::new(),
        failed: false,
    })
}
