//! `stats` and `events`.

use super::Column::{Numbers, Words};
use super::{Invocation, plain, table};
use crate::api::{Event, Events, Reactor, Stats, VolumeCount};
use crate::percentiles;
use crate::size::{binary, duration};

/// Counters of volumes and reactors.
pub fn stats(stats: &Stats) -> String {
    let waits = percentiles::between(&[], &stats.latencies);
    let waits = if waits.is_empty() { String::new() } else { super::rates::latencies(&waits) + "\n" };
    let counts = clients(&stats.volumes) + "\n" + &devices(&stats.volumes) + "\n";
    counts + &waits + &reactors(&stats.reactors)
}

fn clients(volumes: &[VolumeCount]) -> String {
    let columns = [
        Words("VOLUME"),
        Numbers("READ HITS"),
        Numbers("READ MISSES"),
        Numbers("WRITES"),
        Numbers("FLUSHES OK"),
        Numbers("FLUSHES FAILED"),
        Numbers("GIVEN UP"),
    ];
    let row = |volume: &VolumeCount| {
        let counters = &volume.counters;
        let counts = [
            counters.read_hits,
            counters.read_misses,
            counters.writes,
            counters.flushes_ok,
            counters.flushes_failed,
        ];
        let mut row = vec![plain(&volume.volume)];
        row.extend(counts.map(|count| count.to_string()));
        row.push(binary(counters.given_up_bytes));
        row
    };
    table(&columns, volumes.iter().map(row))
}

fn devices(volumes: &[VolumeCount]) -> String {
    let columns = [
        Words("DEVICE OF"),
        Numbers("WRITES"),
        Numbers("WRITTEN"),
        Numbers("REFUSED"),
        Numbers("READS"),
        Numbers("REFUSED"),
        Numbers("FLUSHES"),
        Numbers("FAILED"),
    ];
    let row = |volume: &VolumeCount| {
        let counters = &volume.counters;
        vec![
            plain(&volume.volume),
            counters.device_writes.to_string(),
            binary(counters.device_write_bytes),
            counters.device_writes_refused.to_string(),
            counters.device_reads.to_string(),
            counters.device_reads_refused.to_string(),
            counters.device_flushes.to_string(),
            counters.device_flushes_failed.to_string(),
        ]
    };
    table(&columns, volumes.iter().map(row))
}

fn reactors(reactors: &[Reactor]) -> String {
    let columns = [
        Numbers("REACTOR"),
        Numbers("CORE"),
        Numbers("BUSY TURNS"),
        Numbers("IDLE TURNS"),
        Numbers("LONGEST TURN"),
        Numbers("SILENT"),
        Numbers("SLOTS"),
        Numbers("FREE"),
        Numbers("NOT CLEAN"),
        Numbers("EVICTIONS"),
        Numbers("REQUESTS"),
        Numbers("DEVICE I/O"),
        Numbers("TO LEDGER"),
    ];
    table(&columns, reactors.iter().map(reactor_row))
}

fn reactor_row(reactor: &Reactor) -> Vec<String> {
    vec![
        reactor.number.to_string(),
        reactor.core.map_or("any".to_owned(), |core| core.to_string()),
        reactor.busy_turns.to_string(),
        reactor.idle_turns.to_string(),
        format!("{} us", reactor.longest_turn_ns / 1000),
        duration(reactor.silent_ms),
        reactor.slots.to_string(),
        reactor.slots_free.to_string(),
        reactor.slots_not_clean.to_string(),
        reactor.evictions.to_string(),
        reactor.requests.to_string(),
        reactor.device_operations.to_string(),
        reactor.ledger_entries.to_string(),
    ]
}

/// What happened, a line each.
pub fn events(page: &Events, invocation: &Invocation) -> String {
    if page.events.is_empty() {
        return "Nothing happened since this daemon started. What was held before that: 'holdfastctl status'.\n".to_owned();
    }
    let around = Around { verb: "events", missed: page.missed, earlier: page.earlier, later: page.later };
    around.of(&event_lines(page), page.next, invocation)
}

/// What a numbered page leaves out.
pub(super) struct Around {
    /// How more of it is asked for, and what its entries are called.
    pub(super) verb: &'static str,
    pub(super) missed: u64,
    pub(super) earlier: u64,
    pub(super) later: u64,
}

impl Around {
    /// The page's lines with what is before and after them, and how to see it.
    pub(super) fn of(&self, lines: &str, next: u64, invocation: &Invocation) -> String {
        let Around { verb, missed, earlier, later } = *self;
        let command = |since: u64| invocation.command(&format!("holdfastctl {verb} --since {since}"));
        let what = if verb == "audit" { "audit rows" } else { verb };
        let mut out = String::new();
        if missed > 0 {
            out += &format!("({missed} older {what} are forgotten)\n");
        }
        if earlier > 0 {
            out += &format!("({earlier} earlier: {})\n", command(missed));
        }
        out += lines;
        if later > 0 {
            out += &format!("There are {later} more: {}\n", command(next));
        }
        out
    }
}

/// The events of a page alone, a line each.
pub fn event_lines(page: &Events) -> String {
    page.events.iter().map(event).collect()
}

fn event(event: &Event) -> String {
    let volume = event.volume.as_deref().map_or(String::new(), |volume| format!(" {}:", plain(volume)));
    let (number, at) = (event.number, plain(&event.at.rfc3339));
    format!("{number} {at} {}{volume} {}\n", plain(&event.kind), plain(&event.message))
}
