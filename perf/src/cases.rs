//! What is measured, and the form of the results: one report type for the terminal and for JSON.

use serde::Serialize;

use crate::floor::Pages;
use crate::load::{Operation, Round};
use crate::machine::{During, Machine};
use crate::statistics::Repeats;

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Case {
    /// What all requests do.
    pub operation: Operation,
    /// Requests in flight.
    pub depth: u32,
}

/// Latency and throughput, both directions.
pub const CASES: [Case; 4] = [
    Case { operation: Operation::Write, depth: 1 },
    Case { operation: Operation::Write, depth: 32 },
    Case { operation: Operation::Read, depth: 1 },
    Case { operation: Operation::Read, depth: 32 },
];

/// The highest of the cases' depths.
pub const DEPTH_MAX: u32 = 32;

/// What the rounds of one case showed.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Requests a second.
    pub rate_per_s: Repeats,
    /// Median time of a request in ns, with touching its payload; of each round.
    pub p50_ns: Repeats,
    /// The same, 99th percentile.
    pub p99_ns: Repeats,
}

impl Figures {
    /// # Panics
    /// If there are no rounds.
    #[must_use]
    pub fn new(rounds: &[Round]) -> Self {
        let all = |figure: fn(&Round) -> f64| Repeats::new(rounds.iter().map(figure).collect());
        Self {
            rate_per_s: all(|round| round.rate_per_s),
            p50_ns: all(|round| round.p50_ns),
            p99_ns: all(|round| round.p99_ns),
        }
    }
}

/// A daemon beside the floor, each repeat with its neighbour in time.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// The daemon's rate over the floor's: 1 is the limit.
    pub rate_ratio: Repeats,
    /// The daemon's median time over the floor's: 1 is the limit.
    pub p50_ratio: Repeats,
    /// The daemon's own figures.
    pub daemon: Figures,
}

/// A case's results.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// Which.
    #[serde(flatten)]
    pub case: Case,
    /// Of a daemon; `None` if only the floor was measured.
    #[serde(flatten)]
    pub beside: Option<Beside>,
    /// The ideal ring.
    pub floor: Figures,
}

/// All cases over one span.
#[derive(Debug, Clone, Serialize)]
pub struct SpanReport {
    /// Requests are spread over so many bytes.
    pub span_bytes: u64,
    /// Whether it fits into the last-level cache: such figures are no figures of memory.
    pub hot_in_l3: bool,
    /// What the floor's span lies on.
    pub span_pages: Pages,
    /// A copy of 4 KiB into such a span by one process, in ns.
    pub copy_ns: Repeats,
    /// In the order of `CASES`.
    pub cases: Vec<CaseReport>,
}

/// How it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Of each round.
    pub seconds: f64,
    /// Rounds of each case.
    pub repeats: u32,
    /// Of offsets and payloads.
    pub seed: u64,
    /// Where the load generator is pinned.
    pub client_core: usize,
    /// Where the floor's other process is pinned; a daemon's reactor should be there, too.
    pub server_core: usize,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this form of JSON: 1.
    pub version: u32,
    /// "floor" or "bench".
    pub kind: &'static str,
    /// Of this program.
    pub program_version: &'static str,
    /// How it was measured.
    pub settings: Settings,
    /// Where it was measured.
    pub machine: Machine,
    /// What happened to the machine meanwhile.
    pub during: During,
    /// Why not to believe the figures, if anything speaks against them.
    pub findings: Vec<String>,
    /// What the floor's ring and payload windows lie on.
    pub shared_pages: Pages,
    /// A cache line's round trip between the two cores, in ns.
    pub ping_pong_ns: Repeats,
    /// Each span's results.
    pub spans: Vec<SpanReport>,
}
