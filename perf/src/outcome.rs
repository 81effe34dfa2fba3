//! A job's report: one form for the terminal, for JSON and for whoever compares two of them.

use serde::{Deserialize, Serialize};

use crate::client::Tally;
use crate::crew::{Heard, rate};
use crate::job::{Case, Job};
use crate::machine::{During, Machine};
use crate::statistics::Repeats;
use crate::testbed::Testbed;
use crate::trouble::Mark;
use crate::wanted::Verdict;

/// Who carries requests out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The daemon.
    Holdfast,
    /// An ideal ring to another process that only copies.
    Floor,
    /// `pwrite` and `pread`, one process for each client.
    PageCache,
    /// O_DIRECT through io_uring.
    Direct,
    /// The daemon, without the job's trouble.
    Undisturbed,
    /// The daemon through its NBD door, by the same client as the other NBD servers.
    HoldfastNbd,
    /// nbdkit's file plugin under its cache filter, by NBD.
    Nbdkit,
    /// qemu-storage-daemon over a file in the page cache, by NBD.
    QemuStorageDaemon,
    /// The daemon through its vhost-user-blk door, by the same driver as the other such server.
    HoldfastVhost,
    /// qemu-storage-daemon over a file in the page cache, by vhost-user-blk.
    QemuStorageDaemonVhost,
}

/// Other servers, and Holdfast's door that speaks as each does.
pub(crate) const PEERS: [(Contender, Contender); 3] = [
    (Contender::Nbdkit, Contender::HoldfastNbd),
    (Contender::QemuStorageDaemon, Contender::HoldfastNbd),
    (Contender::QemuStorageDaemonVhost, Contender::HoldfastVhost),
];

impl Contender {
    /// For tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Holdfast => "holdfast",
            Self::Floor => "floor",
            Self::PageCache => "page cache",
            Self::Direct => "O_DIRECT",
            Self::Undisturbed => "undisturbed",
            Self::HoldfastNbd => "holdfast, NBD",
            Self::Nbdkit => "nbdkit cache, NBD",
            Self::QemuStorageDaemon => "qemu-storage-daemon, NBD",
            Self::HoldfastVhost => "holdfast, vhost-user",
            Self::QemuStorageDaemonVhost => "qemu-storage-daemon, vhost-user",
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of this form of JSON: 2.
    pub version: u32,
    /// "run" or "compare".
    pub kind: String,
    /// The file's name without its ending.
    pub job: String,
    /// What it asks.
    pub question: String,
    /// The commit that this program was built from; "unknown" outside of a repository.
    pub revision: String,
    /// Of this program.
    pub program_version: String,
    /// As it was read, with defaults.
    pub settings: Job,
    /// As it was read, with what was found for what was left out.
    pub testbed: Testbed,
    /// What the daemon was told; `None` if it ran before.
    pub daemon_config: Option<String>,
    /// Where it was measured.
    pub machine: Machine,
    /// What happened to the machine meanwhile.
    pub during: During,
    /// Why not to believe the figures, if anything speaks against them.
    pub findings: Vec<String>,
    /// A cache line's round trip between the first client's core and the first reactor's, in ns.
    pub ping_pong_ns: Option<Repeats>,
    /// In the job's order.
    pub cases: Vec<CaseOutcome>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseOutcome {
    /// Which.
    pub case: Case,
    /// Holdfast over each other contender, repeat by repeat.
    pub ratios: Vec<Ratio>,
    /// What of that the job wants, and whether it is so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
    /// Holdfast first.
    pub contenders: Vec<ContenderOutcome>,
}

/// Holdfast over another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Holdfast's rings, or its NBD or vhost-user-blk door.
    pub of: Contender,
    /// The other one.
    pub to: Contender,
    /// Of requests a second: more is better for Holdfast.
    pub rate: Repeats,
    /// Of median times: less is better for Holdfast.
    pub p50: Repeats,
    /// Of 99th percentiles.
    pub p99: Repeats,
}

