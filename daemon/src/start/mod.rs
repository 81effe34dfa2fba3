//! The daemon's start and end: each step of the start is undone by the end in reverse.
//!
//! ```text
//! kernel -> ledger -> backings (locks) -> arena -> reactors -> ledger's thread -> door -> admin
//! ```

mod added;
mod attach;
mod change;
mod crowd;
mod end;
mod error;
mod handshake;
mod history;
mod hub;
mod keeper;
mod late;
mod lookout;
mod map;
mod office;
mod operators;
mod origins;
mod patience;
mod phases;
mod reactors;
mod registry;
mod reload;
mod remove;
mod reopen;
mod resize;
mod scribe;
mod table;
mod typed;
mod views;
mod volumes;

pub use error::StartError;

use crate::admin;
use crate::arena::{self, Arena, ArenaLayout, ArenaVolume, DeviceNote, KnownVolume, Origin};
use crate::config::{FrontendSettings, Settings, VolumeSettings};
use crate::events::Events;
use crate::kernel::{self, Weight};
use crate::ledger::{CommitOutcome, Ledger, LostRecord, NotStableRecord, Now, OpenMark};
use crate::reactor::{Clock, Link, Outlets, Post};
use crate::service;
use holdfast_engine::VolumeId;
use holdfast_mutants::mutant;
use holdfast_ringbuf::daemon_side::Door;
use hub::{ArenaFacts, Hub};
use phases::Phases;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use table::{Served, Table};

/// How long the end of the daemon waits for whom it tells of it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the command line adds to the settings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file that the settings came from, for a reload.
    pub config: Option<PathBuf>,
    /// Give up what an earlier daemon left in the arena.
    pub discard_arena: bool,
    /// On SIGTERM give up what cannot be written, instead of staying.
    pub abandon: bool,
}

