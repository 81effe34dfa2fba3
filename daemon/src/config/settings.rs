//! The checked configuration: values in range, in the daemon's own units, that agree with each other.

use holdfast_engine::{FlushOnFailure, Mode};
use holdfast_policy::Rules;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything an operator can decide. Built by [`parse`](super::parse) and [`load`](super::load) only.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// The process.
    pub daemon: DaemonSettings,
    /// The cache's memory.
    pub arena: ArenaSettings,
    /// What bounds clients and reactors.
    pub limits: LimitSettings,
    /// Metrics and the page over TCP.
    pub http: HttpSettings,
    /// Who is told when something happens.
    pub events: EventSettings,
    /// The volumes, 1 to 256, in the order of the file; names and backings are unique.
    pub volumes: Vec<VolumeSettings>,
    /// Other doors than the rings, at most 16, in the order of the file.
    pub frontends: Vec<FrontendSettings>,
    /// What only tests want.
    pub debug: DebugSettings,
}

/// `[daemon]`: the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// One CPU for each reactor to be pinned to; empty: none is pinned. No CPU is named twice.
    pub cores: Vec<u32>,
    /// How many reactors there are, 1 to 64 (default 1, or one for each core named).
    pub reactors: u32,
    /// What a reactor does that has nothing to do (default adaptive).
    pub idle: Idle,
    /// The folder of the ledger (default `/var/lib/holdfast`).
    pub state_dir: PathBuf,
    /// The socket at which clients ask for rings (default `/run/holdfast/holdfast.sock`).
    pub socket: PathBuf,
    /// Its file mode (default 0660).
    pub socket_mode: u32,
    /// The socket at which operators ask and command (default `/run/holdfast/admin.sock`).
    pub admin_socket: PathBuf,
    /// Its file mode (default 0600).
    pub admin_socket_mode: u32,
    /// Its group (default: the daemon's own).
    pub admin_socket_gid: Option<u32>,
}

/// What a reactor does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Spins for a while, then sleeps until somebody wakes it: an idle daemon costs nothing, its first request a wake-up.
    Adaptive,
    /// Spins for ever: the least latency, one whole core each.
    Spin,
}

/// `[arena]`: the cache's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaSettings {
    /// The folder of the arena's files, on hugetlbfs or tmpfs (default `/dev/hugepages/holdfast`).
    pub path: PathBuf,
    /// Bytes of all files together, headers included: a multiple of 2 MiB, up to 8 TiB (default 1 GiB).
    pub size_bytes: u64,
    /// Bytes of a line: 4, 8 or 16 KiB (default 4 KiB).
    pub line_bytes: u32,
    /// Bytes of a stripe: a power of two, 1 MiB to 1 GiB (default 1 MiB).
    pub stripe_bytes: u64,
}

/// `[http]`: metrics and the page over TCP, beside the operators' socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where; on no port if none (default none). Loopback, unless `allow_remote`.
    pub listen: Option<SocketAddr>,
    /// Whether another address than loopback is meant (default false).
    pub allow_remote: bool,
    /// The file with the token that opens the page and what it shows; without one, only metrics are served (default
    /// none).
    pub token_file: Option<PathBuf>,
}

/// `[events]`: who is told when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// A program, by its absolute path, and its arguments; none if empty (default empty).
    pub exec: Vec<String>,
    /// Where each event is posted to (default none; never together with `exec`).
    pub webhook: Option<Webhook>,
    /// How long one attempt may take, in milliseconds (default 10,000).
    pub timeout_ms: u64,
    /// How often an event is posted until the webhook takes it, 1 to 10 (default 3).
    pub attempts: u32,
}

impl Default for EventSettings {
    fn default() -> EventSettings {
        EventSettings { exec: Vec::new(), webhook: None, timeout_ms: 10_000, attempts: 3 }
    }
}

/// The address of a webhook: `http://HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    uri: hyper::Uri,
}

impl Webhook {
    /// Reads one; `None` if it is not plain HTTP, or names no host, or has user names in it.
    pub fn parse(text: &str) -> Option<Webhook> {
        let uri: hyper::Uri = text.parse().ok()?;
        let plain = uri.scheme_str() == Some("http");
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let port = uri.authority().is_some_and(|authority| authority.port_u16() != Some(0));
        (plain && host && !user && port).then_some(Webhook { uri })
    }

    /// The host's name or address, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        self.uri.host().expect("checked by parse").trim_matches(['[', ']'])
    }

    /// The port, 80 if none is named.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(80)
    }

    /// What the `Host` header says.
    pub fn authority(&self) -> &str {
        self.uri.authority().expect("checked by parse").as_str()
    }

    /// The path and the query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl std::fmt::Display for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

/// `[limits]`: what bounds clients and reactors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Sessions at a time, 1 to 1024 (default 64).
    pub sessions_max: u32,
    /// The part of them that one user may have, in parts of 1000, 10 to 1000 (default 750). Root and the daemon's own user
    /// may have all.
    pub user_share: u16,
    /// Requests in flight on one ring of a session: a power of two, 8 to 4096 (default 256).
    pub queue_depth_max: u32,
    /// Bytes of one request: a multiple of 64 KiB, up to 1 MiB (default 1 MiB).
    pub request_bytes_max: u32,
    /// Bytes of a session's payload area: a multiple of 1 MiB, up to 1 GiB, at least one largest request for each reactor
    /// (default 16 MiB).
    pub session_bytes_max: u64,
    /// Requests accepted and not yet answered on one reactor, 16 to 65536 (default 4096).
    pub requests_max: u32,
    /// Device operations in flight on one reactor, 4 to 4096 (default 128).
    pub device_ops_max: u32,
    /// Threads that may carry out one volume's blocking I/O for one reactor, 1 to 4096 (default 128).
    pub io_workers_max: u32,
    /// The share of a reactor's slots, in parts of 1000, that data which is not clean can never take, 20 to 500
    /// (default 50).
    pub reserve: u16,
    /// Milliseconds after which unstable data is flushed without being asked, 10 to 60,000 (default 1000).
    pub flush_after_ms: u64,
}

