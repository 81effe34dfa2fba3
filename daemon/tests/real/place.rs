//! Where a daemon of the tests lives, and what it is told: directories, and a configuration made of words.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
/// Bytes of a cache line.
pub(crate) const LINE: u64 = 4096;
/// Bytes that one reactor owns before the next one's turn.
pub(crate) const STRIPE: u64 = MIB;

/// Ports of this host that are free as far as anybody knows, none twice.
pub(crate) fn free_ports<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let held = [(); COUNT].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a port"));
    held.each_ref().map(|listener| listener.local_addr().expect("bound"))
}

/// A volume, as the configuration has it.
#[derive(Clone)]
pub(crate) struct Volume {
    name: &'static str,
    backing: String,
    policy: String,
    lines: String,
}

impl Volume {
    /// A sparse file of `bytes` that is made at start. It may go through the page cache where that is all there is.
    pub(crate) fn file(name: &'static str, path: &Path, bytes: u64) -> Volume {
        let path = path.display();
        Volume::over(
            name,
            format!(
                r#"{{ kind = "file", path = "{path}", size = {bytes}, create = true, buffered = true }}"#
            ),
        )
    }

    /// A file that is there, and is not a page of anybody's cache.
    pub(crate) fn existing(name: &'static str, path: &Path) -> Volume {
        Volume::over(name, format!(r#"{{ kind = "file", path = "{}" }}"#, path.display()))
    }

    /// A block device.
    pub(crate) fn block(name: &'static str, path: &Path) -> Volume {
        Volume::over(name, format!(r#"{{ kind = "block", path = "{}" }}"#, path.display()))
    }

    /// A backing as the configuration writes it.
    pub(crate) fn over(name: &'static str, backing: String) -> Volume {
        let policy = r#"{ kind = "hold-forever", stall_timeout = "1s" }"#.to_owned();
        Volume { name, backing, policy, lines: String::new() }
    }

    /// What happens to data of any class that was refused.
    pub(crate) fn policy(mut self, policy: &str) -> Volume {
        policy.clone_into(&mut self.policy);
        self
    }

    /// One more key.
    pub(crate) fn with(mut self, line: &str) -> Volume {
        self.lines += line;
        self.lines += "\n";
        self
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Volume { name, backing, policy, lines } = self;
        write!(
            f,
            "[[volume]]\nname = \"{name}\"\nbacking = {backing}\n{lines}[[volume.on_failure]]\nclass = \"any\"\n\
             policy = {policy}\nretry = {{ first = \"50ms\", max = \"400ms\" }}\n"
        )
    }
}

/// Directories of one daemon, gone when dropped. A daemon can be started in it again and again.
pub(crate) struct Place {
    /// On a disk.
    pub(crate) disk: TempDir,
    memory: TempDir,
    config: String,
}

impl Place {
    /// With an arena of 32 MiB in two reactors.
    pub(crate) fn new() -> Place {
        let build = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"));
        let disk = build.or_else(|_| TempDir::new_in("/var/tmp")).expect("there is a disk to write to");
        let memory = TempDir::new_in("/dev/shm").expect("/dev/shm is writable");
        let (here, there) = (disk.path().display(), memory.path().display());
        // Sockets have short names only, and those of a build can be long.
        let config = format!(
            "[daemon]\nreactors = 2\nstate_dir = \"{here}/state\"\nsocket = \"{there}/clients\"\n\
             admin_socket = \"{there}/admin\"\n[arena]\npath = \"{there}/arena\"\nsize = \"32MiB\"\n\
             [limits]\nrequest_bytes_max = \"128KiB\"\nsession_bytes_max = \"2MiB\"\nsessions_max = 32\n\
             [debug]\nfault_injection = true\n"
        );
        Place { disk, memory, config }
    }

    /// With these volumes.
    pub(crate) fn serving(volumes: &[Volume]) -> Place {
        let mut place = Place::new();
        place.add(volumes);
        place
    }

    pub(crate) fn add(&mut self, volumes: &[Volume]) {
        for volume in volumes {
            self.config += &volume.to_string();
        }
    }

    /// Another value than the usual one.
    pub(crate) fn change(&mut self, usual: &str, wanted: &str) {
        assert!(self.config.contains(usual));
        self.config = self.config.replace(usual, wanted);
    }

    /// Nothing is tried again by a timer: what has failed stays as it is while a test looks at it. After the volumes.
    pub(crate) fn retry_by_hand(&mut self) {
        self.change(r#"first = "50ms", max = "400ms""#, r#"first = "1h", max = "1h""#);
    }

    /// A file on the disk.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    pub(crate) fn clients(&self) -> PathBuf {
        self.memory.path().join("clients")
    }

    pub(crate) fn admin(&self) -> PathBuf {
        self.memory.path().join("admin")
    }

    /// A door for NBD, with more `lines` of its table. Only once, after the volumes.
    pub(crate) fn open_nbd(&mut self, lines: &str) {
        let socket = self.nbd().display().to_string();
        self.config += &format!("[[frontend]]\nkind = \"nbd\"\nsocket = \"{socket}\"\n{lines}\n");
    }

    /// The same at a port. Any number of them.
    pub(crate) fn open_nbd_at(&mut self, address: SocketAddr, lines: &str) {
        self.config += &format!("[[frontend]]\nkind = \"nbd\"\nlisten = \"{address}\"\n{lines}\n");
    }

    pub(crate) fn nbd(&self) -> PathBuf {
        self.memory.path().join("nbd")
    }

    /// A door for a virtual machine, with more `lines` of its table. Only once, after the volumes.
    pub(crate) fn open_vhost(&mut self, volume: &str, lines: &str) {
        let socket = self.vhost().display().to_string();
        self.config += &format!(
            "[[frontend]]\nkind = \"vhost-user-blk\"\nsocket = \"{socket}\"\nvolume = \"{volume}\"\n{lines}\n"
        );
    }

    pub(crate) fn vhost(&self) -> PathBuf {
        self.memory.path().join("vhost")
    }

    pub(crate) fn arena(&self) -> PathBuf {
        self.memory.path().join("arena")
    }

    /// Whether an arena of an ended daemon is still there.
    pub(crate) fn has_arena(&self) -> bool {
        self.arena().join("superblock").exists()
    }

    /// Writes the configuration down.
    pub(crate) fn configure(&self) -> PathBuf {
        let path = self.file("holdfast.toml");
        std::fs::write(&path, &self.config).expect("a configuration");
        path
    }

    /// Lets another user use all of it.
    pub(crate) fn give_to(&self, uid: u32) {
        self.configure();
        for path in [self.disk.path(), self.memory.path(), &self.file("holdfast.toml")] {
            std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("root may");
        }
    }
}
