//! Survives SIGBUS in memory that a peer can take away.
//!
//! A shared page can vanish under its reader: the file is truncated, a hole is punched and nothing is left to fill it,
//! the memory fails. The kernel then sends SIGBUS, which would end the daemon and with it every other session. The
//! signal's routine here looks the address up in a table of guarded ranges; if it is inside one, it puts private zero
//! pages over the whole range and marks it poisoned, so that the access goes on and the owner ends that session at its
//! next turn. Any other SIGBUS ends the process as if this module did not exist.
//!
//! Everything the routine touches is a static atomic, and all it calls is `mmap`, `sigaction` and `raise`: it can run
//! at any instruction of any thread.
#![allow(unsafe_code, reason = "a signal routine that remaps memory")]

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use std::io;
use std::sync::OnceLock;

/// Ranges that can be guarded at once: one a session, and a VM's memory regions.
pub const RANGES_MAX: usize = 4096;

const PAGE_SHIFT: u32 = 12;
/// A range is one word, so that the routine never sees half of a change: 44 bits of first page, 20 of page count.
const COUNT_BITS: u32 = 20;
const PAGES_MAX: u64 = (1 << COUNT_BITS) - 1;

struct Range {
    /// `first_page << 20 | pages`, or 0 for a free entry.
    pages: AtomicU64,
    poisoned: AtomicBool,
}

static RANGES: [Range; RANGES_MAX] =
    [const { Range { pages: AtomicU64::new(0), poisoned: AtomicBool::new(false) } }; RANGES_MAX];
/// Ranges that were poisoned, ever.
static FAULTS: AtomicU64 = AtomicU64::new(0);

/// How many ranges of this process were poisoned since it began. An owner of many ranges looks at each of them only when
/// this has changed.
#[must_use]
pub fn faults() -> u64 {
    // The count is changed by a signal that strikes on this very thread, or by another thread whose own access it was.
    compiler_fence(Ordering::SeqCst);
    FAULTS.load(Ordering::Relaxed)
}

/// Installs the signal routine for the process, once; later calls return the first one's result.
///
/// It replaces the one by which Rust's runtime reports a stack overflow; on Linux that is a SIGSEGV, never a SIGBUS.
///
/// # Errors
/// What `sigaction` reports.
pub fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let install = || {
        let routine: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        set_action(routine as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)
    };
    INSTALLED.get_or_init(install).map_err(io::Error::from_raw_os_error)
}

/// A guarded range of memory, until it is dropped.
#[derive(Debug)]
pub struct GuardedRange {
    entry: usize,
}

/// Guards `length` bytes from `start`; both must be multiples of 4096, and `length` less than 4 GiB.
///
/// Installs the signal routine if that has not been done.
///
/// # Errors
/// If the routine cannot be installed, or [`RANGES_MAX`] ranges are guarded.
///
/// # Panics
/// If `start` or `length` are not as said.
///
/// # Safety
/// The range must be a mapping that the caller owns, that no reference points into, and that stays mapped until the
/// guard is dropped: at any time its content may turn to zeroes and be shared with nobody.
pub unsafe fn guard(start: *const u8, length: usize) -> io::Result<GuardedRange> {
    install()?;
    let word = pack(start.addr() as u64, length as u64);
    let claim = |range: &Range| {
        // Relaxed is enough: the routine needs nothing but this word, and the owner touches the range only afterwards
        // on its own thread or on one that it passed the memory to with a synchronisation of its own.
        range.pages.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    let entry = RANGES.iter().position(claim);
    let full =
        || io::Error::other(format!("{RANGES_MAX} memory ranges are guarded already: close some sessions"));
    entry.map(|entry| GuardedRange { entry }).ok_or_else(full)
}

impl GuardedRange {
    /// Whether an access to the range raised SIGBUS since it is guarded.
    #[must_use]
    pub fn poisoned(&self) -> bool {
        RANGES[self.entry].poisoned.load(Ordering::Relaxed)
    }
}

impl Drop for GuardedRange {
    fn drop(&mut self) {
        let range = &RANGES[self.entry];
        range.poisoned.store(false, Ordering::Relaxed);
        // SYNC POINT entry-free: a later claim of this entry must find the flag reset.
        range.pages.store(0, Ordering::Release);
    }
}

fn pack(start: u64, length: u64) -> u64 {
    let page = 1 << PAGE_SHIFT;
    assert!(start.is_multiple_of(page) && length.is_multiple_of(page), "range {start:#x}+{length:#x}");
    let (first, count) = (start >> PAGE_SHIFT, length >> PAGE_SHIFT);
    assert!(
        (1..=PAGES_MAX).contains(&count) && first < 1 << (64 - COUNT_BITS),
        "range {start:#x}+{length:#x}"
    );
    (first << COUNT_BITS) | count
}

/// First byte and length of a packed range.
fn unpack(word: u64) -> (u64, u64) {
    ((word >> COUNT_BITS) << PAGE_SHIFT, (word & PAGES_MAX) << PAGE_SHIFT)
}

fn set_action(action: usize, flags: i32) -> Result<(), i32> {
    // SAFETY: all-zero is a valid `sigaction` (no signals blocked, no flags), of which two fields are then set.
    let mut new: libc::sigaction = unsafe { core::mem::zeroed() };
    new.sa_sigaction = action;
    new.sa_flags = flags;
    // SAFETY: `new` is a valid action: either SIG_DFL, or `on_sigbus` with the SA_SIGINFO that its signature needs.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const new, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
    }
}