/// `[debug]`: what only tests want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DebugSettings {
    /// Whether an operator may inject faults (default no).
    pub fault_injection: bool,
}

/// `[[volume]]`: one backing and what is promised on it.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeSettings {
    /// Its name: 1 to 64 characters of `a-z 0-9 . _ -`, the first a letter or digit; unique.
    pub name: String,
    /// What stores it.
    pub backing: Backing,
    /// When a write is acknowledged (default write-back).
    pub mode: Mode,
    /// Bytes of all reactors together that may hold data which is not on stable media; a multiple of line times
    /// reactors (default: an equal share of what explicit budgets leave, at most half of the cache).
    pub budget_bytes: u64,
    /// What a flush does that cannot succeed now (default report).
    pub flush_on_failure: FlushOnFailure,
    /// Flushes of one session that may be parked by a stall, 0 to 1024 (default 16).
    pub parked_flushes_max: u32,
    /// Milliseconds after which a device operation counts as failing, 100 to 3,600,000 (default 30,000).
    pub io_timeout_ms: u64,
    /// Share of the budget in parts of 1000 above which write-back begins by itself, 0 to 1000 (default 100).
    pub write_back_from: u16,
    /// Milliseconds that dirty data may wait for write-back, 1 to 3,600,000 (default 1000).
    pub write_back_after_ms: u64,
    /// Who may open it.
    pub clients: Clients,
    /// Whether writes are refused (default no).
    pub read_only: bool,
    /// What happens to failed data (default: hold until pressure, whatever the class).
    pub rules: Rules,
}

/// `[[frontend]]`: a door for others than clients of the rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontendSettings {
    /// For clients that speak NBD.
    Nbd(NbdSettings),
    /// For a virtual machine.
    Vhost(VhostSettings),
}

impl FrontendSettings {
    /// The volumes that it names; a door for NBD that names none serves all there are.
    pub fn volumes(&self) -> &[String] {
        match self {
            FrontendSettings::Nbd(nbd) => &nbd.volumes,
            FrontendSettings::Vhost(vhost) => std::slice::from_ref(&vhost.volume),
        }
    }

    /// Its Unix socket, if it has one.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            FrontendSettings::Nbd(NbdSettings { listen: Listen::Unix { path, .. }, .. }) => Some(path),
            FrontendSettings::Nbd(_) => None,
            FrontendSettings::Vhost(vhost) => Some(&vhost.socket),
        }
    }
}

/// `[[frontend]]` with `kind = "vhost-user-blk"`: a volume as a disk of one virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VhostSettings {
    /// The Unix socket on which it waits for the machine.
    pub socket: PathBuf,
    /// Its file mode (default 0660).
    pub socket_mode: u32,
    /// The volume, by name.
    pub volume: String,
    /// Queues that the machine may use, 1 to 64 (default 1).
    pub queues: u16,
    /// Whether writes are refused (default no).
    pub read_only: bool,
}

/// `[[frontend]]` with `kind = "nbd"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NbdSettings {
    /// Where it listens; no two doors at the same place.
    pub listen: Listen,
    /// The volumes that it serves, by name; empty: all.
    pub volumes: Vec<String>,
    /// Connections at a time, 1 to 1024 (default 16). Each is a session, too.
    pub connections_max: u32,
    /// Whether writes are refused on all its volumes (default no).
    pub read_only: bool,
}

/// Where a frontend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On a Unix socket: who may connect is a matter of its mode.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its file mode (default 0660).
        mode: u32,
    },
    /// On a TCP port.
    Tcp {
        /// Address and port.
        address: std::net::SocketAddr,
        /// Networks whose hosts may connect (default the loopback ones).
        allow: Vec<ipnet::IpNet>,
    },
}

/// What stores a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A block device.
    Block {
        /// Its node.
        path: PathBuf,
    },
    /// A regular file.
    File {
        /// The file.
        path: PathBuf,
        /// Its size in bytes, a multiple of 4096; `None`: as it is found. Never `None` if it is to be created.
        size_bytes: Option<u64>,
        /// Whether it is created, sparse and at full size, if it is not there (default no).
        create: bool,
        /// Bytes that may be allocated before a write is answered with ENOSPC, a multiple of 4096; `None`: no limit of
        /// ours.
        thin_limit_bytes: Option<u64>,
        /// Whether a file that cannot be written past the page cache is accepted (default no).
        buffered: bool,
    },
}

impl Backing {
    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Backing::Block { path } | Backing::File { path, .. } => path,
        }
    }

    /// The same at another place.
    pub fn moved_to(mut self, place: PathBuf) -> Backing {
        let (Backing::Block { path } | Backing::File { path, .. }) = &mut self;
        *path = place;
        self
    }
}

/// Who may open a volume. Root and the daemon's own user always may.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Clients {
    /// Users that may, besides (default none).
    pub uids: Vec<u32>,
    /// Groups that may, besides (default none): the group that a process connects with, not its supplementary ones.
    pub gids: Vec<u32>,
}

impl Clients {
    /// Whether a process with these credentials may open the volume of a daemon that runs as `daemon_uid`.
    pub fn admit(&self, uid: u32, gid: u32, daemon_uid: u32) -> bool {
        uid == 0 || uid == daemon_uid || self.uids.contains(&uid) || self.gids.contains(&gid)
    }
}
