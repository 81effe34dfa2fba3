//! The bench against a daemon of the smallest kind: one reactor, one volume in memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use holdfast_ringbuf::VolumeInfo;
use holdfast_ringbuf::daemon_side::{DaemonRing, Door, Offer};
use holdfast_ringbuf::request::{Opcode, Request};
use serde_json::Value;

const VOLUME_BYTES: u64 = 2 << 20;

/// What a volume does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manners {
    Good,
    /// Writes are acknowledged and thrown away.
    Forgetful,
    /// Writes are refused with this errno.
    Refusing(i32),
}

fn bench(socket: &Path, span: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast-perf"))
        .args(["bench", "--volume", "ram", "--seconds", "0.02", "--repeats", "2", "--json", "--span", span])
        .arg("--socket")
        .arg(socket)
        .output()
        .expect("the program starts")
}

/// Runs the bench against a volume with such manners.
fn bench_against(manners: Manners, span: &str) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let socket: PathBuf = directory.path().join("holdfast.sock");
    let door = Door::bind(&socket, 0o600).expect("a socket");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                if let Some(pending) = door.accept().expect("accept") {
                    serve_one(pending, manners, &over);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let output = bench(&socket, span);
        over.store(true, SeqCst);
        output
    })
}

fn serve_one(mut pending: holdfast_ringbuf::daemon_side::Pending, manners: Manners, over: &AtomicBool) {
    let time = Duration::from_secs(5);
    let hello = pending.read_hello(time).expect("a hello");
    let (ring_entries, payload_bytes) = Offer::sized_for(&hello, 64, 1 << 20);
    let volume = VolumeInfo {
        bytes: VOLUME_BYTES,
        block_bytes: 512,
        line_bytes: 4096,
        stripe_bytes: 1 << 20,
        read_only: false,
    };
    let offer = Offer {
        session: 1,
        incarnation: 1,
        arena: 1,
        volume,
        reactors: 1,
        ring_entries,
        payload_bytes,
        request_bytes_max: 4096,
    };
    let mut session = pending.offer(&offer, time).expect("a session");
    let mut ring = session.rings.pop().expect("a ring");
    let mut bytes = vec![0; usize::try_from(VOLUME_BYTES).unwrap()];
    while !over.load(SeqCst) {
        let mut worked = false;
        while let Some(request) = ring.pop().expect("an honest client") {
            worked = true;
            let status = perform(&ring, &request, &mut bytes, manners);
            ring.push_completion(request.tag, request.sequence, status, None).expect("room");
        }
        ring.flush_publish();
        if !worked {
            std::thread::yield_now();
        }
    }
}

fn perform(ring: &DaemonRing, request: &Request, bytes: &mut [u8], manners: Manners) -> i32 {
    let start = usize::try_from(request.offset).unwrap();
    let block = start..start + usize::try_from(request.length).unwrap();
    match (request.opcode, manners) {
        (Opcode::Read, _) => ring.copy_to_payload(request.payload, &bytes[block]).expect("its memory"),
        (Opcode::Write, Manners::Good) => {
            ring.copy_from_payload(request.payload, &mut bytes[block]).expect("its memory");
        }
        (Opcode::Write, Manners::Refusing(errno)) => return errno,
        _ => {}
    }
    0
}

#[test]
fn the_report_has_a_ratio_for_each_case() {
    let output = bench_against(Manners::Good, "1MiB");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(report["kind"], Value::from("bench"));
    let cases = report["spans"][0]["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let figure =
            |name: &str, repeat: usize| case.pointer(name).unwrap()["repeats"][repeat].as_f64().unwrap();
        for repeat in 0..2 {
            let rate = figure("/daemon/rate_per_s", repeat) / figure("/floor/rate_per_s", repeat);
            assert!((figure("/rate_ratio", repeat) - rate).abs() < 1e-9, "{case}");
            let time = figure("/daemon/p50_ns", repeat) / figure("/floor/p50_ns", repeat);
            assert!((figure("/p50_ratio", repeat) - time).abs() < 1e-9, "{case}");
        }
    }
}

/// What a run that failed says, for people and in its JSON, which has nothing else.
fn why(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let told = json["error"].as_str().unwrap_or_else(|| panic!("no error: {json}"));
    assert!(!output.status.success() && json.as_object().is_some_and(|json| json.len() == 1), "{json}");
    assert!(error.lines().any(|line| !line.is_empty() && told.contains(line.trim())), "{told} and {error}");
    told.to_owned()
}

#[test]
fn a_daemon_that_forgets_writes_gets_no_figures() {
    let output = bench_against(Manners::Forgetful, "1MiB");
    let error = why(&output);
    assert!(error.contains("returned wrong data") && error.contains("reads at depth 1"), "{error}");
}

#[test]
fn a_refused_request_ends_the_run_with_its_errno() {
    let output = bench_against(Manners::Refusing(28), "1MiB");
    let error = why(&output);
    assert!(error.contains("errno 28"), "{error}");
}

#[test]
fn a_span_beyond_the_volume_is_refused_before_anything_is_written() {
    let output = bench_against(Manners::Refusing(5), "3MiB");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("does not fit"), "{error}");
}

#[test]
fn no_daemon_is_an_error_that_names_the_socket() {
    let output = bench(Path::new("/nonexistent/holdfast.sock"), "1MiB");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("/nonexistent/holdfast.sock"), "{error}");
}
