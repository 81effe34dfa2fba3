//! What happened and who did it, in pages: the newest, or what came after a number. Numbers come from whoever asks.

use super::hub::Hub;
use crate::admin::{AuditPage, AuditView, EventView, EventsPage};
use crate::ledger::{AuditRow, Ending, Kind, Transition};
use holdfast_engine::ByteRange;
use holdfast_policy::errno;

/// Transitions of neighbours that are one event for people: a flush that fails over 8 MiB puts 2,048 lines on record.
struct Group<'a> {
    /// The first of them.
    first: u64,
    /// The last of them, which names the cause.
    last: &'a Transition,
    range: ByteRange,
}

impl Group<'_> {
    /// Whether the next transition is the same thing next door.
    fn goes_on(&self, next: &Transition) -> bool {
        let (last, range) = (self.last, self.range);
        let same = (last.at_ms, last.kind, last.ending, last.failure.errno)
            == (next.at_ms, next.kind, next.ending, next.failure.errno);
        same && last.volume == next.volume
            && (range.offset.checked_add(range.length) == Some(next.range.offset)
                || next.range.offset.checked_add(next.range.length) == Some(range.offset))
    }
}

fn groups<'a>(transitions: impl Iterator<Item = &'a Transition>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for next in transitions {
        match groups.last_mut() {
            Some(group) if group.goes_on(next) => {
                let offset = group.range.offset.min(next.range.offset);
                group.range = ByteRange { offset, length: group.range.length + next.range.length };
                group.last = next;
            }
            _ => groups.push(Group { first: next.number, last: next, range: next.range }),
        }
    }
    groups
}

pub(super) fn events(hub: &Hub, since: Option<u64>, limit: usize) -> EventsPage {
    let ledger = hub.book.ledger();
    page(ledger.events(since.unwrap_or(0).saturating_add(1)), since, limit)
}

fn page<'a>(kept: impl Iterator<Item = &'a Transition>, since: Option<u64>, limit: usize) -> EventsPage {
    let groups = groups(kept);
    let shown = match since {
        Some(_) => 0..limit.min(groups.len()),
        None => groups.len().saturating_sub(limit)..groups.len(),
    };
    EventsPage {
        missed: groups.first().map_or(0, |oldest| oldest.first - since.unwrap_or(0) - 1),
        earlier: shown.start as u64,
        later: (groups.len() - shown.end) as u64,
        events: groups[shown].iter().map(event).collect(),
    }
}

pub(super) fn audit(hub: &Hub, since: Option<u64>, limit: usize) -> AuditPage {
    let ledger = hub.book.ledger();
    let view =
        |row: AuditRow| AuditView { number: row.number, unix_ms: row.at_ms, who: row.who, verb: row.verb };
    let (oldest, next) = ledger.audit_bounds();
    let begin = match since {
        Some(since) => since.saturating_add(1).clamp(oldest, next),
        None => next.saturating_sub(limit as u64).max(oldest),
    };
    let rows: Vec<_> = ledger.audit_rows(begin).take(limit).map(view).collect();
    AuditPage {
        missed: oldest.saturating_sub(since.unwrap_or(0).saturating_add(1)),
        earlier: if since.is_none() { begin - oldest } else { 0 },
        later: next - begin - rows.len() as u64,
        rows,
    }
}

fn event(group: &Group<'_>) -> EventView {
    let ByteRange { offset, length } = group.range;
    let transition = group.last;
    let name = match transition.failure.errno {
        0 => "not tried",
        errno => errno::name(errno).unwrap_or("an error"),
    };
    let (kind, what) = match (transition.kind, transition.ending) {
        (Kind::NotStable, None) => ("not_stable", format!("not on stable media ({name})")),
        (Kind::Lost, None) => ("lost", format!("given up ({name})")),
        (_, Some(ending)) => (kind_of(ending), ending.text().to_owned()),
    };
    EventView {
        number: transition.number,
        unix_ms: transition.at_ms,
        kind,
        volume: Some(transition.volume.clone()),
        message: format!("{length} bytes at {offset}: {what}"),
    }
}

const fn kind_of(ending: Ending) -> &'static str {
    match ending {
        Ending::Healed => "healed",
        Ending::GivenUp => "given_up",
        Ending::Rescinded => "rescinded",
        Ending::LossHealed => "loss_healed",
        Ending::Acknowledged => "loss_acknowledged",
        Ending::Changed => "changed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Failure;

    fn transition(number: u64, at_ms: u64, line: u64) -> Transition {
        Transition {
            number,
            at_ms,
            volume: "vm1".to_owned(),
            kind: Kind::NotStable,
            range: ByteRange { offset: line * 4096, length: 4096 },
            failure: Failure { class: 1, errno: errno::ENOSPC, attempts: 0, first_ms: 0, last_ms: 0 },
            ending: None,
        }
    }

    fn told(page: &EventsPage) -> Vec<(u64, &str)> {
        page.events.iter().map(|event| (event.number, event.message.as_str())).collect()
    }

    /// Lines that failed together are one event; without a number one sees what came last, not what came first.
    #[test]
    fn what_came_last_is_shown_and_neighbours_are_one() {
        // Downwards and upwards, as flushes of reactors report; then one elsewhere, one later.
        let lines = [(1, 7), (1, 6), (1, 8), (1, 20), (2, 21)];
        let all: Vec<_> =
            (5..).zip(lines).map(|(number, (at_ms, line))| transition(number, at_ms, line)).collect();
        let newest = page(all.iter(), None, 2);
        let expected = [
            (8, "4096 bytes at 81920: not on stable media (ENOSPC)"),
            (9, "4096 bytes at 86016: not on stable media (ENOSPC)"),
        ];
        assert_eq!(told(&newest), expected);
        assert_eq!((newest.missed, newest.earlier, newest.later), (4, 1, 0));
        let oldest = page(all.iter(), Some(0), 1);
        assert_eq!(told(&oldest), [(7, "12288 bytes at 24576: not on stable media (ENOSPC)")]);
        assert_eq!((oldest.missed, oldest.earlier, oldest.later), (4, 0, 2));
        let next = page(all.iter().filter(|one| one.number > 7), Some(7), 10);
        assert_eq!((next.events.len(), next.missed, next.later), (2, 0, 0));
    }
}
