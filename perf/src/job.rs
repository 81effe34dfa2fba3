//! Jobs: one question a file, in TOML, opened by a comment that asks it.

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::arrivals::Gaps;
use crate::floor::ring::DEPTH_MAX;
use crate::places::Pattern;
use crate::trouble::Trouble;
use crate::wanted::Wanted;

/// A checked job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The comment at the head of the file, in one line.
    #[serde(skip)]
    pub question: String,
    /// Requests go to so many bytes from the beginning of the volume.
    #[serde(deserialize_with = "span")]
    pub span: u64,
    /// Cache of a daemon that is started for the job; the testbed's if it is left out.
    #[serde(default, deserialize_with = "cache", skip_serializing_if = "Option::is_none")]
    pub cache: Option<u64>,
    /// Length of each round.
    #[serde(default = "one_second", deserialize_with = "seconds")]
    pub seconds: f64,
    /// Rounds of each case.
    #[serde(default = "five", deserialize_with = "repeats")]
    pub repeats: u32,
    /// Of places, arrivals and payloads.
    #[serde(default = "one")]
    pub seed: u64,
    /// Whether every 4 KiB has a version, so that a lost overwrite is seen. Each client then has a part of the set of
    /// its own, and requests in flight never overlap.
    #[serde(default)]
    pub verify: bool,
    /// What happens beside the load, in every other round; with it, there is no floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Of the trouble "retry": extents that failed, each of one line.
    #[serde(default = "hundred_thousand", deserialize_with = "extents")]
    pub extents: u32,
    /// What is measured, one row of the table each.
    #[serde(rename = "case", deserialize_with = "cases")]
    pub cases: Vec<Case>,
}

/// One kind of load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Of its row.
    pub name: String,
    /// How many of a hundred requests are reads.
    #[serde(deserialize_with = "percent")]
    pub reads_percent: f64,
    /// Requests of each client in flight: always (closed loop), or at most (open loop).
    #[serde(default = "shallow", deserialize_with = "depth")]
    pub depth: u32,
    /// Bytes of each request.
    #[serde(default = "four_kib", deserialize_with = "block")]
    pub block: u64,
    /// "random", "sequential" or "zipf".
    #[serde(default)]
    pub pattern: PatternName,
    /// Of Zipf's distribution.
    #[serde(default = "usual_exponent", deserialize_with = "exponent")]
    pub exponent: f64,
    /// Sessions, each with a process of its own.
    #[serde(default = "single", deserialize_with = "clients")]
    pub clients: u32,
    /// Requests of all clients that arrive in a second; left out, the loop is closed.
    #[serde(default, deserialize_with = "rate", skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The same as a part of what Holdfast carries out of this case in a closed loop, which is measured first.
    #[serde(default, deserialize_with = "part", skip_serializing_if = "Option::is_none")]
    pub rate_of_peak: Option<f64>,
    /// How they arrive.
    #[serde(default = "poisson")]
    pub arrivals: Gaps,
    /// Bytes a second that the neighbour writes, in blocks of 64 KiB, in rounds with and without the trouble.
    #[serde(default, deserialize_with = "neighbour", skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<u64>,
    /// What its ratios should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<Wanted>,
}

/// A pattern without its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PatternName {
    /// Every block equally often.
    #[default]
    Random,
    /// In order.
    Sequential,
    /// Some more often than others.
    Zipf,
}

impl Case {
    /// Where requests go.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        match self.pattern {
            PatternName::Random => Pattern::Random,
            PatternName::Sequential => Pattern::Sequential,
            PatternName::Zipf => Pattern::Zipf(self.exponent),
        }
    }
}

/// Why a file is no job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// With line, column and key.
    #[error(transparent)]
    Form(#[from] toml::de::Error),
    /// Everything must say what it is for.
    #[error("line 1: a job begins with a comment that asks its question, as `# How fast is ...?`")]
    NoQuestion,
    /// A trouble that the cases do not fit.
    #[error("trouble: {0}")]
    Trouble(String),
    /// Keys that do not go together.
    #[error("case {case:?}: {what}")]
    Case {
        /// Its name.
        case: String,
        /// The two, and what would do.
        what: String,
    },
}

