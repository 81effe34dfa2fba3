//! The need-wakeup handshake: a side that wants to sleep arms a flag and looks once more; a side that has published
//! rings, and pays for a system call only if the flag was armed.
//!
//! The danger is the store-load race: the sleeper looks before the publication is visible while the publisher reads
//! the flag before the arming is visible. The two SeqCst fences make at least one of them see the other.

use crate::sync::{AtomicU32, Ordering, fence};
use holdfast_mutants::mutant;

/// Announces that this side may go to sleep. The caller must look for work once more before it sleeps.
pub(crate) fn arm(flag: &AtomicU32) {
    flag.store(1, Ordering::Relaxed);
    // SYNC POINT doorbell: pairs with the fence in `ring`; the arming is ordered before the last look.
    fence(Ordering::SeqCst);
}

/// Withdraws the announcement.
pub(crate) fn disarm(flag: &AtomicU32) {
    flag.store(0, Ordering::Relaxed);
}

/// After a publication: whether the peer must be woken. At most one ringer gets `true` for each arming, so that a
/// burst of publications costs one wake-up.
pub(crate) fn ring(flag: &AtomicU32) -> bool {
    if mutant!(WakeUpIsLost) {
        return false;
    }
    // SYNC POINT doorbell: pairs with the fence in `arm`; the publication is ordered before this load.
    if !mutant!(DoorbellHasNoFence) {
        fence(Ordering::SeqCst);
    }
    // The plain load first: the flag's cache line stays shared while nobody sleeps. Rejected: `swap`, by which a late
    // ringer writes a 0 that competes with the sleeper's next arming, and that loom cannot tell to be harmless.
    flag.load(Ordering::Relaxed) == 1
        && flag.compare_exchange(1, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