/// Serves until it is told to stop. The exit code says whether everything is on stable media.
///
/// # Errors
/// [`StartError`]; nothing was served then.
pub fn serve(settings: Settings, options: Options) -> Result<ExitCode, StartError> {
    let mut phases = Phases::begin();
    let signals = end::Signals::install()?;
    let mut warnings = look_at_kernel()?;
    let clock = Clock::start();
    phases.done("the kernel is looked at");
    let mut ledger = open_ledger(&settings, clock)?;
    phases.done("the ledger is read");
    let in_arena = arena::known_volumes(&settings.arena.path);
    let known: Vec<Option<String>> =
        in_arena.iter().map(|known| known.as_ref().map(|known| known.name.clone())).collect();
    let settings = added::recall(settings, &known, &mut warnings);
    let numbers = numbered(&settings, &known);
    let (settings, numbers) = in_order(settings, numbers);
    let remembered = remembered(&in_arena, &ledger);
    let remembered = Some(&remembered).filter(|_| !in_arena.is_empty());
    let mut wait = patience::Wait::begin(&signals);
    let (volumes, domains) = volumes::open(&settings, &numbers, remembered, &mut wait)?;
    volumes.iter().try_for_each(|volume| origins::check(&volume.settings, volume.backing(), &settings))?;
    phases.done("the devices are open");
    let mut arena = make_arena(&settings, &volumes, &options, &mut warnings)?;
    phases.done("the arena is mapped");
    let records = match register(&mut ledger, &volumes, clock, &arena, &options) {
        Ok(records) => records,
        Err(error) => {
            if !matches!(arena.origin(), Origin::TakenOver(_)) {
                // It was made for nothing. The first error is the one to tell.
                let _ = arena.remove();
            }
            return Err(error);
        }
    };
    warnings.extend(
        volumes.iter().filter_map(|volume| origins::mark(&volume.settings, volume.backing(), &settings)),
    );
    phases.done("what is on record is known");
    let resource = |what| move |source| StartError::Resource { what, source };
    let places = arena.volume_table().places();
    let links = (0..settings.daemon.reactors).map(|_| Link::new(places));
    let links: Arc<[Link]> = links.collect::<Result<_, _>>().map_err(resource("no mailbox"))?;
    let entries = Arc::new(Post::new(64 << 10).map_err(resource("no mailbox"))?);
    let words = Arc::new(Post::new(16 << 10).map_err(resource("no mailbox"))?);
    let outlets =
        Outlets { ledger: Arc::clone(&entries), words: Arc::clone(&words), links: Arc::clone(&links) };
    let door = Door::bind(&settings.daemon.socket, settings.daemon.socket_mode)
        .map_err(|source| StartError::Door { path: settings.daemon.socket.clone(), source })?;
    let listener = admin::bind(
        &settings.daemon.admin_socket,
        settings.daemon.admin_socket_mode,
        settings.daemon.admin_socket_gid,
    )?;
    let port = admin::Port::bind(&settings.http)?;
    let seed = random_word();
    let shards = arena.take_shards();
    let plan = reactors::Plan {
        settings: &settings,
        volumes: &volumes,
        records: &records,
        places,
        outlets: &outlets,
        clock,
        seed,
        cold: matches!(arena.origin(), Origin::TakenOver(_)),
    };
    let (threads, sheets, fallbacks) = reactors::start(&plan, shards)?;
    phases.done("the reactors have taken over");
    if plan.cold {
        let links = Arc::clone(&links);
        arena.warm_up(true, move || links.iter().for_each(reactors::tell_warm));
    }
    warnings.extend(fallbacks);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    // Those of the settings are not kept: settings change.
    for warning in crate::config::warnings(&settings).iter().filter(|warning| !warning.seen_when_running) {
        tracing::warn!("{warning}");
    }
    for volume in volumes.iter().filter(|volume| !volume.device.direct) {
        let volume = &volume.settings.name;
        tracing::warn!(
            volume,
            "it goes through the page cache, which forgets failed writes: no promise holds"
        );
    }
    let incarnation = ledger.incarnation();
    let book = scribe::Book::new(ledger, entries, clock);
    let scribe = book.start(Arc::clone(&links)).map_err(resource("no thread for the ledger"))?;
    let (events, hook) = Events::start(&settings.events).map_err(resource("no thread for events"))?;
    let served = volumes.iter().zip(sheets).map(|(volume, sheets)| Served::new(volume, sheets));
    let hub = Arc::new(Hub::new(hub::Parts {
        table: Table::of(served),
        domains,
        links,
        words,
        book: book.clone(),
        events,
        clock,
        incarnation,
        arena: ArenaFacts {
            id: arena.id(),
            bytes: arena.bytes(),
            huge: arena.is_huge(),
            boot: u128::from_ne_bytes(arena.boot_id()),
            volumes: arena.volume_table(),
        },
        warnings,
        config: options.config.clone(),
        settings,
    }));
    // The hub has their devices from here on, and closes them when it is told to.
    volumes.into_iter().for_each(|volume| late::wait_for(volume, &hub));
    let (ask, asks) = std::sync::mpsc::channel();
    let frontends = office::open(&hub, &ask)?;
    let stop = Arc::new(AtomicBool::new(false));
    let keeper = keeper::Keeper::start(Arc::clone(&hub), door, asks, Arc::clone(&stop));
    let keeper = keeper.map_err(resource("no thread for the door"))?;
    let lookout = lookout::start(Arc::clone(&hub), Arc::clone(&stop));
    let lookout = lookout.map_err(resource("no thread for events"))?;
    let backend: Arc<dyn admin::Backend> = Arc::clone(&hub) as _;
    let server = admin::serve(listener, port, backend, admin::Options::default());
    let server = server.map_err(resource("no thread for operators"))?;
    phases.done("clients are let in");
    tracing::info!(socket = %hub.settings.daemon.socket.display(), "serving");
    service::ready(&hub.in_a_line());
    let said = Arc::clone(&hub);
    let heart = service::Heart::start(Arc::clone(&hub.links), move || said.in_a_line());
    let heart = heart.map_err(resource("no thread for the watchdog"))?;
    let left = end::wait(&hub, &signals, options.abandon);
    frontends.into_iter().for_each(office::Frontend::stop);
    server.stop();
    // Ours as long as the arena is: a next daemon binds its own after it has the arena. Gone already is as good.
    let doors = hub.settings.frontends.iter().filter_map(FrontendSettings::socket);
    for socket in doors.chain([hub.settings.daemon.admin_socket.as_path()]) {
        let _ = std::fs::remove_file(socket);
    }
    if let Some(heart) = heart {
        heart.stop();
    }
    let closed =
        end::Stop { hub: &hub, stop: &stop, keeper, reactors: threads, book: &book, scribe }.run(left);
    if left == 0 && closed {
        hub.table().iter().for_each(|served| origins::clear(served));
    }
    // It only looks at what was published last; had it panicked, its words are in the log.
    let _ = lookout.join();
    hub.events.close();
    if let Some(hook) = hook {
        hook.finish(LAST_WORDS);
    }
    if left == 0 && closed {
        added::forget(&hub.settings.daemon.state_dir);
        arena.remove()?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

/// What the kernel cannot do, as warnings; or as an error, if nothing works without it.
fn look_at_kernel() -> Result<Vec<String>, StartError> {
    let mut warnings = Vec::new();
    for finding in kernel::probe() {
        match finding.weight {
            Weight::Fine => {}
            Weight::Slower => warnings.push(format!(
                "{}: {}: {}; {}",
                finding.what, finding.found, finding.consequence, finding.remedy
            )),
            Weight::Fatal => {
                let (what, found, remedy) = (finding.what, finding.found, finding.remedy);
                return Err(StartError::Kernel { what, found, remedy });
            }
        }
    }
    holdfast_ringbuf::fault_guard::install()
        .map_err(|source| StartError::Resource { what: "no handler for SIGBUS", source })?;
    Ok(warnings)
}

fn open_ledger(settings: &Settings, clock: Clock) -> Result<Ledger, StartError> {
    let path = &settings.daemon.state_dir;
    std::fs::create_dir_all(path).map_err(|source| StartError::StateDir { path: path.clone(), source })?;
    Ok(Ledger::open(path, now(clock))?)
}

fn now(clock: Clock) -> Now {
    let instant = clock.now();
    Now { instant, wall_ms: clock.unix_ms(instant) }
}

fn make_arena(
    settings: &Settings,
    volumes: &[volumes::Volume],
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Arena, StartError> {
    let mut places = Vec::new();
    for volume in volumes {
        let place = usize::from(volume.id.0);
        places.resize(places.len().max(place + 1), None);
        places[place] = Some(arena_volume(volume));
    }
    let layout = ArenaLayout {
        prefault: true,
        lock_memory: true,
        discard_existing: options.discard_arena,
        volumes: places,
        ..settings.arena_layout()
    };
    let mut told = std::time::Instant::now();
    let mut progress = |done: u64, all: u64| {
        if told.elapsed() >= std::time::Duration::from_secs(2) {
            told = std::time::Instant::now();
            let text = format!("allocating the arena: {done} of {all} bytes");
            service::status(&text);
            tracing::info!("{text}");
        }
    };
    let arena = Arena::create(&layout, &mut progress)?;
    warnings.extend(arena.warnings().iter().map(ToString::to_string));
    let (slots, needed) = (arena.slots_a_shard(), settings.slots_a_reactor());
    if u64::from(slots) < needed {
        return Err(StartError::ArenaSlots { slots, needed });
    }
    Ok(arena)
}

fn arena_volume(volume: &volumes::Volume) -> ArenaVolume {
    ArenaVolume {
        name: volume.settings.name.clone(),
        identity: volume.device.identity.clone(),
        bytes: volume.device.bytes,
        device: Some(DeviceNote {
            block_bytes: volume.device.block_bytes,
            direct: volume.device.direct,
            domain: volume.device.domain,
        }),
    }
}

/// What an arena noted of devices, and the ledger knows them by.
fn remembered(known: &[Option<KnownVolume>], ledger: &Ledger) -> volumes::Remembered {
    let devices = known.iter().flatten().filter_map(|known| {
        let (identity, bytes) = ledger.device_of(&known.name)?;
        let DeviceNote { block_bytes, direct, domain } = known.device(identity)?;
        let (bytes, identity) = (bytes.max(known.bytes()), identity.to_owned());
        Some((known.name.clone(), volumes::Device { bytes, block_bytes, direct, identity, domain }))
    });
    devices.collect()
}

/// The numbers of the volumes: those that an arena which is there has for them, because its headers know them by number; others
/// get what is free.
fn numbered(settings: &Settings, known: &[Option<String>]) -> Vec<VolumeId> {
    let known_at = |name: &str| known.iter().position(|known| known.as_deref() == Some(name));
    let vacant = (0..).filter(|&place: &usize| known.get(place).is_none_or(Option::is_none));
    let mut vacant = vacant.into_iter();
    let mut number = |volume: &VolumeSettings| {
        known_at(&volume.name).or_else(|| vacant.next()).and_then(|place| u16::try_from(place).ok())
    };
    settings.volumes.iter().map(|volume| VolumeId(number(volume).expect("at most 4096 places"))).collect()
}

/// Settings with the volumes in the order of their numbers.
fn in_order(mut settings: Settings, numbers: Vec<VolumeId>) -> (Settings, Vec<VolumeId>) {
    let mut volumes: Vec<_> = numbers.into_iter().zip(std::mem::take(&mut settings.volumes)).collect();
    volumes.sort_by_key(|(number, _)| *number);
    let (numbers, volumes) = volumes.into_iter().unzip();
    settings.volumes = volumes;
    (settings, numbers)
}

/// What is on record of a volume.
#[derive(Clone, Debug, Default)]
struct Records {
    lost: Vec<LostRecord>,
    not_stable: Vec<NotStableRecord>,
}

/// Makes the volumes known to the ledger, and returns what is on record of each. What was held in an arena that is no more
/// becomes lost before anybody can read or flush (C11, M13).
fn register(
    ledger: &mut Ledger,
    volumes: &[volumes::Volume],
    clock: Clock,
    arena: &Arena,
    options: &Options,
) -> Result<Vec<Records>, StartError> {
    let mut held_by = None;
    let boot = u128::from_ne_bytes(arena.boot_id());
    let mut died = false;
    for volume in volumes {
        let name = &volume.settings.name;
        ledger
            .register_volume(volume.id, name, &volume.device.identity, volume.device.bytes)
            .map_err(|source| StartError::Register { volume: name.clone(), source })?;
        let kept = is_kept(ledger.open_mark(volume.id), (arena.origin(), arena.id()), boot);
        if kept == Kept::Elsewhere && !options.discard_arena {
            let path = arena.path().to_owned();
            return Err(StartError::OtherArena { volume: name.clone(), path });
        }
        let gone = kept == Kept::Elsewhere || kept == Kept::Gone;
        died |= gone;
        let on_record = !ledger.not_stable(volume.id).is_empty();
        if on_record && (gone || (kept == Kept::Nothing && arena.origin() == Origin::New)) {
            ledger.turn_into_lost(now(clock), volume.id);
            held_by = Some(name.clone());
        }
        if let Origin::TakenOver(held) = arena.origin()
            && held.somewhere > 0
        {
            tracing::error!(
                volume = name,
                headers = held.somewhere,
                "damaged headers in the arena do not say whose data they had: all of the volume counts as lost, but for \
                 what is newer in the cache; look at its data, then 'holdfastctl ack-loss'"
            );
            ledger.lose_all(now(clock), volume.id);
            held_by = Some(name.clone());
        }
        ledger.mark_open(volume.id, OpenMark { boot, arena: u128::from(arena.id()) });
    }
    if died || ledger.incarnation() == 0 {
        ledger.set_incarnation(random_word() | 1);
    }
    match (ledger.commit_now(now(clock)), held_by) {
        (CommitOutcome::Stuck(stuck), Some(volume)) => {
            return Err(StartError::LossNotRecorded { volume, text: stuck.text });
        }
        (CommitOutcome::Stuck(_) | CommitOutcome::Durable { .. }, _) => {}
    }
    let records = |volume: &volumes::Volume| Records {
        lost: ledger.lost(volume.id),
        not_stable: ledger.not_stable(volume.id),
    };
    Ok(volumes.iter().map(records).collect())
}

/// Where the data is that a volume had in memory when it was used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// There is none: it was drained.
    Nothing,
    /// Here, or it was all on stable media.
    Here,
    /// In an arena of this boot that is not here.
    Elsewhere,
    /// Nowhere.
    Gone,
}

fn is_kept(mark: Option<OpenMark>, (origin, id): (Origin, u64), boot: u128) -> Kept {
    let Some(mark) = mark else { return Kept::Nothing };
    if mark.boot != boot {
        return Kept::Gone;
    }
    match origin {
        Origin::TakenOver(_) if mark.arena == u128::from(id) => Kept::Here,
        Origin::Replaced(id) if mark.arena == u128::from(id) => Kept::Here,
        Origin::Discarded(id) if mark.arena == u128::from(id) => Kept::Gone,
        _ if mutant!(OpenMarkIsIgnored) => Kept::Nothing,
        _ => Kept::Elsewhere,
    }
}

/// A number that nobody can guess: seeds the map against clients who choose their addresses.
fn random_word() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::HeldData;

    /// M13: where a volume's data is, from what the ledger says of its last arena and how this one came to be.
    #[test]
    fn data_is_kept_where_the_mark_says() {
        const BOOT: u128 = 5;
        let taken_over = Origin::TakenOver(HeldData::default());
        let mark = |boot, arena| Some(OpenMark { boot, arena });
        for (mark, origin, kept) in [
            (None, Origin::New, Kept::Nothing),
            (None, taken_over, Kept::Nothing),
            (mark(BOOT, 7), taken_over, Kept::Here),
            (mark(BOOT, 8), taken_over, Kept::Elsewhere),
            (mark(BOOT, 7), Origin::New, Kept::Elsewhere),
            (mark(BOOT, 6), Origin::Replaced(6), Kept::Here),
            (mark(BOOT, 8), Origin::Replaced(6), Kept::Elsewhere),
            (mark(BOOT, 6), Origin::Discarded(6), Kept::Gone),
            (mark(BOOT, 8), Origin::Discarded(6), Kept::Elsewhere),
            (mark(4, 7), taken_over, Kept::Gone),
            (mark(4, 8), Origin::New, Kept::Gone),
        ] {
            assert_eq!(is_kept(mark, (origin, 7), BOOT), kept, "{mark:?} {origin:?}");
        }
    }
}
