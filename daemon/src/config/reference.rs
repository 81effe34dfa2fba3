//! Every key there is, as data: tests hold it against what the readers ask for, against `configs/README.md` and
//! against `configs/default.toml`, each in both directions.

/// What an operator may want to know about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The key with its sections, without positions in lists: `volume.on_failure.class`.
    pub key: &'static str,
    /// What is written: `size`, `time`, `share`, `integer`, `boolean`, `path`, `mode`, `list of ..`, `table`, or the words
    /// that are possible.
    pub kind: &'static str,
    /// What it counts, `-` if it counts nothing.
    pub unit: &'static str,
    /// What holds if it is left out, as it would be written in TOML; `required` or `none` if nothing does.
    pub default: &'static str,
    /// What is possible.
    pub range: &'static str,
    /// What it does, and what it costs.
    pub meaning: &'static str,
}

impl KeyDoc {
    /// The key as a row of the table in `configs/README.md`.
    pub fn row(&self) -> String {
        let KeyDoc { key, kind, unit, default, range, meaning } = self;
        format!("| `{key}` | {kind} | {unit} | `{default}` | {range} | {meaning} |")
    }
}

/// Every key, in the order in which `configs/default.toml` has them.
pub fn reference() -> &'static [KeyDoc] {
    KEYS
}

macro_rules! keys {
    ($($key:literal $kind:literal $unit:literal $default:literal $range:literal $meaning:literal;)*) => {
        const KEYS: &[KeyDoc] = &[$(KeyDoc {
            key: $key, kind: $kind, unit: $unit, default: $default, range: $range, meaning: $meaning,
        }),*];
    };
}