extern "C" fn on_sigbus(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO routine.
    let code = unsafe { (*info).si_code };
    // A code above 0 is a fault of the memory; others were sent by a process and carry no address.
    if code > 0 {
        // SAFETY: as above; for a SIGBUS from a fault the address field is the valid one.
        let address = unsafe { (*info).si_addr() }.addr() as u64;
        if RANGES.iter().any(|range| patch(range, address)) {
            return;
        }
    }
    // Not ours. With the default action back in place the faulting instruction faults again and ends the process where
    // it happened; a signal that was sent is sent again, and strikes when this routine returns.
    let _ = set_action(libc::SIG_DFL, 0);
    if code <= 0 {
        // SAFETY: raise has no preconditions.
        unsafe { libc::raise(libc::SIGBUS) };
    }
}

/// Puts zero pages over the range if the address is inside; whether that was done.
fn patch(range: &Range, address: u64) -> bool {
    let (start, length) = unpack(range.pages.load(Ordering::Relaxed));
    if address.wrapping_sub(start) >= length {
        return false;
    }
    // Before the mapping: whoever reads the new zeroes without a fault of its own must find the flag set.
    range.poisoned.store(true, Ordering::SeqCst);
    FAULTS.fetch_add(1, Ordering::SeqCst);
    let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(length)) else { return false };
    let flags = libc::MAP_FIXED | libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range is a mapping whose owner agreed to this (`guard`) and keeps it until the entry is freed, which
    // has not happened: it was just being accessed.
    let mapped =
        unsafe { libc::mmap(ptr::with_exposed_provenance_mut(start), length, protection, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn ranges_survive_packing() {
        for (start, length) in
            [(0x1000, 0x1000), (0x7fff_ffff_f000, 0xffff_f000), (0x00ff_ffff_ffff_f000, 0x1000)]
        {
            assert_eq!(unpack(pack(start, length)), (start, length));
        }
        assert_eq!(unpack(0).1, 0, "a free entry holds no address");
    }

    const CHILD: &str = "HOLDFAST_TEST_SIGBUS_CHILD";

    /// Runs this very test again in a child that does `CHILD` and must die of it.
    fn child_dies_of_sigbus(test: &str, deed: &str) {
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", test])
            .env(CHILD, deed)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("a child");
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{deed}: {status}");
    }

    #[test]
    fn a_sigbus_elsewhere_still_ends_the_process() {
        match std::env::var(CHILD).as_deref() {
            Ok("sent") => {
                install().expect("installed");
                // SAFETY: raise has no preconditions.
                unsafe { libc::raise(libc::SIGBUS) };
            }
            Ok("fault") => {
                install().expect("installed");
                let file = crate::memfd::unsealed(4096).expect("a file");
                let map = memmap2::MmapOptions::new().len(4096).map_raw(&file).expect("mapped");
                rustix::fs::ftruncate(&file, 0).expect("truncated");
                // SAFETY: a valid address of a mapping; that the page is gone is what the test is about.
                unsafe { map.as_ptr().read_volatile() };
            }
            _ => {
                let test = "fault_guard::tests::a_sigbus_elsewhere_still_ends_the_process";
                child_dies_of_sigbus(test, "sent");
                child_dies_of_sigbus(test, "fault");
            }
        }
    }
}
