//! Runs: the floor alone, or a daemon beside it.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::cases::{Beside, CASES, Case, CaseReport, DEPTH_MAX, Figures, Report, Settings, SpanReport};
use crate::daemon_target::DaemonTarget;
use crate::floor::{Floor, Phase, Span, copy_ns, ping_pong_ns};
use crate::load::{Load, LoadError, Operation, Round, run_round, warm_up};
use crate::machine::{Counters, Machine};
use crate::statistics::Repeats;

/// The floor over each span.
///
/// # Errors
/// If the second process cannot be started or ends, or there is no memory.
pub fn measure_floor(settings: &Settings, machine: Machine, spans: &[u64]) -> anyhow::Result<Report> {
    measure("floor", settings, machine, spans, |floor, span_bytes| {
        let mut rounds: [Vec<Round>; CASES.len()] = Default::default();
        for _ in 0..settings.repeats {
            for (case, rounds) in CASES.iter().zip(&mut rounds) {
                rounds.push(floor_round(floor, &load(settings, *case, span_bytes))?);
            }
        }
        let report = |(case, rounds): (&Case, &Vec<Round>)| CaseReport {
            case: *case,
            beside: None,
            floor: Figures::new(rounds),
        };
        Ok(CASES.iter().zip(&rounds).map(report).collect())
    })
}

/// A daemon's volume beside the floor. The first `span_bytes` of the volume are overwritten.
///
/// # Errors
/// As `measure_floor`, and if the daemon refuses a session or a request, goes, or returns wrong data.
pub fn measure_daemon(
    settings: &Settings,
    machine: Machine,
    socket: &Path,
    volume: &str,
    span_bytes: u64,
) -> anyhow::Result<Report> {
    // Refused before anything is measured, if at all.
    let mut daemon = DaemonTarget::connect(socket, volume, DEPTH_MAX, span_bytes)?;
    warm_up(&mut daemon, &load(settings, CASES[1], span_bytes))
        .context("writing the span for the first time")?;
    measure("bench", settings, machine, &[span_bytes], |floor, span_bytes| {
        let mut rounds: [(Vec<Round>, Vec<Round>); CASES.len()] = Default::default();
        for repeat in 0..settings.repeats {
            for (case, (of_floor, of_daemon)) in CASES.iter().zip(&mut rounds) {
                let load = load(settings, *case, span_bytes);
                // Who is first changes, so that neither always follows the other's caches.
                if repeat % 2 == 0 {
                    of_floor.push(floor_round(floor, &load)?);
                }
                of_daemon.push(daemon_round(&mut daemon, &load)?);
                if repeat % 2 == 1 {
                    of_floor.push(floor_round(floor, &load)?);
                }
            }
        }
        Ok(CASES.iter().zip(&rounds).map(|(case, (floor, daemon))| beside(*case, floor, daemon)).collect())
    })
}

fn beside(case: Case, floor: &[Round], daemon: &[Round]) -> CaseReport {
    let (floor, daemon) = (Figures::new(floor), Figures::new(daemon));
    let rate_ratio = daemon.rate_per_s.ratio_to(&floor.rate_per_s);
    let p50_ratio = daemon.p50_ns.ratio_to(&floor.p50_ns);
    CaseReport { case, beside: Some(Beside { rate_ratio, p50_ratio, daemon }), floor }
}

fn load(settings: &Settings, case: Case, span_bytes: u64) -> Load {
    Load {
        operation: case.operation,
        depth: case.depth,
        seed: settings.seed,
        span_bytes,
        duration: Duration::from_secs_f64(settings.seconds),
    }
}

fn floor_round(floor: &mut Floor, load: &Load) -> anyhow::Result<Round> {
    run_round(&mut floor.session(Phase::Ring), load).context("a round of the floor")
}

fn daemon_round(daemon: &mut DaemonTarget, load: &Load) -> anyhow::Result<Round> {
    let round = daemon.flush().and_then(|()| run_round(daemon, load));
    round.with_context(|| {
        let direction = if load.operation == Operation::Write { "writes" } else { "reads" };
        format!("a round of the daemon: {direction} at depth {}", load.depth)
    })
}

/// What both kinds of run share: the bare measurements, the machine, and a second process for each span.
fn measure(
    kind: &'static str,
    settings: &Settings,
    machine: Machine,
    spans: &[u64],
    mut cases: impl FnMut(&mut Floor, u64) -> anyhow::Result<Vec<CaseReport>>,
) -> anyhow::Result<Report> {
    let before = Counters::now();
    let mut findings = machine.findings(settings.client_core, settings.server_core);
    let mut ping_pong = Vec::new();
    let mut shared_pages = None;
    let mut span_reports = Vec::new();
    for &span_bytes in spans {
        let mut floor = Floor::start(settings.server_core, span_bytes).context("starting the floor")?;
        shared_pages = Some(floor.shared().pages());
        warm_up(&mut floor.session(Phase::Ring), &load(settings, CASES[1], span_bytes))?;
        // Before and after the rounds: a hypervisor may move the cores apart in between.
        ping_pong.extend(ping_pongs(settings, &mut floor)?);
        span_reports.push(SpanReport {
            span_bytes,
            hot_in_l3: machine.l3_bytes.is_some_and(|l3_bytes| span_bytes <= l3_bytes),
            span_pages: floor.span_pages(),
            copy_ns: copies(settings, &floor, span_bytes)?,
            cases: cases(&mut floor, span_bytes)?,
        });
        ping_pong.extend(ping_pongs(settings, &mut floor)?);
    }
    let during = before.since();
    let ping_pong_ns = Repeats::new(ping_pong);
    findings.extend(moved(&ping_pong_ns));
    findings.extend(during.findings());
    Ok(Report {
        version: 1,
        kind,
        program_version: env!("CARGO_PKG_VERSION"),
        settings: settings.clone(),
        machine,
        during,
        findings,
        shared_pages: shared_pages.context("no span was asked for")?,
        ping_pong_ns,
        spans: span_reports,
    })
}

fn ping_pongs(settings: &Settings, floor: &mut Floor) -> Result<Vec<f64>, LoadError> {
    (0..settings.repeats).map(|_| ping_pong_ns(floor, bare_duration(settings))).collect()
}

/// A cache line's way is a property of the place of two cores: it does not double while they stay where they are.
fn moved(ping_pong_ns: &Repeats) -> Option<String> {
    let Repeats { min, max, .. } = *ping_pong_ns;
    (max > 2.0 * min).then(|| {
        format!(
            "the cores moved: a cache line there and back took {min:.0} to {max:.0} ns; only ratios count"
        )
    })
}

fn copies(settings: &Settings, floor: &Floor, span_bytes: u64) -> io::Result<Repeats> {
    let mut span = Span::new(span_bytes)?;
    let mut copy = || copy_ns(&mut span, floor.shared(), bare_duration(settings), settings.seed);
    Ok(Repeats::new((0..settings.repeats).map(|_| copy()).collect()))
}

/// The bare measurements have no queue that could fill up: a fifth of a round is enough.
fn bare_duration(settings: &Settings) -> Duration {
    Duration::from_secs_f64(settings.seconds / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_that_moved_are_a_finding_and_noise_is_not() {
        assert_eq!(moved(&Repeats::new(vec![100.0, 150.0, 120.0])), None);
        let finding = moved(&Repeats::new(vec![88.0, 90.0, 513.0])).expect("a finding");
        assert!(finding.contains("88 to 513 ns"), "{finding}");
    }
}
