//! Starts the reactors' threads.

use super::Records;
use super::error::StartError;
use super::map::Sheet;
use super::volumes::Volume;
use crate::arena::{self, ArenaError, Shard};
use crate::config::{FrontendSettings, Settings};
use crate::device::{Backing, Disk, DiskOptions, Faults};
use crate::reactor::{Clock, Link, Mail, Outlets, Reactor, SEATS_MAX};
use holdfast_engine::{
    Actions, Command, Engine, Event, Geometry, Misfit, Notes, RUN_LINES_MAX, Share, Token, VolumeId,
    VolumeSetup, vacancy,
};
use holdfast_policy::DirtyIndex;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// What every reactor is made from.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) volumes: &'a [Volume],
    pub(super) records: &'a [Records],
    /// How many volumes there can be.
    pub(super) places: usize,
    pub(super) outlets: &'a Outlets,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    /// The arena's page tables are empty: its memory is registered later.
    pub(super) cold: bool,
}

/// A reactor's thread.
pub(super) type Running = JoinHandle<()>;

/// The maps of the volumes: of each its reactors' sheets, in the order of the reactors.
pub(super) type Sheets = Vec<Vec<Sheet>>;

/// A volume as a reactor gets it. Its index is memory that nobody else has.
pub(super) fn setup(
    volume: &Volume,
    settings: &Settings,
    reactor: u32,
    share: &'static Share,
) -> Result<VolumeSetup<'static>, StartError> {
    let geometry = volume.geometry(settings, reactor);
    let index_lines = volume.geometry_of(volume.bytes_max(), settings, reactor).local_lines();
    let index = arena::zeroed_words(DirtyIndex::words_needed(index_lines))
        .map_err(|source| StartError::Resource { what: "no memory for a dirty index", source })?;
    let own = &volume.settings;
    Ok(VolumeSetup {
        id: volume.id,
        geometry,
        domain: volume.domain,
        domain_owner: volume.domain_owner,
        mode: own.mode,
        budget_slots: settings.budget_slots(own),
        room_slots: settings.room_slots(own),
        share,
        rules: own.rules,
        flush_on_failure: own.flush_on_failure,
        parked_flushes_max: own.parked_flushes_max,
        io_timeout_ms: own.io_timeout_ms,
        write_back_from: own.write_back_from,
        write_back_after_ms: own.write_back_after_ms,
        index_lines,
        index,
    })
}

/// A budget that the reactors share: used until the process ends, some hundred bytes for each time a volume comes.
pub(super) fn share(settings: &Settings) -> &'static Share {
    Box::leak(Box::new(Share::new(settings.daemon.reactors)))
}

pub(super) fn sheet(setup: &VolumeSetup<'static>) -> Sheet {
    Sheet::new(setup.geometry, setup.index_lines, setup.index)
}

/// Starts all reactors, which take over what an earlier daemon left at the same time, and waits until each is ready. Returns their threads, the volumes' maps, and what works
/// less well than it might.
pub(super) fn start(
    plan: &Plan<'_>,
    shards: Vec<Shard>,
) -> Result<(Vec<Running>, Sheets, Vec<String>), StartError> {
    let (mut threads, mut readies) = (Vec::new(), Vec::new());
    // In the order of the volumes.
    let mut sheets = vec![Vec::new(); plan.volumes.len()];
    let shares: Vec<&'static Share> = plan.volumes.iter().map(|_| share(plan.settings)).collect();
    for shard in shards {
        let reactor = shard.reactor;
        let (ready, is_ready) = mpsc::channel();
        let part = Part::new(plan, shard, &shares)?;
        let own = part.setups.iter().map(sheet);
        sheets.iter_mut().zip(own).for_each(|(volume, sheet)| volume.push(sheet));
        let thread = std::thread::Builder::new()
            .name(format!("holdfast-{reactor}"))
            .spawn(move || part.run(&ready))
            .map_err(|source| StartError::Resource { what: "no thread for a reactor", source })?;
        threads.push(thread);
        readies.push(is_ready);
    }
    let mut fallbacks = Vec::new();
    for is_ready in readies {
        for fallback in is_ready.recv().expect("the thread says whether it is ready")? {
            if !fallbacks.contains(&fallback) {
                fallbacks.push(fallback);
            }
        }
    }
    Ok((threads, sheets, fallbacks))
}

