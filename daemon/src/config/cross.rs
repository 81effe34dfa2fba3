//! What only shows when everything is known: whether the values fit together, and what the budgets amount to.

use super::nearest::nearest;
use super::quantity::{bytes_in_words, exact};
use super::read_daemon::{ARENA_BYTES_MAX, HUGE_PAGE_BYTES};
use super::read_frontend::FrontendDraft;
use super::read_volume::{Budget, Draft};
use super::section::Reader;
use super::settings::{
    ArenaSettings, DaemonSettings, DebugSettings, EventSettings, FrontendSettings, HttpSettings,
    LimitSettings, Listen, Settings,
};

/// Requests that each volume of a reactor must be able to have: half of the table is divided among all.
const REQUESTS_A_VOLUME: usize = 2;
/// Device operations that each volume of a reactor can have in flight, whatever the others do.
const OPS_A_VOLUME: usize = 4;

/// What was read, section by section.
pub(super) struct Parts {
    pub(super) daemon: DaemonSettings,
    pub(super) arena: ArenaSettings,
    pub(super) limits: LimitSettings,
    pub(super) http: HttpSettings,
    pub(super) events: EventSettings,
    pub(super) debug: DebugSettings,
    pub(super) volumes: Vec<Draft>,
    pub(super) frontends: Vec<FrontendDraft>,
}

/// Puts the parts together; `None` if they do not fit, with a problem for each reason.
pub(super) fn settings(reader: &Reader<'_>, parts: Parts) -> Option<Settings> {
    let Parts { daemon, arena, limits, http, events, debug, volumes, frontends: drafts } = parts;
    let (volumes, budgets): (Vec<_>, Vec<_>) =
        volumes.into_iter().map(|draft| (draft.volume, draft.budget)).unzip();
    let frontends = drafts.iter().map(|draft| draft.settings.clone()).collect();
    let mut settings = Settings { daemon, arena, limits, http, events, volumes, frontends, debug };
    sockets(reader, &settings);
    frontends_fit(reader, &settings, &drafts);
    session(reader, &settings);
    shares(reader, &settings);
    if arena_suffices(reader, &settings) {
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

/// No two doors are at the same place, and every volume that is named is there.
fn frontends_fit(reader: &Reader<'_>, settings: &Settings, drafts: &[FrontendDraft]) {
    let daemon = &settings.daemon;
    let mut taken: Vec<String> =
        [&daemon.socket, &daemon.admin_socket].map(|path| path.display().to_string()).into();
    for draft in drafts {
        let place = match &draft.settings {
            FrontendSettings::Vhost(vhost) => vhost.socket.display().to_string(),
            FrontendSettings::Nbd(nbd) => match &nbd.listen {
                Listen::Unix { path, .. } => path.display().to_string(),
                Listen::Tcp { address, .. } => address.to_string(),
            },
        };
        if taken.contains(&place) {
            let message = format!("{place} is another door's place already");
            reader.refuse_key(&draft.listen_key, message, "give every door a place of its own");
        }
        taken.push(place);
        for name in draft.settings.volumes() {
            if !settings.volumes.iter().any(|volume| volume.name == *name) {
                let message = format!("there is no volume {name:?}");
                let help = match nearest(name, settings.volumes.iter().map(|volume| volume.name.as_str())) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "name a volume of this file".to_owned(),
                };
                reader.refuse_key(&draft.volumes_key, message, help);
            }
        }
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

/// Every volume has a part of each reactor's tables to itself, however many requests wait for its neighbours' devices.
fn shares(reader: &Reader<'_>, settings: &Settings) {
    let (limits, volumes) = (&settings.limits, settings.volumes.len());
    for (key, have, each) in [
        ("limits.requests_max", limits.requests_max, REQUESTS_A_VOLUME),
        ("limits.device_ops_max", limits.device_ops_max, OPS_A_VOLUME),
    ] {
        let needed = volumes * each;
        if (have as usize) < needed {
            let message =
                format!("{have} do not leave {each} to each of {volumes} volumes when the others hang");
            reader.refuse_key(key, message, format!("write {needed} or more"));
        }
    }
}

/// The reserve and the least budget of every volume fit.
fn arena_suffices(reader: &Reader<'_>, settings: &Settings) -> bool {
    let needed = needed_slots(settings);
    let slots = settings.slots_a_reactor();
    if slots >= needed {
        return true;
    }
    let (reactors, volumes) = (settings.daemon.reactors, settings.volumes.len());
    let message = format!(
        "{} give each of {reactors} reactors {slots} lines; the reserve and {volumes} volume(s) need {needed}: each must \
         hold the largest request twice",
        bytes_in_words(settings.arena.size_bytes)
    );
    let help = match smallest_arena(settings) {
        Some(bytes) => format!("write {:?} or more, or lower limits.request_bytes_max", exact(bytes)),
        None => "lower limits.request_bytes_max or daemon.reactors".to_owned(),
    };
    reader.refuse_key("arena.size", message, help);
    false
}

/// Slots of one reactor that the reserve and the least budgets take.
fn needed_slots(settings: &Settings) -> u64 {
    u64::from(settings.reserve_slots()) + settings.volumes.len() as u64 * settings.least_slots()
}

/// The smallest possible arena that suffices, by halving the distance between one that does not and one that does.
fn smallest_arena(settings: &Settings) -> Option<u64> {
    let mut settings = settings.clone();
    let mut suffices = |pages: u64| {
        settings.arena.size_bytes = pages * HUGE_PAGE_BYTES;
        settings.slots_a_reactor() >= needed_slots(&settings)
    };
    let (mut short, mut enough) = (0, ARENA_BYTES_MAX / HUGE_PAGE_BYTES);
    if !suffices(enough) {
        return None;
    }
    while short + 1 < enough {
        let middle = short.midpoint(enough);
        if suffices(middle) { enough = middle } else { short = middle }
    }
    Some(enough * HUGE_PAGE_BYTES)
}

/// Turns budgets into bytes. Together they never exceed what the reserve leaves.
///
/// More would be a promise that cannot be kept: when the disks of those who were promised too much refuse together, the
/// last one to come finds no slot although its own disk is well (C6).
fn set_budgets(reader: &Reader<'_>, settings: &mut Settings, budgets: &[Option<Budget>]) {
    let (reactors, line) = (u64::from(settings.daemon.reactors), u64::from(settings.arena.line_bytes));
    let (slots, least, most) =
        (settings.slots_a_reactor(), settings.least_slots(), settings.slots_beside_reserve());
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
    let open = budgets.iter().filter(|budget| budget.is_none()).count();
    let others = if open > 0 { format!(" (with the least for {open} without one)") } else { String::new() };
    let message = format!(
        "all budgets together{others} take {:.1}% of the cache, {needed} lines a reactor; the reserve leaves {:.1}%, {most}",
        percent(needed),
        percent(most.into())
    );
    let help = "lower a budget, or leave budgets out to share equally: were more promised than there is, disks that refuse \
                together would take the room of a volume whose disk is well";
    reader.refuse_key(&format!("volume[{last}].budget"), message, help);
}
