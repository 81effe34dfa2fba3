//! `status` at 3 a.m.: exactly what is on the screen, for each kind of trouble.

use crate::fake::{EPOCH_MS, State, volume};
use crate::world::World;
use holdfast_ctl::Exit;
use holdfast_ctl::api::VolumeState;
use holdfast_daemon::admin::{StuckView, ThinView};
use holdfast_policy::ErrorClass;

/// What `status` prints when `trouble` came over one volume.
fn screen(exit: Exit, trouble: impl FnOnce(&mut State)) -> String {
    let world = World::new();
    {
        let mut state = world.state();
        state.volumes = vec![volume("vm1", 0)];
        trouble(&mut state);
    }
    let ran = world.ctl("status");
    assert_eq!((ran.exit, ran.err.as_str()), (exit, ""), "{ran:?}");
    world.told("status").replace(&format!("/proc/{}/", std::process::id()), "/proc/PID/")
}

fn full(state: &mut State) {
    let stats = &mut state.volumes[0].stats;
    (stats.failed, stats.gate_class, stats.gate_errno) = (16, ErrorClass::Space as u8, 28);
    stats.next_probe_ms = 12_000;
}

fn ledger_stuck(state: &mut State) {
    state.daemon.ledger.stuck = Some(StuckView { errno: 28, since_unix_ms: EPOCH_MS, waiting_entries: 7 });
}

#[test]
fn healthy() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: HEALTHY
 status: Every device takes what it is given. Nothing is held, nothing is lost.
 action: None.

VOLUME  STATE    MODE            SIZE    DIRTY  UNSTABLE  FAILED  LOST
vm1     HEALTHY  write-back  10.0 GiB  1.5 MiB       0 B     0 B   0 B
";
    assert_eq!(screen(Exit::Ok, |state| state.volumes[0].stats.dirty = 384), expected[1..]);
}

#[test]
fn a_full_device_whose_data_is_held() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: DEGRADED
 status: The device of volume 'vm1' refuses 64.0 KiB: No space left on device (ENOSPC). It is
         held in the cache, none of it is lost, and reads return it; flushes fail until it is
         written. Next try by itself in 12 s.
 action: Make room under '/srv/vm1.img', then type:
           holdfastctl --socket S retry vm1 --wait
   code: HF_FAILED_EXTENTS

VOLUME  STATE     MODE            SIZE  DIRTY  UNSTABLE    FAILED  LOST
vm1     DEGRADED  write-back  10.0 GiB    0 B       0 B  64.0 KiB   0 B
";
    assert_eq!(screen(Exit::Incomplete, full), expected[1..]);
}

#[test]
fn a_full_thin_volume_says_how_to_grow_it() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: DEGRADED
 status: The device of volume 'vm1' refuses 64.0 KiB: No space left on device (ENOSPC). It is
         held in the cache, none of it is lost, and reads return it; flushes fail until it is
         written. Next try by itself in 12 s.
 action: Add space, then write what is held. Type:
           holdfastctl --socket S volume grow-thin vm1 1MiB
           holdfastctl --socket S retry vm1 --wait
   code: HF_FAILED_EXTENTS

VOLUME  STATE     MODE            SIZE  DIRTY  UNSTABLE    FAILED  LOST
vm1     DEGRADED  write-back  10.0 GiB    0 B       0 B  64.0 KiB   0 B
";
    assert_eq!(
        screen(Exit::Incomplete, |state| {
            full(state);
            state.volumes[0].thin = Some(ThinView { limit_bytes: 1 << 20, allocated_bytes: 1 << 20 });
        }),
        expected[1..]
    );
}

#[test]
fn blocks_that_are_refused_one_by_one() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: DEGRADED
 status: The device of volume 'vm1' refuses 4.0 KiB. It is held in the cache, none of it is
         lost, and reads return it; flushes fail until it is written.
 action: See which extents are refused and why. When the device is mended, type the second:
           holdfastctl --socket S extents vm1 --state failed
           holdfastctl --socket S retry vm1 --wait
   code: HF_FAILED_EXTENTS

