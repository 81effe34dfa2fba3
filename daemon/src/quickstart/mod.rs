//! `holdfastd quickstart`: a real daemon, a real client in another process, and disks that run full under them.
//!
//! Plays the timeline of the design for each policy, a line a step with what the promises say and what was seen, and
//! compares the disks byte by byte in the end. Needs no privileges, huge pages or configuration.
//!
//! This process is the client and the operator; the daemon is this program again (`child`). Both speak what everybody
//! speaks: the client library and the admin socket.

mod child;
mod crowd;
mod ending;
mod error;
mod expected;
mod interrupt;
mod operator;
mod pattern;
mod place;
mod plan;
mod room;
mod serving;
mod session;
mod timeline;
mod transcript;
mod yours;

pub use plan::Policy;

use child::Daemon;
use error::Error;
use interrupt::Interrupt;
use operator::Operator;
use place::Place;
use plan::{Disk, Planned};
use room::Helper;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use timeline::Timeline;
use transcript::{Transcript, step};

/// What the command line of `holdfastd quickstart` says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Play it on this file or block device, whose disk must really be full; its first 4 MiB are overwritten.
    #[arg(long, value_name = "PATH")]
    pub backing: Option<PathBuf>,
    /// Yes, overwrite what is on --backing.
    #[arg(long, requires = "backing")]
    pub yes: bool,
    /// Wait so many seconds for room on --backing.
    #[arg(long, value_name = "SECONDS", default_value = "300", requires = "backing",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait: u64,
    /// Play this policy only; with --backing it is hold-until-pressure unless another is named.
    #[arg(long)]
    pub policy: Option<Policy>,
    /// Leave the daemon running afterwards, with the commands to try next.
    #[arg(long, conflicts_with_all = ["backing", "policy"])]
    pub serve: bool,
    /// Leave the files: the configuration, the daemon's log, the volumes.
    #[arg(long)]
    pub keep: bool,
}

/// Plays it, and says how it went: 0 if all that was expected was seen, 1 if something was not, 2 if it could not be
/// played to its end, 130 if it was interrupted.
pub fn run(options: &Options) -> ExitCode {
    let mut transcript = Transcript::default();
    match play(options, &mut transcript) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Ended::Interrupted) => {
            transcript.say("\nInterrupted; everything was removed.");
            ExitCode::from(130)
        }
        Err(Ended::Failed(error)) => {
            eprintln!("holdfastd quickstart: {error}");
            ExitCode::from(2)
        }
    }
}

/// Why it was not played to its end.
enum Ended {
    Interrupted,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        Ended::Failed(error)
    }
}

fn play(options: &Options, transcript: &mut Transcript) -> Result<bool, Ended> {
    let interrupt = Interrupt::listen()?;
    let mut place = Place::make()?;
    if options.keep {
        place.keep_files();
    }
    let volumes = volumes(options, &place)?;
    let played = stage(options, &place, &volumes, transcript, &interrupt);
    if interrupt.is_wanted() && !matches!(played, Ok(())) {
        return Err(Ended::Interrupted);
    }
    played?;
    if options.keep {
        transcript.say(format_args!("\nThe files are in {}.", place.files().display()));
    }
    conclude(options, transcript);
    Ok(transcript.holds())
}

/// The volumes, and what is behind each.
fn volumes(options: &Options, place: &Place) -> Result<Vec<Planned>, Error> {
    if let Some(path) = &options.backing {
        let disk = yours::look(path, options.yes)?;
        let path = std::path::absolute(path).map_err(Error::file(path, "find"))?;
        let policy = options.policy.unwrap_or(Policy::HoldUntilPressure);
        return Ok(vec![Planned { policy, disk, path }]);
    }
    let chosen = Policy::ALL.into_iter().filter(|policy| options.policy.is_none_or(|only| only == *policy));
    let buffered = place.buffered.is_some();
    let planned =
        |policy: Policy| Planned { policy, disk: Disk::Thin { buffered }, path: place.image(policy.name()) };
    Ok(chosen.map(planned).collect())
}

/// Starts the daemon, plays every volume, ends the daemon, compares.
fn stage(
    options: &Options,
    place: &Place,
    volumes: &[Planned],
    transcript: &mut Transcript,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let config = plan::config(place, volumes);
    std::fs::write(place.config(), config).map_err(Error::file(place.config(), "write"))?;
    let mut daemon = Daemon::start(&place.config(), place.log())?;
    interrupt.kills(daemon.descriptor()?);
    daemon.first_session(&place.socket(), volumes[0].name())?.close();
    introduce(place, volumes, &daemon, transcript);
    let operator = Operator::new(&place.admin_socket());
    let helper = match &options.backing {
        Some(_) => Helper::Owner { patience: Duration::from_secs(options.wait) },
        None => Helper::Itself,
    };
    let salt = salt();
    let mut played = Vec::new();
    for volume in volumes {
        played.push(Timeline::new(volume, place, &operator, transcript, salt)?.play(&helper)?);
    }
    if options.serve {
        for volume in played {
            volume.compare(transcript)?;
        }
        serving::serve(place, transcript, interrupt, salt)?;
        let status = daemon.stop()?;
        transcript.say(format_args!(
            "\nThe daemon ended: {status} (not 0 if it still held data that the disk refuses)."
        ));
        return Ok(());
    }
    let status = daemon.stop()?;
    transcript
        .say("\nThe end: the daemon is told to stop, and the disks are compared with what must be there");
    let ends = step("end", "C1 C9", "SIGTERM: write back, end");
    transcript.check(ends, "exit status: 0", &status.to_string(), status.success());
    played.iter().try_for_each(|volume| volume.compare(transcript))
}

fn introduce(place: &Place, volumes: &[Planned], daemon: &Daemon, transcript: &Transcript) {
    transcript.say("Holdfast: what happens to acknowledged data when the disk is full.");
    transcript.say(format_args!(
        "  daemon   pid {}, two reactors that share each volume in stripes of 1 MiB, without privileges",
        daemon.pid()
    ));
    transcript.say(format_args!(
        "  client   this process (pid {}), over rings in shared memory",
        std::process::id()
    ));
    for volume in volumes.iter().filter(|volume| !volume.is_thin()) {
        transcript.say(format_args!("  disk     {}, as full as it is", volume.path.display()));
    }
    if volumes.iter().any(Planned::is_thin) {
        transcript.say(format_args!(
            "  disks    sparse files in {}, which may allocate 256 KiB each until t7",
            place.files().display()
        ));
    }
    if let Some(why) = &place.buffered {
        transcript.say(format_args!(
            "  note     no folder here bypasses the page cache ({why}): these files go through it, as no real volume \
             should; TMPDIR can name a folder on ext4 or XFS"
        ));
    }
}

fn conclude(options: &Options, transcript: &Transcript) {
    transcript.say(format_args!("\n{}", transcript.summary()));
    let next = match (transcript.holds(), options.serve || options.backing.is_some()) {
        (false, _) if options.keep => "The daemon's log is there, too.",
        (false, _) => "Run it again with --keep to have the daemon's log.",
        (true, true) => {
            "Next: copy configs/hold-forever.toml, name your disk in it, `holdfastd serve --config FILE`."
        }
        (true, false) => "Next: `holdfastd quickstart --serve`, and be the operator yourself.",
    };
    transcript.say(next);
}

/// Differs from run to run, so that nothing is taken for this run's that an earlier one wrote.
fn salt() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(since.subsec_nanos().into());
    nanoseconds ^ u64::from(std::process::id()).rotate_left(48)
}
