//! What users would put between a program or a virtual machine and a file instead: NBD and vhost-user-blk servers, where they
//! are installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::affinity::spawn_anywhere;
use crate::outcome::Contender;
use crate::testbed::Testbed;

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) socket: PathBuf,
}

/// Their program, and the package that has it in Debian.
fn program(who: Contender) -> Option<(&'static str, &'static str)> {
    match who {
        Contender::Nbdkit => Some(("nbdkit", "nbdkit")),
        Contender::QemuStorageDaemon | Contender::QemuStorageDaemonVhost => {
            Some(("qemu-storage-daemon", "qemu-system-common"))
        }
        _ => None,
    }
}

/// Why a peer cannot stand beside Holdfast here.
pub(crate) fn missing(who: Contender) -> Option<String> {
    let (name, package) = program(who)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    (!found).then(|| format!("{} is left out: there is no {name} here (in Debian: {package})", who.name()))
}

impl Peer {
    /// Serves a file under the name "" on a socket beside it.
    ///
    /// # Errors
    /// If it does not start, or does not listen in time.
    pub(crate) fn start(who: Contender, file: &Path, testbed: &Testbed) -> anyhow::Result<Self> {
        let (name, _) = program(who).with_context(|| format!("{} is no server", who.name()))?;
        let socket = file.with_extension("sock");
        let mut command = Command::new(name);
        command.args(arguments(who, file, &socket));
        let log = file.with_extension("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
        let child = spawn_anywhere(&mut command, testbed).with_context(|| format!("starting {name}"))?;
        let mut peer = Self { child, socket };
        let deadline = Instant::now() + START_MAX;
        while std::os::unix::net::UnixStream::connect(&peer.socket).is_err() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = peer.child.try_wait()? {
                anyhow::bail!("{name} ended with {status} and said:\n{}", said());
            }
            ensure!(Instant::now() < deadline, "{name} did not listen within 20 s; it said:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }
}

/// Their own defaults, but for what names the file: nbdkit's cache filter writes back on a flush, and
/// qemu-storage-daemon goes through the page cache.
fn arguments(who: Contender, file: &Path, socket: &Path) -> Vec<String> {
    let (file, socket) = (file.display(), socket.display());
    if who == Contender::Nbdkit {
        let words = ["--foreground", "--exit-with-parent", "--filter=cache", "file"];
        let mut all: Vec<String> = words.map(String::from).to_vec();
        all.extend([format!("file={file}"), "cache=writeback".into()]);
        all.extend([format!("--unix={socket}")]);
        return all;
    }
    let mut all = vec!["--blockdev".into(), format!("driver=file,node-name=file,filename={file}")];
    all.extend(if who == Contender::QemuStorageDaemon {
        vec![
            "--nbd-server".into(),
            format!("addr.type=unix,addr.path={socket},max-connections=100"),
            "--export".into(),
            "type=nbd,id=export,node-name=file,name=,writable=on".into(),
        ]
    } else {
        let words = "type=vhost-user-blk,id=export,node-name=file,writable=on";
        vec!["--export".into(), format!("{words},addr.type=unix,addr.path={socket}")]
    });
    all
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its file goes, too. Fails only if it ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