VOLUME  STATE     MODE            SIZE  DIRTY  UNSTABLE   FAILED  LOST
vm1     DEGRADED  write-back  10.0 GiB    0 B       0 B  4.0 KiB   0 B
";
    assert_eq!(screen(Exit::Incomplete, |state| state.volumes[0].stats.failed = 1), expected[1..]);
}

#[test]
fn lost_data() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: FAULTED
 status: Volume 'vm1' has lost 8.0 KiB of acknowledged data. Reads of it answer EIO, and so does
         every flush of the volume, until it is overwritten, discarded or acknowledged.
 action: See what is lost, and write it again from a copy: an overwrite heals it. If there is
         none, accept the loss. Type:
           holdfastctl --socket S extents vm1 --state lost
           holdfastctl --socket S ack-loss vm1 --yes
   code: HF_LOST_EXTENTS

VOLUME  STATE    MODE            SIZE  DIRTY  UNSTABLE  FAILED     LOST
vm1     FAULTED  write-back  10.0 GiB    0 B       0 B     0 B  8.0 KiB
";
    assert_eq!(screen(Exit::Faulted, |state| state.volumes[0].stats.lost = 2), expected[1..]);
}

#[test]
fn a_ledger_that_cannot_be_written() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: DEGRADED
 status: The ledger '/var/lib/holdfast/ledger' cannot be written since 2026-01-02T03:04:05.000Z:
         No space left on device (ENOSPC). 7 transitions wait to be recorded; until they are, no
         held data is freed and no failed flush is answered. Nothing is lost by this.
 action: Make room on, or mend, the file system of the ledger; the daemon then goes on by
         itself. Look at it with:
           df -h /var/lib/holdfast/ledger
   code: HF_LEDGER_STUCK

VOLUME  STATE    MODE            SIZE  DIRTY  UNSTABLE  FAILED  LOST
vm1     HEALTHY  write-back  10.0 GiB    0 B       0 B     0 B   0 B
";
    assert_eq!(screen(Exit::Incomplete, ledger_stuck), expected[1..]);
}

#[test]
fn a_device_that_hangs() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: DEGRADED
 status: The device of volume 'vm1' does not answer: 3 operations in flight for longer than the
         volume's timeout. What was acknowledged is held in the cache; flushes that need the
         device fail or wait. Nothing is lost by this.
 action: Mend '/srv/vm1.img' or the path to it; what hangs then ends and the daemon goes on by
         itself. See what the kernel says:
           dmesg --level err,warn
           holdfastctl --socket S stats
   code: HF_DEVICE_HANGS

VOLUME  STATE     MODE            SIZE  DIRTY  UNSTABLE  FAILED  LOST
vm1     DEGRADED  write-back  10.0 GiB    0 B       0 B     0 B   0 B
";
    assert_eq!(screen(Exit::Incomplete, |state| state.volumes[0].stats.overdue = 3), expected[1..]);
}

/// A device that was silent when the daemon started.
#[test]
fn a_device_that_could_not_be_opened_yet() {
    let told = screen(Exit::Incomplete, |state| state.volumes[0].unopened = true);
    let expected = r"
 status: The device of volume 'vm1' does not answer: it could not be opened yet, and what needs
         it waits. What was acknowledged is held in the cache; flushes that need the device fail
         or wait. Nothing is lost by this.
";
    assert!(told.contains(expected), "{told}");
    assert!(told.contains("code: HF_DEVICE_HANGS"), "{told}");
}

/// After a kill: what is still in flight is not this daemon's, and killing it again would not help.
#[test]
fn a_device_that_an_earlier_daemon_still_waits_for() {
    let told = screen(Exit::Incomplete, |state| state.volumes[0].haunted = true);
    let expected = r"
 status: The device of volume 'vm1' does not answer: operations of an earlier daemon, which was
         killed, are still in flight, and what needs the device waits for their end. What was
         acknowledged is held in the cache; flushes that need the device fail or wait. Nothing
         is lost by this.
";
    assert!(told.contains(expected), "{told}");
    assert!(told.contains("code: HF_DEVICE_HANGS"), "{told}");
}

