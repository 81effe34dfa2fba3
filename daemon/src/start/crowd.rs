//! Whose the handshakes are that are under way; and what one user may have of them, and of the seats.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Handshakes under way, by user.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<BTreeMap<u32, usize>>);

impl Crowd {
    /// Nothing in here panics while it holds the lock, and nobody holds it for long.
    fn users(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, uid: u32) {
        *self.users().entry(uid).or_default() += 1;
    }

    /// # Panics
    /// If nobody of this user has entered.
    pub(super) fn leave(&self, uid: u32) {
        let mut users = self.users();
        let count = users.get_mut(&uid).expect("who leaves has entered");
        *count -= 1;
        if *count == 0 {
            users.remove(&uid);
        }
    }

    /// Those of one user.
    pub(super) fn of(&self, uid: u32) -> usize {
        self.users().get(&uid).copied().unwrap_or(0)
    }

    /// All of them.
    pub(super) fn total(&self) -> usize {
        self.users().values().sum()
    }
}

/// What a user may have of `all`, where the share of one is `parts` of 1000: one at least, and who is trusted anyhow has
/// all.
pub(super) fn portion(uid: u32, all: usize, parts: u16) -> usize {
    let own = rustix::process::geteuid().as_raw();
    if uid == 0 || uid == own { all } else { (all * usize::from(parts) / 1000).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_is_not_counted() {
        let crowd = Crowd::default();
        for uid in [7, 7, 8] {
            crowd.enter(uid);
        }
        assert_eq!((crowd.of(7), crowd.of(8), crowd.of(9), crowd.total()), (2, 1, 0, 3));
        for uid in [8, 7] {
            crowd.leave(uid);
        }
        assert_eq!((crowd.of(7), crowd.of(8), crowd.total()), (1, 0, 1));
    }

    #[test]
    fn one_user_has_a_part_and_the_trusted_have_all() {
        let own = rustix::process::geteuid().as_raw();
        let other = own.wrapping_add(1).max(1);
        assert_eq!((portion(other, 64, 750), portion(other, 64, 1000), portion(other, 1, 10)), (48, 64, 1));
        assert_eq!((portion(0, 64, 10), portion(own, 64, 10)), (64, 64));
    }
}
