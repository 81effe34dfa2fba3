//! From the settings in force to others, while the daemon runs: all of it, or nothing.

use super::added;
use super::attach::refused;
use super::hub::Hub;
use super::reload::tuning;
use super::remove::Farewell;
use super::table::{Served, Table};
use crate::admin::BackendError;
use crate::config::{self, Settings, VolumeSettings};
use holdfast_engine::{Command, VolumeStats};
use holdfast_policy::{ErrorClass, Policy};
use std::sync::Arc;

impl Hub {
    /// Puts settings in force that differ in nothing which needs a restart: volumes go and come, budgets and policies change.
    /// Whoever calls this has the settings to himself. What became of the volumes that went is returned in their order.
    ///
    /// What can fail comes first, what cannot be taken back comes last.
    pub(super) fn change_over(&self, after: Settings, abandon: bool) -> Result<Vec<Farewell>, BackendError> {
        if self.stopping() {
            return Err(BackendError::Busy {
                what: "The daemon is stopping.".to_owned(),
                remedy: "Nothing was changed. Do it when it is back.".to_owned(),
            });
        }
        let before = self.in_force();
        let mut table = Table::clone(&self.table());
        let going: Vec<Arc<Served>> = table
            .iter()
            .filter(|served| !after.volumes.iter().any(|volume| volume.name == served.name()))
            .cloned()
            .collect();
        self.refuse_budgets_below_failures(&before, &after)?;
        if !abandon {
            going.iter().try_for_each(|served| self.refuse_if_held(served))?;
        }
        // Those that go, and those that share a disk with one that comes, until all see who went and came.
        let mut holds = Vec::new();
        for served in &going {
            holds.push(served.change_device()?);
        }
        let mut come = Vec::new();
        let known = |volume: &&VolumeSettings| table.named(&volume.name).is_some();
        let coming: Vec<&VolumeSettings> = after.volumes.iter().filter(|volume| !known(volume)).collect();
        let arrived = coming.into_iter().try_for_each(|volume| {
            come.push(self.bring_in(volume, &after, &mut table, &mut holds)?);
            Ok(())
        });
        let closed = arrived.and_then(|()| self.close(&going, abandon));
        let farewells = match closed {
            Ok(farewells) => farewells,
            Err(error) => {
                self.send_back(&come, &mut table);
                return Err(error);
            }
        };
        // Behind here nothing is taken back.
        let mut stuck = None;
        for served in &going {
            match self.take_out(served, &mut table) {
                Ok(()) => added::forget_one(&self.settings.daemon.state_dir, served.name()),
                Err(error) => stuck = Some(error),
            }
        }
        self.put_settings(&before, after, table);
        drop(holds);
        stuck.map_or(Ok(farewells), Err)
    }

    /// Volumes that came and are not to stay: nobody has used them.
    fn send_back(&self, come: &[Arc<Served>], table: &mut Table) {
        if self.close(come, false).is_ok() {
            for served in come {
                if let Err(error) = self.take_out(served, table) {
                    tracing::error!(%error, "a volume that was not to come could not be sent back");
                }
            }
        }
    }

    fn put_settings(&self, before: &Settings, after: Settings, table: Table) {
        for served in table.iter() {
            let Some(new) = after.volumes.iter().find(|volume| volume.name == served.name()) else {
                continue;
            };
            let old = before.volumes.iter().find(|volume| volume.name == served.name());
            // Nobody waits for the answers: the letters are in the boxes, and are never refused.
            if old.is_some_and(|old| tuning(old) != tuning(new)) {
                let _answers = self.ask(served.id, &Command::SetPolicy { tuning: Box::new(tuning(new)) });
            }
            let (budget_slots, room_slots) = (after.budget_slots(new), after.room_slots(new));
            if old.is_none_or(|old| {
                before.budget_slots(old) != budget_slots || before.room_slots(old) != room_slots
            }) {
                let _answers = self.ask(served.id, &Command::SetBudget { budget_slots, room_slots });
            }
            let limits = (&served.thin, old.and_then(config::thin_limit), config::thin_limit(new));
            if let (Some(thin), Some(old), Some(new)) = limits {
                thin.grow(new.saturating_sub(old));
            }
        }
        self.put_in_force(after);
        self.put_table(table);
    }

    /// A smaller budget is never a reason to lose data: where a policy gives up under pressure, it stays above what is held.
    fn refuse_budgets_below_failures(&self, before: &Settings, after: &Settings) -> Result<(), BackendError> {
        for served in self.table().iter() {
            let named = |settings: &Settings| {
                settings.volumes.iter().find(|volume| volume.name == served.name()).cloned()
            };
            let (Some(old), Some(new)) = (named(before), named(after)) else { continue };
            let (stats, slots) = (self.stats(served.id), after.budget_slots(&new));
            if slots < before.budget_slots(&old) && would_give_up(&new, &stats, slots) {
                let line = u64::from(self.settings.arena.line_bytes);
                let what = format!(
                    "Volume '{}' has {} bytes not on stable media, {} of them refused by its device: with a budget of {} its \
                     policy would give some of that up.",
                    served.name(),
                    stats.not_clean * line,
                    stats.failed * line,
                    slots * line
                );
                return Err(refused(
                    what,
                    "Mend the device first, or set a policy that holds ('holdfastctl policy set').",
                ));
            }
        }
        Ok(())
    }

    /// What is to be said of a budget that is smaller than what is held: nothing of it is lost, but writes wait.
    pub(super) fn note_on_budget(&self, name: &str, after: &Settings) -> Option<String> {
        let table = self.table();
        let served = table.named(name)?;
        let volume = after.volumes.iter().find(|volume| volume.name == name)?;
        let held = self.stats(served.id).not_clean;
        let line = u64::from(self.settings.arena.line_bytes);
        (held > after.budget_slots(volume)).then(|| {
            format!(
                "{} bytes are not on stable media: they stay, and new writes wait until there is room",
                held * line
            )
        })
    }

    /// Bytes that are on record as lost of a volume.
    pub(super) fn lost_bytes(&self, served: &Served) -> u64 {
        self.book.ledger().lost_of(served.name())
    }
}

/// Whether a policy gives failures up when so few slots are the budget.
fn would_give_up(volume: &VolumeSettings, stats: &VolumeStats, slots: u64) -> bool {
    let gives_up = |class: ErrorClass| {
        matches!(volume.rules.for_class(class).policy, Policy::HoldUntilPressure(hold)
            if stats.not_clean.saturating_mul(1000) >= slots.saturating_mul(u64::from(hold.pressure)))
    };
    stats.failed > 0 && ErrorClass::ALL.into_iter().any(gives_up)
}