keys! {
    "daemon" "table" "-" "{}" "-" "The process.";
    "daemon.cores" "list of integers" "CPU numbers" "[]" "0 to 8191, at most 64, none twice"
        "One reactor is pinned to each CPU named. Empty: reactors float, which costs latency whenever the scheduler moves one. A pinned CPU should have nothing else to do.";
    "daemon.reactors" "integer" "threads" "1" "1 to 64; the number of `cores` if any is named"
        "How many polling threads share volumes and memory. Each costs a core while it works. Its default with `cores` is one for each.";
    "daemon.idle" "`adaptive`, `spin`" "-" "\"adaptive\"" "-"
        "What a reactor does without work. `adaptive`: spins for a while, then sleeps; the first request after a pause costs a wake-up (tens of microseconds). `spin`: never sleeps; costs a whole core each, always.";
    "daemon.state_dir" "path" "-" "\"/var/lib/holdfast\"" "absolute"
        "The folder of the ledger: what failed and what was lost. Must survive a reboot. A few MiB.";
    "daemon.socket" "path" "-" "\"/run/holdfast/holdfast.sock\"" "absolute, at most 107 bytes"
        "The socket at which clients ask for their rings.";
    "daemon.socket_mode" "mode" "octal" "\"0660\"" "0000 to 0777"
        "Its file mode. Who passes it must still be among the volume's `clients`.";
    "daemon.admin_socket" "path" "-" "\"/run/holdfast/admin.sock\"" "absolute, at most 107 bytes, not `socket`"
        "The socket of `holdfastctl`. Who may write to it can look at everything; only root and the daemon's own user can change anything.";
    "daemon.admin_socket_mode" "mode" "octal" "\"0600\"" "0000 to 0777"
        "Its file mode: who may look.";
    "daemon.admin_socket_gid" "integer" "group" "none" "0 to 4294967294"
        "Its group: with mode 0660 its members may look. Left out, it is the daemon's own.";
    "arena" "table" "-" "{}" "-" "The cache's memory.";
    "arena.path" "path" "-" "\"/dev/hugepages/holdfast\"" "absolute, on hugetlbfs or tmpfs"
        "The folder of the arena's files, which outlive the daemon. On tmpfs it works without huge pages, slower, and memory may be swapped.";
    "arena.size" "size" "bytes" "\"1GiB\"" "a multiple of 2MiB, up to 8TiB"
        "Memory of the arena's files: as many huge pages must be free. Headers take 0.8% of it with lines of 4KiB; maps and indexes, another 0.5% at most, come on top. GiB counts in 1024s, GB in thousands (and is then rarely a multiple).";
    "arena.line" "size" "bytes" "\"4KiB\"" "4KiB, 8KiB, 16KiB"
        "The cache's unit. Larger lines cost less memory for headers and more for small random writes.";
    "arena.stripe" "size" "bytes" "\"1MiB\"" "a power of two, 1MiB to 1GiB"
        "Neighbouring stripes of a volume belong to different reactors. Larger stripes split fewer requests; smaller ones spread a hot spot better.";
    "limits" "table" "-" "{}" "-" "What bounds clients and reactors.";
    "limits.sessions_max" "integer" "sessions" "64" "1 to 1024"
        "Clients connected at a time. Each costs up to `session_bytes_max`, locked.";
    "limits.user_share" "share" "of `sessions_max`" "\"75%\"" "1% to 100%"
        "Of the sessions, and of the handshakes under way, what one user may have, so that nobody can lock the others out. Root and the daemon's own user, and with it NBD, may have all. A host whose clients are all of one user can say 100%.";
    "limits.queue_depth_max" "integer" "requests" "256" "a power of two, 8 to 4096"
        "Requests of one session in flight on one reactor. Each costs a descriptor of 64 bytes and a completion, locked.";
    "limits.request_bytes_max" "size" "bytes" "\"1MiB\"" "a multiple of 64KiB, up to 1MiB"
        "The largest read or write. Every budget and the reserve hold at least twice as much, on each reactor.";
    "limits.session_bytes_max" "size" "bytes" "\"16MiB\"" "a multiple of 1MiB, up to 1GiB, one largest request for each reactor"
        "Payload memory of one session.";
    "limits.requests_max" "integer" "requests" "4096" "16 to 65536"
        "Requests of all sessions that one reactor has accepted and not answered; more wait in their rings. Half of them are divided equally among the volumes, so that one that hangs cannot have them all. At least 2 for each volume.";
    "limits.device_ops_max" "integer" "operations" "128" "4 to 4096"
        "Device operations of one reactor in flight, divided equally among the volumes. More than the device's queue holds only adds latency. At least 4 for each volume.";
    "limits.io_workers_max" "integer" "threads" "128" "1 to 4096"
        "Threads that may carry out the blocking I/O of one volume for one reactor, off the reactors' cores, made as they are needed: flushes and discards everywhere, writes that allocate, everything on FUSE and NFS. Fewer than what is in flight there, and the rest waits for them.";
    "limits.reserve" "share" "of a reactor's lines" "\"5%\"" "2% to 50%"
        "Lines that data which is not on stable media can never take, so that reads, fills and overwrites of held data always proceed. Never less than the largest request twice.";
    "limits.flush_after" "time" "-" "\"1s\"" "10ms to 1m"
        "When data that was written and not flushed is flushed without being asked. Shorter costs device flushes, longer costs memory that cannot be reused.";
    "http" "table" "-" "{}" "-" "Metrics and the page over TCP, beside the operators' socket, which serves both, too.";
    "http.allow_remote" "boolean" "-" "false" "-"
        "Whether `listen` may be an address that other hosts reach. It is plain text, the token too: put a proxy with TLS before it.";
    "http.listen" "address" "-" "none" "`ADDRESS:PORT` in numbers; loopback, unless `allow_remote`"
        "Where `/metrics` is served over TCP, to whoever asks, and the page to who has the token. Left out: nowhere.";
    "http.token_file" "path" "-" "none" "absolute; mode 0600 or stricter, of the daemon's user or root; 16 to 512 letters"
        "The token that opens the page and its numbers on `listen`, and its retry button. Left out: only `/metrics` is served there.";
    "events" "table" "-" "{}" "-" "Who is told when something happens: a first failure, a loss, a heal, a budget at 80%, a volume drained.";
    "events.exec" "list of strings" "-" "[]" "at most 64; the first one absolute"
        "A program and its arguments, run without a shell for each event, which it finds as JSON on its standard input.";
    "events.webhook" "string" "-" "none" "`http://HOST[:PORT][/PATH]`; not with `exec`"
        "Where each event is posted to, as JSON.";
    "events.timeout" "time" "-" "\"10s\"" "100ms to 5m"
        "How long the program may run, or one attempt to post may take. Then it is killed, or given up. No cache work waits for it.";
    "events.attempts" "integer" "attempts" "3" "1 to 10"
        "How often an event is posted until the webhook answers with a 2xx. A program is run once.";
    "volume" "list of tables" "-" "required" "1 to 256"
        "One `[[volume]]` for each backing.";
    "volume.name" "string" "-" "required" "1 to 64 of `a-z 0-9 . _ -`, unique"
        "What clients and operators call it.";
    "volume.backing" "table" "-" "required" "-"
        "What stores the volume. No two volumes have the same.";
    "volume.backing.kind" "`block`, `file`" "-" "required" "-"
        "A block device or a regular file.";
    "volume.backing.path" "path" "-" "required" "absolute, unique"
        "The device's node or the file.";
    "volume.backing.size" "size" "bytes" "none" "a multiple of 4KiB, up to 1PiB"
        "Of a file: its size. Left out, it is as found; needed with `create`.";
    "volume.backing.create" "boolean" "-" "false" "-"
        "Of a file: whether it is created, sparse and at full size, if it is not there. A sparse file can run out of space at any write.";
    "volume.backing.thin_limit" "size" "bytes" "none" "a multiple of 4KiB, up to `size`"
        "Of a file: how much may be allocated. A write that would allocate more gets ENOSPC, an overwrite never; `holdfastctl volume grow-thin` raises it.";
    "volume.backing.buffered" "boolean" "-" "false" "-"
        "Of a file: accept one that cannot be written past the page cache (tmpfs, some FUSE). The page cache forgets failed writes, so this gives up what Holdfast is for: for tests.";
    "volume.mode" "`write-back`, `write-through`" "-" "\"write-back\"" "-"
        "When a write is acknowledged: when it is in the cache, or when the device has accepted it (device latency for every write).";
    "volume.budget" "share or size" "of all lines, or bytes" "none" "the largest request twice, to all but the reserve; all budgets together: all but the reserve"
        "Memory that data of this volume which is not on stable media may take, on all reactors together. Left out: an equal share of what explicit budgets leave, at most half of the cache. Bytes are rounded down to whole lines of each reactor.";
    "volume.flush_on_failure" "table, or `report`, `stall`" "-" "\"report\"" "-"
        "What a flush does that cannot succeed now.";
    "volume.flush_on_failure.kind" "`report`, `stall`" "-" "required" "-"
        "`report`: answers at once with the error. `stall`: waits for the cause to go away, as a VM that should pause would want it, and answers with the error after `timeout`.";
    "volume.flush_on_failure.timeout" "time" "-" "\"5m\"" "1s to 1day"
        "Of a stall: how long. Longer than the client's own time-out makes it believe that the disk hangs.";
    "volume.parked_flushes_max" "integer" "flushes" "16" "0 to 1024"
        "Flushes of one session that a stall may park; one more is answered at once.";
    "volume.io_timeout" "time" "-" "\"30s\"" "100ms to 1h"
        "After this a device operation counts as failing. It is still waited for and keeps its memory: the kernel cannot take it back.";
    "volume.write_back" "table" "-" "{}" "-"
        "When dirty data is written back without a flush.";
    "volume.write_back.from" "share" "of the budget" "\"10%\"" "0% to 100%"
        "Above this share of dirty data write-back begins: all of it spread over half a second at first (half of `after`, if that is less), faster the more there is, and as fast as the device goes from three quarters of the way to a full budget on. 0%: at once. Lower: steadier. Higher: more overwrites are absorbed, and more is at stake when the host dies.";
    "volume.write_back.after" "time" "-" "\"1s\"" "1ms to 1h"
        "Dirty data older than this is written back, spread over half of it, or half a second if that is less.";
    "volume.clients" "table" "-" "{}" "-"
        "Who may open the volume, besides root and the daemon's own user.";
    "volume.clients.uids" "list of integers" "user ids" "[]" "0 to 4294967294, at most 256"
        "Users that may.";
    "volume.clients.gids" "list of integers" "group ids" "[]" "0 to 4294967294, at most 256"
        "Groups that may: a process' own group, not its supplementary ones.";
    "volume.read_only" "boolean" "-" "false" "-"
        "Whether writes, write-zeroes and discards are refused.";
    "volume.on_failure" "list of tables" "-" "[]" "at most 4 that are ever used"
        "What happens to data that the disk refused. The first rule that names an error's class is the one for it; a class without a rule is held until pressure.";
    "volume.on_failure.class" "list of `transient`, `space`, `medium`, `gone`, or `any`" "-" "required" "-"
        "The errors it is for. `transient`: time-outs, lost paths. `space`: ENOSPC, EDQUOT. `medium`: these blocks cannot be written. `gone`: the device or the right to write is not there.";
    "volume.on_failure.policy" "table, or the word of its `kind`" "-" "required" "-"
        "What becomes of the data.";
    "volume.on_failure.policy.kind" "`evict-immediately`, `hold-until-pressure`, `hold-forever`" "-" "required" "-"
        "`evict-immediately`: given up once the error is for good, the loss recorded. `hold-until-pressure`: held until the budget runs short. `hold-forever`: never given up; when the budget is used up, writes get ENOSPC.";
    "volume.on_failure.policy.pressure" "share" "of the budget" "\"90%\"" "0.1% to 100%"
        "Of hold-until-pressure: data that is not clean, as a share of the budget, from which new writes wait.";
    "volume.on_failure.policy.stall_timeout" "time" "-" "\"30s\"" "0s to 1day"
        "Of the two that hold: how long a write waits for room before the oldest failure is given up (hold-until-pressure; where only flushes are refused, or the disk hangs, nothing is, and the write gets ENOSPC) or the write gets ENOSPC (hold-forever).";
    "volume.on_failure.retry" "table" "-" "{}" "-"
        "When failed data is tried again.";
    "volume.on_failure.retry.on" "list of `timer`, `flush`, `overwrite`" "-" "[\"timer\", \"flush\", \"overwrite\"]" "none twice; not empty with evict-immediately"
        "What may cause an attempt, besides an operator.";
    "volume.on_failure.retry.first" "time" "-" "\"100ms\"" "10ms to 1h"
        "The wait after the first failure, doubled with each, and the least distance of two attempts.";
    "volume.on_failure.retry.max" "time" "-" "\"30s\"" "10ms to 1day, not below `first`"
        "The longest wait. It is about how long a disk that healed goes unnoticed.";
    "frontend" "list of tables" "-" "[]" "at most 16"
        "Another door than the rings: one `[[frontend]]` for each place where the daemon listens.";
    "frontend.kind" "`nbd`, `vhost-user-blk`" "-" "required" "-"
        "`vhost-user-blk`: a volume as a disk of one virtual machine, whose requests the reactors take from its own memory. `nbd`: the network block device protocol, for QEMU, nbdkit, libnbd's tools and the kernels of other hosts. Each connection costs two threads, a session and 8 MiB of locked memory.";
    "frontend.socket" "path" "-" "none" "absolute, at most 107 bytes, no other door's"
        "A Unix socket to listen on. A virtual machine needs one of its own.";
    "frontend.socket_mode" "mode" "octal" "\"0660\"" "0000 to 0777"
        "Its file mode: who may open it may open every volume of the frontend, whatever the volume's `clients` say.";
    "frontend.listen" "address with port" "-" "none" "not another door's; beyond loopback only with `allow`"
        "Instead of `socket`: a TCP port. NBD knows no passwords and this daemon no TLS: beyond one host, use a network that is yours.";
    "frontend.allow" "list of networks" "-" "[\"127.0.0.0/8\", \"::1/128\"]" "1 to 64"
        "Of `listen`: hosts that may connect.";
    "frontend.volume" "string" "-" "none" "name of a volume"
        "Of `vhost-user-blk`, which needs it: the volume that is the machine's disk.";
    "frontend.queues" "integer" "queues" "1" "1 to 64"
        "Of `vhost-user-blk`: queues that the machine may use; each is polled by one reactor. QEMU's `num-queues` is not to be more.";
    "frontend.volumes" "list of strings" "-" "[]" "names of volumes"
        "Of `nbd`: which volumes it serves. Empty: all. The first is what a client gets that names none.";
    "frontend.connections_max" "integer" "connections" "16" "1 to 1024"
        "Of `nbd`: connections at a time; one more is refused with words. Each is one of `limits.sessions_max`, too.";
    "frontend.read_only" "boolean" "-" "false" "-"
        "Whether writes, discards and write-zeroes are refused on all its volumes.";
    "debug" "table" "-" "{}" "-" "What only tests want.";
    "debug.fault_injection" "boolean" "-" "false" "-"
        "Whether `holdfastctl fault` may make a volume's disk fail.";
}
