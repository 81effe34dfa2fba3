//! What only shows when everything is known: whether the values fit together, and what the budgets amount to.

use super::quantity::{bytes_in_words, exact};
use super::read_daemon::HUGE_PAGE_BYTES;
use super::read_volume::{Budget, Draft};
use super::section::Reader;
use super::settings::{ArenaSettings, DaemonSettings, DebugSettings, LimitSettings, Settings};

/// Puts the parts together; `None` if they do not fit, with a problem for each reason.
pub(super) fn settings(
    reader: &Reader<'_>,
    daemon: DaemonSettings,
    arena: ArenaSettings,
    limits: LimitSettings,
    debug: DebugSettings,
    drafts: Vec<Draft>,
) -> Option<Settings> {
    let (volumes, budgets): (Vec<_>, Vec<_>) =
        drafts.into_iter().map(|draft| (draft.volume, draft.budget)).unzip();
    let mut settings = Settings { daemon, arena, limits, volumes, debug };
    sockets(reader, &settings);
    session(reader, &settings);
    if arena_divides(reader, &settings) && arena_suffices(reader, &settings) {
        set_budgets(reader, &mut settings, &budgets);
    }
    reader.is_content().then_some(settings)
}

fn sockets(reader: &Reader<'_>, settings: &Settings) {
    let daemon = &settings.daemon;
    if daemon.socket == daemon.admin_socket {
        let message = format!("{} is the clients' socket, too", daemon.socket.display());
        reader.refuse_key("daemon.admin_socket", message, "give operators a socket of their own");
    }
}

fn session(reader: &Reader<'_>, settings: &Settings) {
    let (limits, reactors) = (&settings.limits, u64::from(settings.daemon.reactors));
    let needed = u64::from(limits.request_bytes_max) * reactors;
    if limits.session_bytes_max < needed {
        let have = exact(limits.session_bytes_max);
        let request = exact(limits.request_bytes_max.into());
        let message = format!("{have} is less than one request of {request} for each of {reactors} reactors");
        reader.refuse_key(
            "limits.session_bytes_max",
            message,
            format!("write {:?} or more", exact(needed.next_multiple_of(1 << 20))),
        );
    }
}

/// Every reactor gets the same whole number of huge pages.
fn arena_divides(reader: &Reader<'_>, settings: &Settings) -> bool {
    let reactors = u64::from(settings.daemon.reactors);
    let (size, multiple) = (settings.arena.size_bytes, HUGE_PAGE_BYTES * reactors);
    if size.is_multiple_of(multiple) {
        return true;
    }
    let below = (size - size % multiple).max(multiple);
    let message = format!("{} is no multiple of 2MiB for each of {reactors} reactors", bytes_in_words(size));
    let help = format!("the nearest are {:?} and {:?}", exact(below), exact(below + multiple));
    reader.refuse_key("arena.size", message, help);
    false
}

/// The reserve and the least budget of every volume fit.
fn arena_suffices(reader: &Reader<'_>, settings: &Settings) -> bool {
    let (slots, volumes) = (settings.slots_a_reactor(), settings.volumes.len() as u64);
    let least = settings.least_slots();
    let needed = u64::from(settings.reserve_slots()) + volumes * least;
    if slots >= needed {
        return true;
    }
    let (reactors, line) = (u64::from(settings.daemon.reactors), u64::from(settings.arena.line_bytes));
    // The reserve grows with the size: what is left of 1000 parts must hold the volumes.
    let free_parts = 1000 - u64::from(settings.limits.reserve);
    let wanted = (volumes * least * 1000).div_ceil(free_parts).max((volumes + 1) * least) + 1;
    let size = (wanted * line).next_multiple_of(HUGE_PAGE_BYTES) * reactors;
    let message = format!(
        "{slots} lines on each of {reactors} reactors are fewer than the {needed} that the reserve ({}) and {volumes} \
         volume(s) of {least} need: each must hold the largest request twice",
        settings.reserve_slots()
    );
    reader.refuse_key(
        "arena.size",
        message,
        format!("write {:?} or more, or lower limits.request_bytes_max", exact(size)),
    );
    false
}

/// Turns budgets into bytes. Together they never exceed what the reserve leaves.
///
/// More would be a promise that cannot be kept: when the disks of those who were promised too much refuse together, the
/// last one to come finds no slot although its own disk is well (C6).
fn set_budgets(reader: &Reader<'_>, settings: &mut Settings, budgets: &[Option<Budget>]) {
    let (reactors, line) = (u64::from(settings.daemon.reactors), u64::from(settings.arena.line_bytes));
    let (slots, least, most) =
        (settings.slots_a_reactor(), settings.least_slots(), settings.budget_slots_max());
    let to_bytes = |slots: u64| slots * line * reactors;
    let mut explicit = 0;
    for (at, budget) in budgets.iter().enumerate() {
        let Some(budget) = budget else { continue };
        let asked = match *budget {
            Budget::Share(parts) => slots * u64::from(parts) / 1000,
            Budget::Bytes(bytes) => bytes / line / reactors,
        };
        if asked < least || asked > most {
            let near = exact(to_bytes(asked.clamp(least, most)));
            let message = format!(
                "{asked} lines a reactor are not within {least} (the largest request twice) and {most} (all but the reserve)"
            );
            reader.refuse_key(&format!("volume[{at}].budget"), message, format!("the nearest is {near:?}"));
        }
        settings.volumes[at].budget_bytes = to_bytes(asked);
        explicit += u128::from(asked);
    }
    if !reader.is_content() {
        return;
    }
    let open = budgets.iter().filter(|budget| budget.is_none()).count() as u64;
    let needed = explicit + u128::from(open * least);
    if needed > u128::from(most) {
        refuse_over_commitment(reader, budgets, needed, slots, most);
        return;
    }
    let left = most - u64::try_from(explicit).expect("not above `most`");
    for (at, _) in budgets.iter().enumerate().filter(|(_, budget)| budget.is_none()) {
        settings.volumes[at].budget_bytes = to_bytes((left / open).min(slots / 2));
    }
}

fn refuse_over_commitment(
    reader: &Reader<'_>,
    budgets: &[Option<Budget>],
    needed: u128,
    slots: u64,
    most: u64,
) {
    let percent = |part: u128| part as f64 * 100.0 / slots as f64;
    let last = budgets.iter().rposition(Option::is_some).unwrap_or(0);
    let message = format!(
        "all budgets together take {:.1}% of the cache, {needed} lines a reactor; the reserve leaves {:.1}%, {most}",
        percent(needed),
        percent(most.into())
    );
    let help = "lower a budget, or leave budgets out to share equally: were more promised than there is, disks that refuse \
                together would take the room of a volume whose disk is well";
    reader.refuse_key(&format!("volume[{last}].budget"), message, help);
}
