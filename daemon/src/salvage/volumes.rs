//! Which volume is behind a number of the arena's headers.
//!
//! The arena has a table of their names. One of format 1 had none, and the table may be damaged: then volumes are numbered
//! in the order of the configuration that the arena was made with. A wrong name would send data to a wrong disk, so a name is
//! given only if nothing speaks against it; else the volume is called by its number.
//!
//! | table | ledger | name |
//! |---|---|---|
//! | has that number | has the name in this arena, or cannot be read, or is not there | that name |
//! | has that number | has the name in another arena, or drained, or not at all | the number |
//!
//! | configuration, without a name in the table | ledger | name |
//! |---|---|---|
//! | has that number | has the name in this arena | that name |
//! | has that number | cannot be read, or is not there | that name, with a note |
//! | has that number | has the name in another arena, or drained, or not at all | the number |
//! | none | has one volume in this arena, whose only number is 0 | that volume's |
//! | none | anything else | the number |

use crate::config::Settings;
use crate::ledger::{ArchivedVolume, Failure};
use holdfast_ctl::api::Time;
use holdfast_ctl::manifest::{HeldRefusal, LostRange};
use std::collections::{BTreeMap, BTreeSet};

/// What else is known of the arena's volumes.
pub(super) struct Sources {
    pub(super) settings: Option<Settings>,
    pub(super) ledger: Option<Vec<ArchivedVolume>>,
    /// None if the superblock does not say: then any arena will do.
    pub(super) arena_id: Option<u64>,
    /// The arena's own names.
    pub(super) names: BTreeMap<u16, String>,
}

/// A volume and what is on record of it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) recorded: Option<ArchivedVolume>,
    pub(super) notes: Vec<String>,
}

impl Sources {
    /// Names one of `numbers`, which are all that the arena has.
    pub(super) fn name(&self, number: u16, numbers: &BTreeSet<u16>) -> Named {
        if let Some(name) = self.names.get(&number).filter(|name| is_plain(name)) {
            return self.known(number, name);
        }
        let configured =
            self.settings.as_ref().and_then(|settings| settings.volumes.get(usize::from(number)));
        let configured = configured.map(|volume| volume.name.as_str());
        match (configured, &self.ledger) {
            (Some(name), None) => Named {
                name: name.to_owned(),
                recorded: None,
                notes: vec![format!(
                    "volume {number} is called '{name}' by the order of the configuration alone: make sure that nobody \
                     changed the order since the daemon ran"
                )],
            },
            (Some(name), Some(ledger)) => match self.here(ledger).find(|volume| volume.name == name) {
                Some(volume) => self.certain(number, volume),
                None => unnamed(
                    number,
                    format!(
                        "volume {number} of the configuration is '{name}', but the ledger does not have its data in this \
                         arena: either the configuration was changed since, or this arena is not the newest"
                    ),
                ),
            },
            (None, Some(ledger)) => {
                let here: Vec<_> = self.here(ledger).collect();
                match here.as_slice() {
                    [only] if numbers.len() == 1 && number == 0 => self.certain(number, only),
                    _ => unnamed(number, candidates(number, &here)),
                }
            }
            (None, None) => unnamed(number, candidates(number, &[])),
        }
    }

    /// Names a volume as the arena does.
    fn known(&self, number: u16, name: &str) -> Named {
        let Some(ledger) = &self.ledger else {
            return Named { name: name.to_owned(), recorded: None, notes: Vec::new() };
        };
        match self.here(ledger).find(|volume| volume.name == name) {
            Some(volume) => {
                Named { name: name.to_owned(), recorded: Some(volume.clone()), notes: Vec::new() }
            }
            None => unnamed(
                number,
                format!(
                    "volume {number} of the arena is '{name}', but the ledger does not have its data in this arena: this \
                     arena is not the newest, or the ledger is another daemon's"
                ),
            ),
        }
    }