/// A volume's device, as a reactor begins with it.
struct Device {
    volume: VolumeId,
    /// None if it comes later.
    backing: Option<Arc<Backing>>,
    faults: Option<Arc<Faults>>,
}

/// What goes to a reactor's thread.
struct Part {
    settings: Settings,
    shard: Shard,
    setups: Vec<VolumeSetup<'static>>,
    devices: Vec<Device>,
    records: Vec<Records>,
    places: usize,
    outlets: Outlets,
    clock: Clock,
    seed: u64,
    cold: bool,
}

impl Part {
    fn new(plan: &Plan<'_>, shard: Shard, shares: &[&'static Share]) -> Result<Part, StartError> {
        let mut setups = Vec::new();
        let mut devices = Vec::new();
        for (volume, share) in plan.volumes.iter().zip(shares) {
            setups.push(setup(volume, plan.settings, shard.reactor, share)?);
            let (backing, faults) = (volume.backing().cloned(), volume.faults.clone());
            devices.push(Device { volume: volume.id, backing, faults });
        }
        Ok(Part {
            settings: plan.settings.clone(),
            shard,
            setups,
            devices,
            records: plan.records.to_vec(),
            places: plan.places,
            outlets: plan.outlets.clone(),
            clock: plan.clock,
            seed: plan.seed,
            cold: plan.cold,
        })
    }

    /// The thread: pins itself, makes what must be made here, says whether that worked, and polls.
    fn run(self, ready: &mpsc::Sender<Result<Vec<String>, StartError>>) {
        let number = self.shard.reactor;
        let mut notes = Vec::new();
        let core = self.pin(&mut notes);
        match self.build(core, notes) {
            Ok((mut reactor, notes)) => {
                // The starter waits for this word; if it is gone, so is the daemon.
                let _ = ready.send(Ok(notes));
                if let Err(error) = reactor.run() {
                    // A shard that nobody serves is worse than a daemon that ends: its memory outlives it.
                    eprintln!("holdfastd: reactor {number} cannot go on: {error}");
                    std::process::abort();
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    }

    fn pin(&self, notes: &mut Vec<String>) -> Option<u32> {
        let number = self.shard.reactor;
        let core = *self.settings.daemon.cores.get(number as usize)?;
        let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core as usize });
        if !pinned {
            notes.push(format!(
                "reactor {number} could not be pinned to core {core}: the core is offline or this process may not \
                 use it (see 'taskset -p'); it runs unpinned"
            ));
        }
        pinned.then_some(core)
    }

    fn build(
        self,
        core: Option<u32>,
        mut notices: Vec<String>,
    ) -> Result<(Reactor, Vec<String>), StartError> {
        let reactor = self.shard.reactor;
        let failed = |source| StartError::Disk { reactor, source };
        let limits = self.settings.limits(reactor, self.seed);
        let cores: Vec<usize> = self.settings.daemon.cores.iter().map(|&core| core as usize).collect();
        let kicks = self.settings.frontends.iter().map(|frontend| match frontend {
            FrontendSettings::Vhost(vhost) => usize::from(vhost.queues),
            FrontendSettings::Nbd(_) => 0,
        });
        let kicks: usize = kicks.sum();
        let options = DiskOptions {
            ops_max: limits.ops_max,
            segments_max: RUN_LINES_MAX,
            volumes_max: self.places,
            watches_max: SEATS_MAX as usize + 1 + kicks,
            workers_max: self.settings.limits.io_workers_max,
            reactor_cores: &cores,
        };
        let disk = if self.cold { Disk::unregistered } else { Disk::new };
        let (mut disk, fallbacks) = disk(&options, self.shard.slots.addresses()).map_err(failed)?;
        notices.extend(fallbacks.iter().map(ToString::to_string));
        for Device { volume, backing, faults } in &self.devices {
            match backing {
                Some(backing) => disk.attach(*volume, backing, faults.clone()).map_err(failed)?,
                None => disk.attach_later(*volume, faults.clone()),
            }
        }
        let notes = Notes::over(self.shard.notes);
        let mut engine = Engine::resume(limits, self.shard.headers, notes, self.clock.now());
        engine.reserve_places(self.places);
        let volumes = add_volumes(&mut engine, self.setups);
        let mut actions = Actions::with_capacity(&limits);
        let known = self.devices.iter().zip(&self.records).map(|(device, records)| {
            let fenced = device.backing.as_ref().is_some_and(|backing| backing.is_fenced());
            (device.volume, fenced, records)
        });
        let known: Vec<Known<'_>> = known.collect();
        restore(&mut engine, &known, self.clock, &mut actions).map_err(|misfit| {
            let what = format!("reactor {reactor}: {misfit:?}");
            StartError::Arena(ArenaError::Damaged { path: self.settings.arena.path.clone(), what })
        })?;
        let idle = self.settings.daemon.idle;
        let (slots, outlets, clock) = (self.shard.slots, self.outlets, self.clock);
        let reactor = Reactor::new(limits, engine, disk, slots, outlets, clock, idle, core, volumes);
        let mut reactor = reactor.map_err(failed)?;
        reactor.begin_with(actions);
        Ok((reactor, notices))
    }
}

