//! Counts what a thread allocates while it is watched: an engine allocates nothing after its start, but for losses and
//! for the pages that an operator asks for.
#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    if WATCHED.get() {
        COUNT.set(COUNT.get() + 1);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came; the counters are cells of this thread, which
// are constant-initialised and have no destructor, so that touching them allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `System.alloc` above with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    // Where deliberate bugs are built in, the first look for the chosen one allocates.
    let _ = holdfast_mutants::Mutant::NoFence.is_on();
    let before = COUNT.get();
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    COUNT.get() - before
}

/// The watch sees what is allocated while it is on, and nothing else.
#[test]
fn the_watch_sees_allocations() {
    let boxed = std::hint::black_box(Box::new(1));
    assert_eq!(allocations(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(64)))), 1);
    assert_eq!(allocations(|| drop(boxed)), 0);
}
