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
    Actions, Command, Engine, Event, Misfit, Notes, RUN_LINES_MAX, Share, Token, VolumeId, VolumeSetup,
};
use holdfast_policy::DirtyIndex;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// What every reactor is made from.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) volumes: &'a [Volume],
    pub(super) records: &'a [Records],
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

/// Starts all reactors and waits until each is ready. Returns their threads, the volumes' maps, and what works
/// less well than it might.
pub(super) fn start(
    plan: &Plan<'_>,
    shards: Vec<Shard>,
) -> Result<(Vec<Running>, Sheets, Vec<String>), StartError> {
    let mut threads = Vec::new();
    let mut fallbacks = Vec::new();
    let mut sheets = vec![Vec::new(); plan.volumes.len()];
    // The reactors' threads use them until the process ends.
    let shares: Vec<&'static Share> = plan
        .volumes
        .iter()
        .map(|_| &*Box::leak(Box::new(Share::new(plan.settings.daemon.reactors))))
        .collect();
    for shard in shards {
        let reactor = shard.reactor;
        let (ready, is_ready) = mpsc::channel();
        let part = Part::new(plan, shard, &shares)?;
        let own = part.setups.iter().map(|setup| Sheet::new(setup.geometry, setup.index_lines, setup.index));
        sheets.iter_mut().zip(own).for_each(|(volume, sheet)| volume.push(sheet));
        let thread = std::thread::Builder::new()
            .name(format!("holdfast-{reactor}"))
            .spawn(move || part.run(&ready))
            .map_err(|source| StartError::Resource { what: "no thread for a reactor", source })?;
        let started = is_ready.recv().expect("the thread says whether it is ready");
        for fallback in started? {
            if !fallbacks.contains(&fallback) {
                fallbacks.push(fallback);
            }
        }
        threads.push(thread);
    }
    Ok((threads, sheets, fallbacks))
}

/// What goes to a reactor's thread.
struct Part {
    settings: Settings,
    shard: Shard,
    setups: Vec<VolumeSetup<'static>>,
    files: Vec<(VolumeId, Arc<Backing>, Option<Arc<Faults>>)>,
    records: Vec<Records>,
    outlets: Outlets,
    clock: Clock,
    seed: u64,
    cold: bool,
}

impl Part {
    fn new(plan: &Plan<'_>, shard: Shard, shares: &[&'static Share]) -> Result<Part, StartError> {
        let mut setups = Vec::new();
        let mut files = Vec::new();
        for (volume, share) in plan.volumes.iter().zip(shares) {
            let geometry = volume.geometry(plan.settings, shard.reactor);
            let grown = volume.geometry_of(volume.bytes_max(), plan.settings, shard.reactor);
            let index_lines = grown.local_lines();
            let words = DirtyIndex::words_needed(index_lines);
            let index = arena::zeroed_words(words)
                .map_err(|source| StartError::Resource { what: "no memory for a dirty index", source })?;
            let settings = &volume.settings;
            setups.push(VolumeSetup {
                id: volume.id,
                geometry,
                domain: volume.domain,
                domain_owner: volume.domain_owner,
                mode: settings.mode,
                budget_slots: plan.settings.budget_slots(settings),
                room_slots: plan.settings.room_slots(settings),
                share,
                rules: settings.rules,
                flush_on_failure: settings.flush_on_failure,
                parked_flushes_max: settings.parked_flushes_max,
                io_timeout_ms: settings.io_timeout_ms,
                write_back_from: settings.write_back_from,
                write_back_after_ms: settings.write_back_after_ms,
                index_lines,
                index,
            });
            files.push((volume.id, Arc::clone(&volume.backing), volume.faults.clone()));
        }
        Ok(Part {
            settings: plan.settings.clone(),
            shard,
            setups,
            files,
            records: plan.records.to_vec(),
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
    ) -> Result<(Reactor<'static>, Vec<String>), StartError> {
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
            volumes_max: self.setups.len(),
            watches_max: SEATS_MAX as usize + 1 + kicks,
            workers_max: self.settings.limits.io_workers_max,
            reactor_cores: &cores,
        };
        let disk = if self.cold { Disk::unregistered } else { Disk::new };
        let (mut disk, fallbacks) = disk(&options, self.shard.slots.addresses()).map_err(failed)?;
        notices.extend(fallbacks.iter().map(ToString::to_string));
        for (volume, backing, faults) in &self.files {
            disk.attach(*volume, backing, faults.clone()).map_err(failed)?;
        }
        let notes = Notes::over(self.shard.notes);
        let mut engine = Engine::resume(limits, self.shard.headers, notes, self.clock.now());
        let volumes = self.setups.len();
        for setup in self.setups {
            engine.add_volume(setup);
        }
        let mut actions = Actions::with_capacity(&limits);
        let fenced: Vec<bool> = self.files.iter().map(|(_, backing, _)| backing.is_fenced()).collect();
        restore(&mut engine, &self.records, &fenced, self.clock, &mut actions).map_err(|misfit| {
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
    records: &[Records],
    fenced: &[bool],
    clock: Clock,
    actions: &mut Actions,
) -> Result<(), Misfit> {
    for (volume, records) in records.iter().enumerate() {
        for record in &records.lost {
            let command = Command::RestoreLoss {
                range: record.range,
                class: record.failure.class,
                errno: record.failure.errno,
                first: clock.instant(record.failure.first_ms),
                generation: record.generation,
            };
            tell(engine, volume, command, clock, actions);
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
    for (volume, records) in records.iter().enumerate() {
        for record in &records.not_stable {
            tell(engine, volume, Command::RestoreReport { range: record.range }, clock, actions);
        }
        let volume = VolumeId(u16::try_from(volume).expect("at most 256 volumes"));
        if fenced[usize::from(volume.0)] {
            engine.apply(clock.now(), Event::Settled { volume }, actions);
        }
    }
    Ok(())
}

fn tell(engine: &mut Engine<'static>, volume: usize, command: Command, clock: Clock, actions: &mut Actions) {
    let volume = VolumeId(u16::try_from(volume).expect("at most 256 volumes"));
    let event = Event::Operator { token: Token(0), volume, command };
    engine.apply(clock.now(), event, actions);
    actions.answers.clear();
}