#[test]
fn a_device_that_is_gone() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: DEGRADED
 status: The device of volume 'vm1' refuses: No such device (ENODEV). What is not written yet
         stays in the cache; flushes of it fail while this lasts.
 action: Bring '/srv/vm1.img' back, with the right to write to it; then type the first. What was
         unplugged or must be mounted anew has to be opened again: type the second before you
         unmount it, and the third when it is back, with --path PATH if it is elsewhere:
           holdfastctl --socket S retry vm1 --wait
           holdfastctl --socket S volume release vm1
           holdfastctl --socket S volume reopen vm1
   code: HF_DEVICE_GONE

VOLUME  STATE     MODE            SIZE  DIRTY  UNSTABLE  FAILED  LOST
vm1     DEGRADED  write-back  10.0 GiB    0 B       0 B     0 B   0 B
";
    assert_eq!(
        screen(Exit::Incomplete, |state| {
            let stats = &mut state.volumes[0].stats;
            (stats.gate_class, stats.gate_errno) = (ErrorClass::Gone as u8, 19);
        }),
        expected[1..]
    );
}

/// A backing in the page cache may do what this daemon exists to prevent: whoever looks must see it.
#[test]
fn a_backing_in_the_page_cache_is_said() {
    let told = screen(Exit::Ok, |state| state.volumes[0].direct = false);
    let expected = r"
   note: HF_BUFFERED_BACKING Volume 'vm1' goes through the page cache, which forgets data whose
         write-back fails: good for a trial, not for data.
";
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn everything_at_once_with_the_worst_first() {
    let expected = r"
 daemon: holdfastd 0.1.0, up 1 h 0 min, 3 reactors
  state: FAULTED
 status: Reactor 1 has not turned for 1 min 5 s: its part of every volume answers nobody.
         Nothing is lost by this.
 action: Look at what holds its thread, and report it. Type, as root:
           cat /proc/PID/task/*/stack
   code: HF_REACTOR_STALL
   also: HF_LOST_EXTENTS Volume 'vm1' has lost 8.0 KiB of acknowledged data. Reads of it answer
         EIO, and so does every flush of the volume, until it is overwritten, discarded or
         acknowledged.
           holdfastctl --socket S extents vm1 --state lost
           holdfastctl --socket S ack-loss vm1 --yes
   also: HF_VOLUME_NOT_SERVED Volume 'vm2' is not open yet, no client can use it: an operation
         of an earlier daemon is still in flight.
           ls -l /srv/vm2.img
           holdfastctl --socket S events
   also: HF_LEDGER_STUCK The ledger '/var/lib/holdfast/ledger' cannot be written since
         2026-01-02T03:04:05.000Z: No space left on device (ENOSPC). 7 transitions wait to be
         recorded; until they are, no held data is freed and no failed flush is answered.
         Nothing is lost by this.
           df -h /var/lib/holdfast/ledger
   also: HF_FAILED_EXTENTS The device of volume 'vm1' refuses 64.0 KiB: No space left on device
         (ENOSPC). It is held in the cache, none of it is lost, and reads return it; flushes
         fail until it is written. Next try by itself in 12 s.
           holdfastctl --socket S retry vm1 --wait

VOLUME  STATE    MODE            SIZE  DIRTY  UNSTABLE    FAILED     LOST
vm1     FAULTED  write-back  10.0 GiB    0 B       0 B  64.0 KiB  8.0 KiB
vm2     FAULTED  write-back  10.0 GiB    0 B       0 B       0 B      0 B

   note: HF_FALLBACK The arena is not on huge pages: mount hugetlbfs and set its path.
";
    assert_eq!(
        screen(Exit::Faulted, |state| {
            full(state);
            ledger_stuck(state);
            state.volumes[0].stats.lost = 2;
            state.daemon.reactors[1].silent_ms = 65_000;
            let mut waiting = volume("vm2", 1);
            waiting.state = VolumeState::Waiting;
            waiting.why = Some("an operation of an earlier daemon is still in flight.".to_owned());
            state.volumes.push(waiting);
            state.daemon.warnings =
                vec!["The arena is not on huge pages: mount hugetlbfs and set its path.".to_owned()];
        }),
        expected[1..]
    );
}
