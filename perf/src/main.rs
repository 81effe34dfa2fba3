//! The command line of the stopwatch.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use holdfast_perf::bench::{measure_daemon, measure_floor};
use holdfast_perf::cases::{Report, Settings};
use holdfast_perf::figures::{Line, Place, measure, text};
use holdfast_perf::floor::{Shared, Span, serve};
use holdfast_perf::honesty::{CONTENDERS, Contender, SCENES, Scene, see};
use holdfast_perf::job::Job;
use holdfast_perf::machine::Machine;
use holdfast_perf::offsets::BLOCK_BYTES;
use holdfast_perf::preflight::{Preflight, preflight};
use holdfast_perf::run::{Request, run};
use holdfast_perf::testbed::Testbed;
use holdfast_perf::{crew, honesty, page, report, restart, suite, table};

/// How fast Holdfast is, beside what the machine allows.
#[derive(Parser)]
#[command(name = "holdfast-perf", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the bare limit: an ideal ring between two processes, a cache line's round trip, a copy.
    Floor {
        /// Requests are spread over so many bytes; may be given several times.
        #[arg(long, default_value = "64MiB", value_parser = span)]
        span: Vec<u64>,
        #[command(flatten)]
        how: How,
    },
    /// Measure a running daemon beside the floor, in alternating rounds. Overwrites the beginning of the volume.
    Bench {
        /// The socket on which the daemon awaits its clients.
        #[arg(long)]
        socket: PathBuf,
        /// The volume whose beginning is overwritten.
        #[arg(long)]
        volume: String,
        /// Requests are spread over so many bytes, from the beginning of the volume; the cache should hold them.
        #[arg(long, default_value = "16MiB", value_parser = span)]
        span: u64,
        #[command(flatten)]
        how: How,
    },
    /// Carry a job out: a daemon is started for it, and the floor is measured beside it.
    Run(JobArguments),
    /// The same, beside the page cache, O_DIRECT through io_uring, and NBD servers, too.
    Compare(JobArguments),
    /// Figures that are no rates beside a floor, each against what it should be. A daemon is started for them.
    Figures {
        /// Which lines of the table; all of them if none is named.
        lines: Vec<Line>,
        /// Where: a file of perf/testbeds, or one like them.
        #[arg(long)]
        testbed: Option<PathBuf>,
        /// Bytes that write-back writes; the cache has half as many more, and the disk needs thirteen times as many.
        #[arg(long, default_value = "256MiB", value_parser = span)]
        span: u64,
        /// How often each is measured.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        repeats: u32,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// How long a daemon that is started after a kill takes to answer its first read.
    Restart(RestartArguments),
    /// All of it: every job of a folder, all figures, and restarts, one after the other, and one page that says what was
    /// wanted and what was found. Takes most of an hour. Exits with 0 if all is reached, 1 if something is not.
    Suite(SuiteArguments),
    /// What flushes say and reads return when a disk refuses: the kernel's page cache beside Holdfast. Needs root. Exits
    /// with 0 if all was played and Holdfast kept its promises, 1 if it did not or a play failed, 3 if something is missing.
    Honesty(HonestyArguments),
    /// A client of a job; started by this program.
    #[command(hide = true)]
    Client {
        /// What it does, as JSON.
        errand: String,
    },
    /// The honesty table's second session; started by this program.
    #[command(hide = true)]
    HonestyFlush {
        /// What it flushes, as JSON.
        errand: String,
    },
    /// The floor's other process; started by this program.
    #[command(hide = true)]
    FloorServer {
        #[arg(long)]
        core: usize,
        #[arg(long)]
        span_bytes: u64,
        /// Who starts it: it ends when that process does.
        #[arg(long)]
        parent: u32,
    },
}