/// Adds the volumes under their numbers, and vacancies between them. Returns how many places that makes.
fn add_volumes(engine: &mut Engine<'static>, setups: Vec<VolumeSetup<'static>>) -> usize {
    let mut next = 0;
    for setup in setups {
        while next < setup.id.0 {
            // It is looked at by nobody: another's share and index do.
            let line = Geometry { volume_bytes: u64::from(setup.geometry.line_bytes), ..setup.geometry };
            engine.add_vacancy(vacancy(VolumeId(next), line, setup.rules, setup.share, setup.index));
            next += 1;
        }
        engine.add_volume(setup);
        next += 1;
    }
    usize::from(next)
}

/// A volume, whether its device may be used, and what is on record of it.
type Known<'a> = (VolumeId, bool, &'a Records);

/// Tells a reactor that its memory is warm.
pub(super) fn tell_warm(link: &Link) {
    let mut mail = Mail::Warm;
    while let Err(back) = link.inbox.push(mail) {
        mail = back;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Gives an engine what its headers and the ledger know. What it has to say about that is left in `actions`.
fn restore(
    engine: &mut Engine<'static>,
    known: &[Known<'_>],
    clock: Clock,
    actions: &mut Actions,
) -> Result<(), Misfit> {
    for (volume, _, records) in known {
        for command in lost_again(records, clock) {
            tell(engine, *volume, command, clock, actions);
        }
    }
    let rebuilt = engine.rebuild(clock.now(), actions)?;
    if rebuilt.lines > 0 {
        tracing::info!(
            lines = rebuilt.lines,
            not_clean = rebuilt.not_clean,
            failed = rebuilt.failed,
            in_flight = rebuilt.in_flight,
            damaged = rebuilt.damaged,
            "took over what an earlier daemon left"
        );
    }
    for &(volume, fenced, records) in known {
        for record in &records.not_stable {
            let first = clock.instant(record.failure.first_ms);
            tell(engine, volume, Command::RestoreReport { range: record.range, first }, clock, actions);
        }
        if fenced {
            engine.apply(clock.now(), Event::Settled { volume }, actions);
        }
    }
    Ok(())
}

/// What an engine is told of a volume's losses on record.
pub(super) fn lost_again(records: &Records, clock: Clock) -> impl Iterator<Item = Command> {
    records.lost.iter().map(move |record| Command::RestoreLoss {
        range: record.range,
        class: record.failure.class,
        errno: record.failure.errno,
        first: clock.instant(record.failure.first_ms),
        generation: record.generation,
    })
}

fn tell(
    engine: &mut Engine<'static>,
    volume: VolumeId,
    command: Command,
    clock: Clock,
    actions: &mut Actions,
) {
    let event = Event::Operator { token: Token(0), volume, command };
    engine.apply(clock.now(), event, actions);
    actions.answers.clear();
}
