//! What goes wrong in a run: which kinds of trouble it has at all, and when they strike.

use crate::fault::{Fault, Kinds, Trouble};
use crate::happening::Happening;
use crate::{Random, Shell};
use holdfast_policy::errno;

/// A kind of trouble that a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Some blocks cannot be written.
    MediumWrite,
    /// Nothing can be written: no space, though the pool is not simulated.
    Space,
    /// The path is lost for a while.
    Transient,
    /// The device is gone for a while.
    Gone,
    /// Some blocks cannot be read.
    MediumRead,
    /// Flushes are refused.
    FlushRefused,
    /// Flushes fail and the cache is lost.
    FlushLoses,
    /// Flushes fail though all is down.
    FlushPersists,
    /// Operations are short.
    Short,
    /// Operations hang.
    Hang,
    /// The cache is lost without a word.
    Reset,
    /// Thin pools grow now and then.
    Grow,
    /// The ledger cannot be written.
    LedgerOutage,
    /// Sessions end and others begin.
    Sessions,
    /// The daemon is killed, now and then in the middle of a turn.
    Kill,
    /// The host loses its power, now and then in the middle of a turn.
    PowerCut,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 16] = [
        Kind::MediumWrite,
        Kind::Space,
        Kind::Transient,
        Kind::Gone,
        Kind::MediumRead,
        Kind::FlushRefused,
        Kind::FlushLoses,
        Kind::FlushPersists,
        Kind::Short,
        Kind::Hang,
        Kind::Reset,
        Kind::Grow,
        Kind::LedgerOutage,
        Kind::Sessions,
        Kind::Kill,
        Kind::PowerCut,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::MediumWrite => "medium-write",
            Kind::Space => "space",
            Kind::Transient => "transient",
            Kind::Gone => "gone",
            Kind::MediumRead => "medium-read",
            Kind::FlushRefused => "flush-refused",
            Kind::FlushLoses => "flush-loses",
            Kind::FlushPersists => "flush-persists",
            Kind::Short => "short",
            Kind::Hang => "hang",
            Kind::Reset => "reset",
            Kind::Grow => "grow",
            Kind::LedgerOutage => "ledger-outage",
            Kind::Sessions => "sessions",
            Kind::Kill => "kill",
            Kind::PowerCut => "power-cut",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it does to a disk: kinds of operation, what happens, and whether only somewhere.
    fn effect(self, random: &mut Random) -> Option<(Kinds, Trouble, bool)> {
        let refuse = |errno| Trouble::Refuse(errno);
        Some(match self {
            Kind::MediumWrite => (Kinds::CHANGE, refuse(errno::EIO), true),
            Kind::Space => (Kinds::CHANGE, refuse(random.pick(&[errno::ENOSPC, errno::EDQUOT])), false),
            Kind::Transient => (random.pick(&[Kinds::ALL, Kinds::CHANGE]), refuse(errno::ENOLINK), false),
            Kind::Gone => (Kinds::ALL, refuse(random.pick(&[errno::ENODEV, errno::EROFS])), false),
            Kind::MediumRead => (Kinds::READ, refuse(random.pick(&[errno::EIO, errno::EILSEQ])), true),
            Kind::FlushRefused => (Kinds::FLUSH, refuse(random.pick(&[errno::EIO, errno::ENOSPC])), false),
            Kind::FlushLoses => (Kinds::FLUSH, Trouble::FlushLoses, false),
            Kind::FlushPersists => (Kinds::FLUSH, Trouble::FlushPersists, false),
            Kind::Short => (Kinds::ALL, Trouble::Short, true),
            Kind::Hang => (
                random.pick(&[Kinds::ALL, Kinds::WRITE, Kinds::READ, Kinds::FLUSH, Kinds::CHANGE]),
                Trouble::Hang,
                true,
            ),
            Kind::Reset | Kind::Grow | Kind::LedgerOutage | Kind::Sessions => return None,
            Kind::Kill | Kind::PowerCut => return None,
        })
    }
}

/// The trouble of one run.
#[derive(Debug)]
pub struct Weather {
    kinds: Vec<Kind>,
    odds: u64,
    random: Random,
}

impl Weather {
    /// Draws about half of the kinds, but none of `without`.
    pub fn new(mut random: Random, without: &[Kind]) -> Weather {
        let drawn: Vec<Kind> = Kind::ALL.into_iter().filter(|_| random.chance(450)).collect();
        let odds = random.pick(&[10, 30, 80]);
        let kinds = drawn.into_iter().filter(|kind| !without.contains(kind)).collect();
        Weather { kinds, odds, random }
    }

    /// Maybe something begins to go wrong.
    pub fn turn(&mut self, shell: &mut Shell<'_>) {
        if self.kinds.is_empty() || !self.random.chance(self.odds) {
            return;
        }
        let kind = self.random.pick(&self.kinds);
        let random = &mut self.random;
        let lasts = random.pick(&[1_000_000u64, 30_000_000, 400_000_000, 3_000_000_000, 40_000_000_000]);
        let lasts = random.between(1, lasts);
        let volume = u16::try_from(random.below(shell.plan.volumes.len() as u64)).expect("few volumes");
        let domain = usize::from(shell.plan.volumes[usize::from(volume)].domain);
        shell
            .trace
            .line(shell.now, format_args!("trouble: {} on volume {volume} for {lasts} ns", kind.name()));
        match (kind, kind.effect(random)) {
            (_, Some((kinds, trouble, somewhere))) => {
                let sectors = shell.plan.volumes[usize::from(volume)].medium.sectors;
                let from = if somewhere { random.below(sectors) } else { 0 };
                let length = random.pick(&[1, 64, sectors]);
                let to = if somewhere { from + length } else { sectors };
                let odds = random.pick(&[1_000, 1_000, 400]);
                let (since, until) = (shell.now, shell.now + lasts);
                let fault = Fault { name: kind.name(), volume, kinds, from, to, since, until, odds, trouble };
                let faults = &mut shell.disks[domain].faults;
                faults.retain(|fault| fault.until > since);
                faults.push(fault);
            }
            (Kind::Reset, _) => shell.queue.push(shell.now + lasts % 5_000_000, Happening::Reset { domain }),
            (Kind::Grow, _) => {
                let chunks = random.between(1, 40);
                shell.queue.push(shell.now + lasts % 50_000_000, Happening::Grow { domain, chunks });
            }
            (Kind::LedgerOutage, _) => {
                shell.coverage.fault(kind.name());
                shell.ledger.outage_until = shell.now + lasts % 10_000_000_000;
            }
            (Kind::Kill, _) => shell.kill(),
            (Kind::PowerCut, _) => shell.power_cut(),
            _ => {
                shell.coverage.fault(kind.name());
                if let Some((session, volume)) = shell.clients.any(random) {
                    shell.close(session);
                    shell.clients.open(volume);
                }
            }
        }
    }
}