#[derive(Args)]
struct JobArguments {
    /// What to measure: a file of perf/jobs, or one like them.
    job: PathBuf,
    /// Where: a file of perf/testbeds, or one like them.
    #[arg(long)]
    testbed: Option<PathBuf>,
    /// A folder that gets the report as JSON and as a page with charts, named after the job.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Use a daemon that runs, of which the job's span of `--volume` is overwritten, instead of starting one.
    #[arg(long, requires = "volume")]
    socket: Option<PathBuf>,
    /// The volume of `--socket`.
    #[arg(long, requires = "socket")]
    volume: Option<String>,
    /// Measure even if no figure means anything here.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SuiteArguments {
    /// The folder of the jobs.
    #[arg(long, default_value = "perf/jobs")]
    jobs: PathBuf,
    /// Only these steps: a job's name, figures-idle, figures-flushes, figures-sessions, figures-write-back, restart.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where: a file of perf/testbeds, or one like them.
    #[arg(long)]
    testbed: Option<PathBuf>,
    /// A folder that gets each job's report, and `suite.md` and `suite.json`, which are kept up to date meanwhile.
    #[arg(long, default_value = "reports")]
    report: PathBuf,
    /// Measure even if no figure means anything here.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
struct HonestyArguments {
    /// Only these: ext4, xfs, btrfs, evict-immediately, hold-until-pressure, hold-forever.
    #[arg(long, value_parser = Contender::named)]
    system: Vec<Contender>,
    /// Only these: update-data, update-device, update-flush, append-data, append-device, append-flush.
    #[arg(long, value_parser = Scene::named)]
    scene: Vec<Scene>,
    /// A folder that gets the tables as Markdown and as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Where the disks' images go: some hundred MiB.
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RestartArguments {
    /// Bytes of the arena; may be given several times.
    #[arg(long, default_values = ["1GiB", "4GiB", "8GiB"], value_parser = span)]
    cache: Vec<u64>,
    /// Reactors of the daemon.
    #[arg(long, default_value_t = 1)]
    reactors: u32,
    /// Starts that are measured for each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
    /// Where the arena goes: a directory on hugetlbfs or tmpfs.
    #[arg(long, default_value = "/dev/shm")]
    arena: PathBuf,
    /// Where the backing and the ledger go.
    #[arg(long, default_value = "/var/tmp")]
    directory: PathBuf,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct How {
    /// Length of each round.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Rounds for each figure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
    /// Chooses offsets and payloads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The load generator's core; by default the last that this process may use.
    #[arg(long)]
    client_core: Option<usize>,
    /// The core of the floor's other process, to be that of the daemon's reactor; by default the first.
    #[arg(long)]
    server_core: Option<usize>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<u64, String> {
    let bytes = text.parse::<ByteSize>()?.as_u64();
    match bytes / BLOCK_BYTES {
        0 => Err(format!("{bytes} bytes are less than one block of {BLOCK_BYTES}")),
        // Offsets are made from 32 bits.
        blocks if blocks >= 1 << 32 => Err("at most 16 TiB less a block".into()),
        blocks => Ok(blocks * BLOCK_BYTES),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.001..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.001 to 3600".into()) }
}

fn main() -> anyhow::Result<ExitCode> {
    let command = Arguments::parse().command;
    let json = command.prints_json();
    let done = carry_out(command);
    if let (true, Err(error)) = (json, &done) {
        println!("{}", serde_json::json!({ "error": format!("{error:#}") }));
    }
    done
}

impl Command {
    /// Whoever reads JSON reads why there is none as JSON, too.
    fn prints_json(&self) -> bool {
        match self {
            Command::Floor { how, .. } | Command::Bench { how, .. } => how.json,
            Command::Run(job) | Command::Compare(job) => job.json,
            Command::Figures { json, .. } => *json,
            Command::Restart(arguments) => arguments.json,
            Command::Honesty(arguments) => arguments.json,
            Command::Suite(_)
            | Command::Client { .. }
            | Command::HonestyFlush { .. }
            | Command::FloorServer { .. } => false,
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Floor { span, how } => {
            let (settings, machine) = prepare(&how)?;
            print(&measure_floor(&settings, machine, &span)?, how.json)
        }
        Command::Bench { socket, volume, span, how } => {
            let (settings, machine) = prepare(&how)?;
            print(&measure_daemon(&settings, machine, &socket, &volume, span)?, how.json)
        }
        Command::Run(job) => measure_job(job, false),
        Command::Compare(job) => measure_job(job, true),
        Command::Figures { lines, testbed, span, repeats, json } => {
            let testbed = testbed_of(testbed.as_deref())?;
            let cores = usable_cores()?;
            print_figures(&lines, testbed, cores, span, repeats, json)
        }
        Command::Restart(arguments) => restarts(arguments),
        Command::Suite(arguments) => return all(arguments),
        Command::Honesty(arguments) => return honesty(arguments),
        Command::Client { errand } => return client(&errand),
        Command::HonestyFlush { errand } => honesty::flush_on_errand(&errand),
        Command::FloorServer { core, span_bytes, parent } => floor_server(core, span_bytes, parent),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn honesty(arguments: HonestyArguments) -> anyhow::Result<ExitCode> {
    let HonestyArguments { system, scene, report, directory, json } = arguments;
    let systems = CONTENDERS.into_iter().filter(|one| system.is_empty() || system.contains(one)).collect();
    let scenes = SCENES.into_iter().filter(|one| scene.is_empty() || scene.contains(one)).collect();
    let seen = see(&honesty::Request { systems, scenes, directory }, |line| eprintln!("{line}"))?;
    if let Some(folder) = report {
        seen.save(&folder)?;
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&seen)?);
    } else {
        print!("{}", seen.text());
    }
    Ok(seen.exit())
}

fn all(arguments: SuiteArguments) -> anyhow::Result<ExitCode> {
    let SuiteArguments { jobs, only, testbed, report, force } = arguments;
    let request = suite::Request { jobs, only, testbed, report, force };
    let found = suite::run(&request, usable_cores()?, |line| eprintln!("suite: {line}"))?;
    print!("{}", found.page());
    Ok(if found.all_reached() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn restarts(arguments: RestartArguments) -> anyhow::Result<()> {
    for &cache in &arguments.cache {
        let RestartArguments { reactors, repeats, ref arena, ref directory, .. } = arguments;
        let (arena, directory) = (arena.clone(), directory.clone());
        let outcome = restart::measure(&restart::Request { cache, reactors, repeats, arena, directory })?;
        if arguments.json {
            println!("{}", serde_json::to_string(&outcome)?);
        } else {
            println!("{}", outcome.text());
        }
    }
    Ok(())
}

/// Chooses the cores, looks at the machine, and goes to the client's core.
fn prepare(how: &How) -> anyhow::Result<(Settings, Machine)> {
    let cores = usable_cores()?;
    let settings = Settings {
        seconds: how.seconds,
        repeats: how.repeats,
        seed: how.seed,
        client_core: how.client_core.unwrap_or(cores[cores.len() - 1]),
        server_core: how.server_core.unwrap_or(cores[0]),
    };
    let machine = Machine::inspect(cores, settings.client_core, settings.server_core);
    for finding in machine.findings(settings.client_core, settings.server_core) {
        eprintln!("preflight: {finding}");
    }
    pin(settings.client_core)?;
    Ok((settings, machine))
}

fn usable_cores() -> anyhow::Result<Vec<usize>> {
    let cores = core_affinity::get_core_ids().filter(|cores| !cores.is_empty());
    Ok(cores.context("which cores may this process use?")?.iter().map(|core| core.id).collect())
}

fn measure_job(arguments: JobArguments, compare: bool) -> anyhow::Result<()> {
    let file = arguments.job.as_path();
    let job = Job::parse(&text_of(file)?).with_context(|| file.display().to_string())?;
    let mut testbed = testbed_of(arguments.testbed.as_deref())?;
    let cores = usable_cores()?;
    testbed.settle(&cores);
    let machine = Machine::inspect(cores, testbed.client_cores[0], testbed.reactor_cores[0]);
    let clients = job.cases.iter().map(|case| case.clients).max().unwrap_or(1);
    let Preflight { refusals, flags } = preflight(&machine, &testbed, clients);
    anyhow::ensure!(
        arguments.force || refusals.is_empty(),
        "preflight: {}; --force measures all the same",
        refusals.join("; "),
    );
    let findings: Vec<String> = refusals.into_iter().chain(flags).collect();
    for finding in &findings {
        eprintln!("preflight: {finding}");
    }
    pin(testbed.client_cores[0])?;
    let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let running = arguments.socket.zip(arguments.volume);
    let outcome = run(Request { name, job, testbed, running, compare, findings }, machine)?;
    let json = serde_json::to_string_pretty(&outcome)?;
    if let Some(folder) = arguments.report {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (ending, text) in [("json", &json), ("html", &page::html(&outcome)?)] {
            let path = folder.join(format!("{}-{}.{ending}", outcome.job, outcome.kind));
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    if arguments.json {
        println!("{json}")
    } else {
        print!("{}", table::text(&outcome))
    }
    Ok(())
}

fn testbed_of(file: Option<&Path>) -> anyhow::Result<Testbed> {
    let Some(file) = file else { return Ok(Testbed::default()) };
    Testbed::parse(&text_of(file)?).with_context(|| file.display().to_string())
}

fn print_figures(
    lines: &[Line],
    mut testbed: Testbed,
    cores: Vec<usize>,
    span: u64,
    repeats: u32,
    json: bool,
) -> anyhow::Result<()> {
    testbed.settle(&cores);
    let machine = Machine::inspect(cores, testbed.client_cores[0], testbed.reactor_cores[0]);
    for finding in machine.findings(testbed.client_cores[0], testbed.reactor_cores[0]) {
        eprintln!("preflight: {finding}");
    }
    pin(testbed.client_cores[0])?;
    let place = Place { testbed, machine, span, repeats };
    let lines = if lines.is_empty() { Line::value_variants() } else { lines };
    let mut all = Vec::new();
    for &line in lines {
        let figures = measure(line, &place).with_context(|| format!("{line:?}"))?;
        if !json {
            print!("{}", text(&figures));
        }
        all.extend(figures);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(())
}

fn text_of(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn pin(core: usize) -> anyhow::Result<()> {
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    anyhow::ensure!(pinned, "core {core} cannot be used: see `taskset -p $$` for those that can");
    Ok(())
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", report::text(report));
    }
    Ok(())
}

/// Errors in one line: whoever started it says where they come from.
fn client(errand: &str) -> anyhow::Result<ExitCode> {
    match crew::serve(errand) {
        Ok(told) => println!("{told}"),
        Err(error) => {
            eprintln!("{error:#}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn floor_server(core: usize, span_bytes: u64, parent: u32) -> anyhow::Result<()> {
    pin(core)?;
    let file = rustix::io::dup(std::io::stdin())?;
    let shared = Shared::open(file).context("the floor's server is started by `floor` and `bench` only")?;
    let mut span = Span::new(span_bytes).with_context(|| format!("a span of {span_bytes} bytes"))?;
    serve(&shared, &mut span, || std::os::unix::process::parent_id() != parent);
    Ok(())
}