    /// The volumes whose newest data is in this arena, as the ledger has it.
    fn here<'a>(&self, ledger: &'a [ArchivedVolume]) -> impl Iterator<Item = &'a ArchivedVolume> {
        let id = self.arena_id.map(u128::from);
        ledger
            .iter()
            .filter(move |volume| volume.mark.is_some_and(|mark| id.is_none_or(|id| mark.arena == id)))
    }

    fn certain(&self, number: u16, volume: &ArchivedVolume) -> Named {
        let mut notes = Vec::new();
        if self.is_reordered() {
            notes.push(
                "the configuration names the volumes in another order than they came to the ledger: if it was changed \
                 since the daemon ran, names are exchanged; compare sizes and contents before importing"
                    .to_owned(),
            );
        }
        let recorded = Some(volume.clone());
        match is_plain(&volume.name) {
            true => Named { name: volume.name.clone(), recorded, notes },
            false => {
                notes.push(format!("the ledger's name {:?} is no name of a volume", volume.name));
                Named { name: format!("volume-{number}"), recorded, notes }
            }
        }
    }

    /// Whether configuration and ledger have the volumes of this arena in different orders.
    fn is_reordered(&self) -> bool {
        let (Some(settings), Some(ledger)) = (&self.settings, &self.ledger) else { return false };
        let place = |volume: &ArchivedVolume| {
            settings.volumes.iter().position(|configured| configured.name == volume.name)
        };
        !self.here(ledger).filter_map(place).is_sorted()
    }
}

fn unnamed(number: u16, note: String) -> Named {
    Named { name: format!("volume-{number}"), recorded: None, notes: vec![note] }
}

fn candidates(number: u16, here: &[&ArchivedVolume]) -> String {
    let names: Vec<&str> = here.iter().map(|volume| volume.name.as_str()).collect();
    let known = match names.is_empty() {
        true => "the ledger has no volume in this arena".to_owned(),
        false => format!("the ledger has {names:?} in this arena"),
    };
    format!(
        "nobody says which volume number {number} is ({known}): name the daemon's configuration with --config"
    )
}

/// Whether a name can be a file's: a ledger is hostile input, too.
fn is_plain(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.chars().all(plain)
        && name.len() <= 64
}

/// What is on record as lost, as a manifest has it.
pub(super) fn lost(volume: &ArchivedVolume) -> Vec<LostRange> {
    let range = |record: &crate::ledger::LostRecord| LostRange {
        offset: record.range.offset,
        length: record.range.length,
        refusal: refusal(&record.failure),
    };
    volume.lost.iter().map(range).collect()
}

fn refusal(failure: &Failure) -> Option<HeldRefusal> {
    let class = holdfast_policy::ErrorClass::from_u8(failure.class)?;
    let time = |ms: u64| (ms > 0).then(|| Time::from_unix_ms(ms));
    Some(HeldRefusal {
        class: class.name().to_owned(),
        errno: crate::admin::errno(failure.errno),
        attempts: failure.attempts,
        first: time(failure.first_ms),
        last: time(failure.last_ms),
    })
}

/// What the device said of a line that failed: its header's word, with the times of the ledger's record if that is of
/// the same failure.
pub(super) fn refusal_at(
    volume: Option<&ArchivedVolume>,
    offset: u64,
    (class, errno, attempts): (u8, u8, u8),
) -> Option<HeldRefusal> {
    let header =
        Failure { class, errno: u16::from(errno), attempts: u32::from(attempts), first_ms: 0, last_ms: 0 };
    let records = volume.map_or(&[][..], |volume| volume.not_stable.as_slice());
    let after = records.partition_point(|record| record.range.offset <= offset);
    let record = after.checked_sub(1).map(|index| &records[index]);
    let same = record.filter(|record| {
        record.range.end() > offset
            && (record.failure.class, record.failure.errno) == (header.class, header.errno)
    });
    refusal(&same.map_or(header, |record| Failure {
        attempts: record.failure.attempts.max(header.attempts),
        ..record.failure
    }))
}
