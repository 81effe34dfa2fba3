//! A thread with a table of descriptors of its own.
#![allow(
    unsafe_code,
    reason = "close_range and descriptors that mean something in this thread's table alone"
)]

use rustix::fs::{Mode, OFlags};
use rustix::thread::CpuSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Gives this thread, and those that it starts, a table of descriptors of their own, in which are only copies of `kept` under
/// the same numbers, and /dev/null where a program's three are. Nobody else's descriptors are closed by that. From now on
/// this thread must not close, nor use, what the process holds under other numbers.
///
/// # Errors
/// The kernel's; the table is as it was then, or has fewer of these copies.
pub(super) fn from_the_rest(kept: &[RawFd], cores: &[usize]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|&fd| u32::try_from(fd).expect("open")).collect();
    kept.sort_unstable();
    kept.dedup();
    // The highest range first: so much is not even copied.
    let mut above = u32::MAX;
    let mut flags = libc::CLOSE_RANGE_UNSHARE;
    for &fd in kept.iter().rev() {
        close(fd + 1, above, flags)?;
        (above, flags) = (fd.saturating_sub(1), 0);
    }
    if kept.first().is_some_and(|&fd| fd > 0) {
        close(0, above, flags)?;
    }
    // What is opened here must not become a number that somebody prints to.
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for fd in (0..3).filter(|fd| !kept.contains(fd)) {
        let number = RawFd::try_from(fd).expect("0 to 2");
        // SAFETY: a plain system call. The number is free in this thread's table, or the one of `nothing` itself.
        if unsafe { libc::dup2(nothing.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if nothing.as_raw_fd() < 3 {
        // It is one of the three.
        std::mem::forget(nothing);
    }
    if !cores.is_empty() {
        let mut set = CpuSet::new();
        cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|&core| set.set(core));
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    Ok(())
}

/// The copy of a descriptor that this thread's own table has of one that was kept: to be had once.
pub(super) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the number is a copy in a table of this thread alone, whose maker has it from `from_the_rest` and hands it over
    // here; the number of the same name in other tables is another's, and untouched when this is dropped.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn close(first: u32, last: u32, flags: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    let flags = i32::try_from(flags).expect("small");
    // SAFETY: with the first call the table is this thread's own, so that no descriptor of anybody else is closed (close_range(2),
    // CLOSE_RANGE_UNSHARE); of this thread's, nothing but `kept` is used.
    if unsafe { libc::close_range(first, last, flags) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
