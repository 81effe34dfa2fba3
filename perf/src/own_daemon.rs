//! A daemon of the job's own: `holdfastd` from beside this program, with files that go when it goes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use holdfast_ringbuf::client::{Client, Options};
use tempfile::{Builder, TempDir};

use crate::affinity::spawn_anywhere;
use crate::files::allocate;
use crate::job::Job;
use crate::testbed::{Idle, Testbed};

/// How long its start may take.
const START_MAX: Duration = Duration::from_secs(60);
/// What its only volume is called.
pub const VOLUME: &str = "perf";

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct OwnDaemon {
    child: Child,
    /// Where clients connect.
    pub socket: PathBuf,
    /// Where NBD clients do.
    pub nbd: PathBuf,
    /// Where the one driver of its disk does.
    pub vhost: PathBuf,
    /// Where operators do.
    pub admin: PathBuf,
    /// Its configuration, as it was told.
    pub config: String,
    log: PathBuf,
    testbed: Testbed,
    folder: TempDir,
    _arena: TempDir,
}

impl OwnDaemon {
    /// Starts one with a volume that holds the job's span.
    ///
    /// # Errors
    /// If the program is not there, refuses its configuration, or takes too long.
    pub fn start(job: &Job, testbed: &Testbed, huge_pages_free: u64) -> anyhow::Result<Self> {
        Self::start_with(job, testbed, huge_pages_free, job.trouble.map_or("", |trouble| trouble.shares().0))
    }

    /// The same; of its volume, these lines of the configuration, too.
    pub(crate) fn start_with(
        job: &Job,
        testbed: &Testbed,
        huge_pages_free: u64,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let cache = job.cache.unwrap_or(testbed.cache);
        let place = |parent: &Path| {
            let folder = Builder::new().prefix("holdfast-perf-").tempdir_in(parent);
            folder.with_context(|| format!("a folder in {}", parent.display()))
        };
        let folder = place(&testbed.directory)?;
        let arena = place(testbed.arena(cache, huge_pages_free))?;
        let backing = backing(job, testbed, folder.path())?;
        let mut config = configuration(job, testbed, folder.path(), arena.path(), cache, &backing);
        config += settings;
        config += &beside(job, cache, folder.path())?;
        let nbd = folder.path().join("nbd.sock");
        config +=
            &format!("[[frontend]]\nkind = \"nbd\"\nsocket = {}\nconnections_max = 100\n", quoted(&nbd));
        let vhost = folder.path().join("vhost.sock");
        config += &format!(
            "[[frontend]]\nkind = \"vhost-user-blk\"\nsocket = {}\nvolume = \"{VOLUME}\"\n",
            quoted(&vhost)
        );
        std::fs::write(folder.path().join("holdfast.toml"), &config)?;
        let log = folder.path().join("log");
        let child = spawn(folder.path(), &log, testbed)?;
        let socket = folder.path().join("clients.sock");
        let admin = folder.path().join("admin.sock");
        let mut daemon = Self {
            child,
            socket,
            nbd,
            vhost,
            admin,
            config,
            log,
            testbed: testbed.clone(),
            folder,
            _arena: arena,
        };
        daemon.await_ready()?;
        Ok(daemon)
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        // Fails only if it ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the next one with the arena of the one that was killed, and returns when a client can connect.
    ///
    /// # Errors
    /// As `start`.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(self.folder.path(), &self.log, &self.testbed)?;
        self.await_ready()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let error = match Client::connect(&self.socket, VOLUME, Options::default()) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let ended = self.child.try_wait()?;
            let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(status) = ended {
                anyhow::bail!("the daemon ended with {status} and said:\n{}", said());
            }
            ensure!(Instant::now() < deadline, "no daemon within 60 s: {error}; it said:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        // Nobody wants its data: its files go with it.
        self.kill();
    }
}

fn spawn(folder: &Path, log: &Path, testbed: &Testbed) -> anyhow::Result<Child> {
    let program = program()?;
    let log = File::options().create(true).append(true).open(log)?;
    let mut serve = Command::new(&program);
    serve.args(["serve", "--config"]).arg(folder.join("holdfast.toml"));
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    spawn_anywhere(&mut serve, testbed).with_context(|| format!("starting {}", program.display()))
}

/// `holdfastd` beside this program, so that both are of one build.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("holdfastd");
    ensure!(
        program.is_file(),
        "there is no {}: build it with `cargo build --release -p holdfast-daemon`, or use a running daemon with --socket",
        program.display(),
    );
    Ok(program)
}

fn backing(job: &Job, testbed: &Testbed, folder: &Path) -> anyhow::Result<String> {
    if let Some(device) = &testbed.device {
        return Ok(format!("{{ kind = \"block\", path = {} }}", quoted(device)));
    }
    let path = folder.join("volume");
    // Some room behind the span, and allocated: the first write of a block shall cost what later ones do.
    allocate(&path, job.span.next_multiple_of(1 << 20))
        .with_context(|| format!("{} bytes in {}", job.span, folder.display()))?;
    Ok(format!("{{ kind = \"file\", path = {} }}", quoted(&path)))
}

pub(crate) fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

/// Files of the volumes that a job's trouble needs, and their part of the configuration.
fn beside(job: &Job, cache: u64, folder: &Path) -> anyhow::Result<String> {
    let Some(trouble) = job.trouble else { return Ok(String::new()) };
    let mut text = "[debug]\nfault_injection = true\n".to_owned();
    for volume in trouble.beside(job, cache) {
        let path = folder.join(volume.name);
        allocate(&path, volume.bytes)
            .with_context(|| format!("{} bytes in {}", volume.bytes, folder.display()))?;
        let (name, path, settings) = (volume.name, quoted(&path), volume.settings);
        text += &format!(
            "[[volume]]\nname = \"{name}\"\nbacking = {{ kind = \"file\", path = {path} }}\n{settings}"
        );
    }
    Ok(text)
}

fn configuration(
    job: &Job,
    testbed: &Testbed,
    folder: &Path,
    arena: &Path,
    cache: u64,
    backing: &str,
) -> String {
    let idle = if testbed.idle == Idle::Spin { "spin" } else { "adaptive" };
    let session = job.cases.iter().map(|case| u64::from(case.depth) * case.block).max().unwrap_or(0);
    // At least what the daemon's default is, which has room for a largest request on each of 16 reactors.
    let session = session.next_multiple_of(1 << 20).max(16 << 20);
    let file = |name: &str| quoted(&folder.join(name));
    let reserve = job.trouble.map_or("", |trouble| trouble.shares().1);
    format!(
        "[daemon]\ncores = {cores:?}\nidle = \"{idle}\"\nstate_dir = {state}\nsocket = {socket}\nadmin_socket = {admin}\n\
         [arena]\npath = {arena}\nsize = {cache}\n\
         [limits]\nsession_bytes_max = {session}\nsessions_max = 300\n{reserve}\
         [[volume]]\nname = \"{VOLUME}\"\nbacking = {backing}\n",
        cores = testbed.reactor_cores,
        state = file("state"),
        socket = file("clients.sock"),
        admin = file("admin.sock"),
        arena = quoted(arena),
    )
}