impl Job {
    /// Reads a job.
    ///
    /// # Errors
    /// As `JobError` says.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        let mut job: Self = toml::from_str(text)?;
        job.question = opening_comment(text);
        if job.question.is_empty() {
            return Err(JobError::NoQuestion);
        }
        for case in &job.cases {
            if let Some(what) = job.contradiction(case) {
                return Err(JobError::Case { case: case.name.clone(), what });
            }
        }
        match job.trouble {
            Some(trouble) => trouble.contradiction(&job).map_or(Ok(job), |what| Err(JobError::Trouble(what))),
            None if job.cases.iter().any(|case| case.neighbour.is_some()) => {
                Err(JobError::Trouble("there is none, and so no neighbour: leave `neighbour` out".into()))
            }
            None => Ok(job),
        }
    }

    fn contradiction(&self, case: &Case) -> Option<String> {
        let Case { block, clients, depth, .. } = *case;
        if self.cases.iter().filter(|other| other.name == case.name).count() > 1 {
            return Some("there are two of this name; rename one".into());
        }
        if self.verify && block < 4096 {
            return Some(format!(
                "verify versions 4096 bytes, block is {block}: choose one of 4096 and more"
            ));
        }
        if let Some(what) = case.wanted.iter().find_map(Wanted::contradiction) {
            return Some(what);
        }
        match (case.rate_of_peak, case.rate, self.trouble) {
            (Some(_), Some(_), _) => {
                return Some("rate and rate_of_peak are both the rate: leave one out".into());
            }
            (Some(_), _, Some(_)) => {
                return Some("rate_of_peak is for jobs without a trouble: give a rate".into());
            }
            _ => {}
        }
        // Twice the depth, so that a claim finds a free block soon.
        let parts =
            if self.verify || case.pattern == PatternName::Sequential { u64::from(clients) } else { 1 };
        let blocks = if self.verify { 2 * u64::from(depth) } else { 1 };
        let needed = parts * blocks * block.max(4096);
        (self.span < needed).then(|| format!("span is {} bytes, and {needed} are needed", self.span))
    }
}

/// The first comment's lines without their marks, joined.
pub(crate) fn opening_comment(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn one_second() -> f64 {
    1.0
}
fn five() -> u32 {
    5
}
fn one() -> u64 {
    1
}
fn hundred_thousand() -> u32 {
    100_000
}
fn single() -> u32 {
    1
}
fn shallow() -> u32 {
    1
}
fn four_kib() -> u64 {
    4096
}
fn usual_exponent() -> f64 {
    0.99
}
fn poisson() -> Gaps {
    Gaps::Poisson
}

/// A size as text or bytes; the error carries the key, and toml adds the line.
pub(crate) fn size<'de, D: Deserializer<'de>>(key: &str, from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size such as \"64MiB\", or bytes")]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(from)? {
        Size::Bytes(bytes) => Ok(bytes),
        Size::Text(text) => match text.parse::<ByteSize>() {
            Ok(bytes) => Ok(bytes.as_u64()),
            Err(error) => Err(D::Error::custom(format!("{key} = {text:?} is no size: {error}"))),
        },
    }
}

pub(crate) fn within<T: PartialOrd + std::fmt::Display, E: serde::de::Error>(
    key: &str,
    value: T,
    least: T,
    most: T,
) -> Result<T, E> {
    if value >= least && value <= most {
        return Ok(value);
    }
    Err(E::custom(format!("{key} = {value} is not between {least} and {most}")))
}

fn whole_blocks<'de, D: Deserializer<'de>>(key: &str, from: D) -> Result<u64, D::Error> {
    let bytes = within(key, size(key, from)?, 4096, 1 << 43)?;
    if bytes % 4096 == 0 {
        Ok(bytes)
    } else {
        Err(D::Error::custom(format!("{key} = {bytes} is not a multiple of 4096")))
    }
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    whole_blocks("span", from)
}

fn cache<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let bytes = size("cache", from)?;
    if bytes > 0 && bytes.is_multiple_of(2 << 20) {
        return Ok(Some(bytes));
    }
    Err(D::Error::custom(format!("cache = {bytes} is not a multiple of 2MiB")))
}

fn block<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let bytes = within("block", size("block", from)?, 512, 1 << 20)?;
    if bytes.is_power_of_two() {
        Ok(bytes)
    } else {
        Err(D::Error::custom(format!("block = {bytes} is not a power of two")))
    }
}

fn extents<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within("extents", u32::deserialize(from)?, 1, 100_000_000)
}

fn neighbour<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    within("neighbour", size("neighbour", from)?, 1 << 16, 1 << 40).map(Some)
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within("seconds", f64::deserialize(from)?, 0.001, 3600.0)
}

fn percent<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within("reads_percent", f64::deserialize(from)?, 0.0, 100.0)
}

fn exponent<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within("exponent", f64::deserialize(from)?, 0.01, 5.0)
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    within("rate", f64::deserialize(from)?, 1.0, 1e8).map(Some)
}

fn part<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    within("rate_of_peak", f64::deserialize(from)?, 0.01, 1.0).map(Some)
}

fn repeats<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within("repeats", u32::deserialize(from)?, 1, 1000)
}

fn depth<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within("depth", u32::deserialize(from)?, 1, DEPTH_MAX)
}

fn clients<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    within("clients", u32::deserialize(from)?, 1, 64)
}

fn cases<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Case>, D::Error> {
    let cases = Vec::deserialize(from)?;
    if cases.is_empty() { Err(D::Error::custom("case: a job has at least one [[case]]")) } else { Ok(cases) }
}

#[cfg(test)]
mod tests;
