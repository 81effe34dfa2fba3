//! `/metrics`: all that the catalogue names and nothing else, with the numbers that are behind it.

use crate::fake::State;
use crate::world::World;
use holdfast_daemon::admin::metrics::METRICS;
use holdfast_daemon::admin::{Measures, StuckView, ThinView, VolumeMeasures};
use holdfast_daemon::events::EventCounts;
use holdfast_daemon::latency::{Counts, Kind, bucket_of};
use holdfast_policy::ErrorClass;
use std::collections::BTreeSet;

/// A histogram of one time.
fn counted(ns: u64, count: u64) -> Counts {
    let mut counts = Counts { sum_ns: ns * count, ..Counts::default() };
    counts.buckets[bucket_of(ns)] = count;
    counts
}

/// A daemon that has something of everything.
pub(crate) fn busy(state: &mut State) {
    let mut requests: [Counts; 5] = std::array::from_fn(|_| Counts::default());
    requests[Kind::Write as usize] = counted(500_000_000, 3);
    let measured = VolumeMeasures { requests: requests.clone(), device: requests, refused: [1, 2, 3, 4] };
    state.measures = Measures {
        volumes: vec![measured, VolumeMeasures::default()],
        turns: vec![counted(2_000, 10); 3],
        events: EventCounts { seen: [1, 2, 3, 4, 5], ended: [6, 7, 8] },
    };
    let volume = &mut state.volumes[0];
    volume.thin = Some(ThinView { limit_bytes: 1 << 30, allocated_bytes: 1 << 20 });
    let stats = &mut volume.stats;
    (stats.dirty, stats.failed, stats.lost, stats.not_clean) = (1, 16, 3, 20);
    (stats.gate_class, stats.gate_errno, stats.overdue) = (ErrorClass::Space as u8, 28, 1);
    (stats.read_hits, stats.read_misses, stats.flushes_failed) = (90, 10, 7);
    state.daemon.ledger.stuck = Some(StuckView { errno: 28, since_unix_ms: 1, waiting_entries: 7 });
    state.daemon.reactors[1].silent_ms = 6_500;
}

/// The text of a scrape.
pub(crate) fn scrape(world: &World) -> String {
    let answer = world.raw(b"GET /metrics HTTP/1.1\r\nhost: holdfast\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    body.to_owned()
}

/// The name of a metric as the text's TYPE line has it: without the `_total` of a counter.
fn announced(full_name: &str, kind: &str) -> String {
    let name = if kind == "counter" {
        full_name.strip_suffix("_total").expect("a counter's name")
    } else {
        full_name
    };
    format!("{name} {kind}")
}

#[test]
fn a_scrape_has_every_metric_of_the_catalogue_and_no_other() {
    let world = World::new();
    let known: BTreeSet<String> =
        METRICS.iter().map(|metric| announced(&metric.full_name(), metric.kind_name())).collect();
    assert_eq!(known.len(), METRICS.len(), "no name twice");
    // Also in a daemon that has nothing to tell.
    for busy_too in [false, true] {
        if busy_too {
            busy(&mut world.state());
        }
        let text = scrape(&world);
        let told = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), known);
    }
    let text = scrape(&world);
    for metric in METRICS {
        let name = metric.full_name();
        let samples = text.lines().filter(|line| line.starts_with(&name)).count();
        assert!(samples > 0, "a busy daemon has a sample of {name}");
    }
}