/// All rounds of one contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContenderOutcome {
    /// Who.
    pub contender: Contender,
    /// Requests of all clients a second.
    pub rate_per_s: Repeats,
    /// Median time in ns.
    pub p50_ns: Repeats,
    /// 99th percentile.
    pub p99_ns: Repeats,
    /// Every repeat.
    pub rounds: Vec<RoundOutcome>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundOutcome {
    /// Done in the time.
    pub requests: u64,
    /// Of all clients.
    pub rate_per_s: f64,
    /// Of all clients.
    pub bytes_per_s: f64,
    /// Mean time in ns.
    pub mean_ns: f64,
    /// Percentiles of times in ns.
    pub p50_ns: u64,
    /// 90%.
    pub p90_ns: u64,
    /// 99%.
    pub p99_ns: u64,
    /// 99.9%.
    pub p99_9_ns: u64,
    /// 99.99%.
    pub p99_99_ns: u64,
    /// The longest that was timed.
    pub max_ns: u64,
    /// Requests that were timed: with fewer than 100,000, the last percentile says little.
    pub timed: u64,
    /// Arrivals of an open loop that were given up.
    pub unserved: u64,
    /// Time in s since the beginning, and requests a second since the row before.
    pub timeline: Vec<(f64, f64)>,
    /// What happened meanwhile, in a job with a trouble.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Bytes a second that devices were given, in a job with a trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_back_bytes_per_s: Option<f64>,
}

impl RoundOutcome {
    /// All clients together.
    ///
    /// # Panics
    /// If there is no client.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "figures, not counts")]
    pub fn new(heard: &Heard, block: u64) -> Self {
        let mut times = heard.tallies[0].latencies.clone();
        for tally in &heard.tallies[1..] {
            times.add(&tally.latencies).expect("histograms of the same form");
        }
        let rate_per_s: f64 = heard.tallies.iter().map(Tally::rate_per_s).sum();
        let at = |share| times.value_at_quantile(share);
        Self {
            requests: heard.tallies.iter().map(|tally| tally.completed).sum(),
            rate_per_s,
            bytes_per_s: rate_per_s * block as f64,
            mean_ns: times.mean(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            p99_99_ns: at(0.9999),
            max_ns: times.max(),
            timed: times.len(),
            unserved: heard.tallies.iter().map(|tally| tally.unserved).sum(),
            timeline: heard
                .timeline
                .windows(2)
                .map(|looks| (looks[1].0.as_secs_f64(), rate(looks[0], looks[1])))
                .collect(),
            marks: Vec::new(),
            write_back_bytes_per_s: None,
        }
    }
}

impl ContenderOutcome {
    /// # Panics
    /// If there are no rounds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ns of at most a minute")]
    pub fn new(contender: Contender, rounds: Vec<RoundOutcome>) -> Self {
        let all = |figure: fn(&RoundOutcome) -> f64| Repeats::new(rounds.iter().map(figure).collect());
        Self {
            contender,
            rate_per_s: all(|round| round.rate_per_s),
            p50_ns: all(|round| round.p50_ns as f64),
            p99_ns: all(|round| round.p99_ns as f64),
            rounds,
        }
    }
}

impl ContenderOutcome {
    /// What devices were given in each round; `None` where nobody looked.
    #[must_use]
    pub fn write_back_bytes_per_s(&self) -> Option<Repeats> {
        self.rounds.iter().map(|round| round.write_back_bytes_per_s).collect::<Option<_>>().map(Repeats::new)
    }
}

impl CaseOutcome {
    /// With the ratios of the first contender to all others.
    ///
    /// # Panics
    /// If there are no contenders, or they have not equally many rounds.
    #[must_use]
    pub fn new(case: Case, contenders: Vec<ContenderOutcome>) -> Self {
        let mut ratios: Vec<_> = contenders[1..].iter().map(|other| over(&contenders[0], other)).collect();
        // Like with like: by the same protocol.
        let find = |who| contenders.iter().find(|one| one.contender == who);
        let pairs = PEERS.into_iter().filter_map(|(peer, door)| Some(over(find(door)?, find(peer)?)));
        ratios.extend(pairs);
        let verdicts = case.wanted.iter().flat_map(|wanted| wanted.judge(&ratios, &contenders)).collect();
        Self { case, ratios, verdicts, contenders }
    }
}

fn over(ours: &ContenderOutcome, other: &ContenderOutcome) -> Ratio {
    Ratio {
        of: ours.contender,
        to: other.contender,
        rate: ours.rate_per_s.ratio_to(&other.rate_per_s),
        p50: ours.p50_ns.ratio_to(&other.p50_ns),
        p99: ours.p99_ns.ratio_to(&other.p99_ns),
    }
}