#[test]
fn samples_are_in_base_units_with_their_labels() {
    let world = World::new();
    busy(&mut world.state());
    let text = scrape(&world);
    for line in [
        "holdfast_health 2",
        "holdfast_health_reason{code=\"HF_LOST_EXTENTS\",volume=\"vm1\"} 1",
        "holdfast_health_reason{code=\"HF_REACTOR_STALL\",volume=\"\"} 1",
        "holdfast_start_time_seconds 1767323045.0",
        "holdfast_ledger_stuck 1",
        "holdfast_ledger_waiting_entries 7",
        "holdfast_events_total{event=\"first_failure\"} 1",
        "holdfast_event_deliveries_total{result=\"dropped\"} 8",
        "holdfast_reactor_silent_seconds{reactor=\"1\"} 6.5",
        "holdfast_reactor_turn_duration_seconds_count{reactor=\"2\"} 10",
        "holdfast_volume_data_bytes{volume=\"vm1\",state=\"failed\"} 65536",
        "holdfast_volume_data_bytes{volume=\"vm2\",state=\"failed\"} 0",
        "holdfast_volume_gate_closed{volume=\"vm1\",class=\"space\"} 1",
        "holdfast_volume_gate_closed{volume=\"vm1\",class=\"gone\"} 0",
        "holdfast_volume_thin_limit_bytes{volume=\"vm1\"} 1073741824",
        "holdfast_volume_reads_total{volume=\"vm1\",result=\"hit\"} 90",
        "holdfast_volume_device_refusals_total{volume=\"vm1\",class=\"medium\"} 3",
        "holdfast_request_duration_seconds_sum{volume=\"vm1\",operation=\"write\"} 1.5",
        "holdfast_request_duration_seconds_bucket{le=\"0.25\",volume=\"vm1\",operation=\"write\"} 0",
        "holdfast_request_duration_seconds_bucket{le=\"0.5\",volume=\"vm1\",operation=\"write\"} 3",
        "holdfast_request_duration_seconds_bucket{le=\"+Inf\",volume=\"vm1\",operation=\"write\"} 3",
    ] {
        let as_gauge = format!("{line}.0");
        assert!(text.lines().any(|one| one == line || one == as_gauge), "no '{line}' in\n{text}");
    }
    assert!(!text.contains("volume_thin_limit_bytes{volume=\"vm2\"}"), "it has none");
    assert!(!text.contains("request_duration_seconds_count{volume=\"vm2\""), "nothing was counted");
}

/// One field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

/// The fields of a protobuf message with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            kind => {
                let length = if kind == 1 { 8 } else { usize::try_from(varint(&mut bytes)).expect("short") };
                assert!(matches!(kind, 1 | 2), "wire type {kind}");
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(content)
            }
        };
        found.push((key >> 3, field));
    }
    found
}

fn bytes_of<'a>(message: &[(u64, Field<'a>)], number: u64) -> &'a [u8] {
    let found = message.iter().find_map(|(at, field)| match field {
        Field::Bytes(bytes) if *at == number => Some(*bytes),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no field {number}"))
}

/// `io.prometheus.client.MetricFamily`: 1 is the name, 4 a metric; in that 7 is a histogram, whose 5 is the schema and
/// whose 12 and 13 are the positive buckets.
#[test]
fn who_asks_for_protobuf_gets_native_histograms() {
    let world = World::new();
    busy(&mut world.state());
    let answer = world.bytes(
        b"GET /metrics HTTP/1.1\r\nhost: holdfast\r\naccept: application/vnd.google.protobuf;\
          proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n\r\n",
    );
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let (head, mut body) = (String::from_utf8_lossy(&answer[..at]), &answer[at + 4..]);
    assert!(head.contains("content-type: application/vnd.google.protobuf"), "{head}");
    let mut names = BTreeSet::new();
    let mut native = 0;
    while !body.is_empty() {
        let length = usize::try_from(varint(&mut body)).expect("short");
        let (message, rest) = body.split_at(length);
        body = rest;
        let family = fields(message);
        let name = String::from_utf8(bytes_of(&family, 1).to_vec()).expect("a name");
        if name == "holdfast_request_duration_seconds" {
            let histogram = fields(bytes_of(&fields(bytes_of(&family, 4)), 7));
            // A signed number, zigzag: schema 2 is 4.
            assert!(histogram.iter().any(|(at, field)| *at == 5 && matches!(field, Field::Number(4))));
            // One bucket, -4, which ends at half a second: zigzag 7, length 1; and 3 times, zigzag 6.
            assert_eq!(bytes_of(&histogram, 12), [0x08, 0x07, 0x10, 0x01]);
            assert_eq!(bytes_of(&histogram, 13), [0x06]);
            native += 1;
        }
        names.insert(name);
    }
    assert_eq!(native, 1);
    assert_eq!(names, METRICS.iter().map(holdfast_daemon::admin::metrics::Metric::full_name).collect());
}
