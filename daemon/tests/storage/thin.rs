//! A file that runs full.

use crate::support::{MIB, Rig, file_spec, on_disk};
use holdfast_daemon::device::{Backing, BackingSpec, FaultOperation, FaultSpec};
use holdfast_engine::IoKind;

const ENOSPC: i32 = -28;

#[test]
fn allocating_is_limited_overwriting_never_and_growing_heals() {
    let disk = on_disk();
    let spec = BackingSpec { thin_limit: Some(3 * 4096), ..file_spec(&disk.path().join("volume")) };
    let backing = Backing::open(&spec).expect("opened");
    let thin = backing.thin().expect("it has a limit").clone();
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    for line in [0, 5, 9] {
        assert_eq!(rig.write(0, line * 4096, 1), 4096);
    }
    assert_eq!((thin.used(), thin.limit()), (3 * 4096, 3 * 4096));
    assert_eq!(rig.write(0, 4096, 1), ENOSPC);
    assert_eq!(rig.write(0, 5 * 4096, 2), 4096, "an overwrite needs nothing");
    let op = rig.start(IoKind::Write, 0, 8 * 4096, &[(1, 0, 4096), (2, 0, 4096)]);
    assert_eq!(rig.result_of(op), ENOSPC, "half of it would need a block");
    assert_eq!((rig.flush(0), thin.used()), (0, 3 * 4096));

    assert_eq!(thin.grow(4096), 4 * 4096);
    assert_eq!((rig.write(0, 4096, 1), rig.write(0, 2 * 4096, 1)), (4096, ENOSPC));

    assert_eq!(rig.range(IoKind::Discard, 0, 5 * 4096 - 512, 4096 + 512), 0);
    assert_eq!(thin.used(), 3 * 4096, "a deallocated block is free");
    assert_eq!((rig.write(0, 2 * 4096, 1), rig.write(0, 5 * 4096, 1)), (4096, ENOSPC));
}

/// A limit above the file's size means nothing: it is neither taken nor told.
#[test]
fn a_limit_grows_to_the_files_size_at_most() {
    let disk = on_disk();
    let path = disk.path().join("volume");
    std::fs::File::create(&path).and_then(|file| file.set_len(MIB)).expect("sized");
    let spec = BackingSpec { thin_limit: Some(4096), ..file_spec(&path) };
    let backing = Backing::open(&spec).expect("opened");
    let thin = backing.thin().expect("it has a limit").clone();
    assert_eq!((thin.grow(4096), thin.grow(1 << 40), thin.limit()), (2 * 4096, MIB, MIB));
    assert_eq!(thin.grow(u64::MAX), MIB);
}

#[test]
fn what_a_file_holds_when_it_is_opened_counts() {
    use std::os::unix::fs::FileExt;
    let disk = on_disk();
    let path = disk.path().join("volume");
    let file = std::fs::File::create(&path).expect("made");
    file.set_len(MIB).expect("sized");
    for block in [0_u64, 1, 2, 100] {
        file.write_all_at(&[1; 4096], block * 4096).expect("written");
    }
    file.sync_all().expect("synced");
    let spec = BackingSpec { thin_limit: Some(4096), ..file_spec(&path) };
    let backing = Backing::open(&spec).expect("opened");
    let thin = backing.thin().expect("it has a limit").clone();
    assert_eq!(thin.used(), 4 * 4096);
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    assert_eq!((rig.write(0, 100 * 4096, 1), rig.write(0, 101 * 4096, 1)), (4096, ENOSPC));
    assert_eq!(rig.range(IoKind::Zero, 0, 0, MIB), 0);
    assert_eq!(thin.used(), 0);
}

#[test]
fn what_a_refused_write_had_taken_is_given_back() {
    let disk = on_disk();
    let path = disk.path().join("volume");
    let spec = BackingSpec { thin_limit: Some(MIB), ..file_spec(&path) };
    drop(Backing::open(&spec).expect("made"));
    let backing = Backing::open(&BackingSpec { read_only: true, ..spec }).expect("opened for reading");
    let thin = backing.thin().expect("it has a limit").clone();
    let mut rig = Rig::new();
    let faults = rig.attach(0, &backing);
    assert_eq!((rig.write(0, 0, 1), thin.used()), (-libc::EBADF, 0));
    let sequence = "x".parse().expect("a good word");
    faults.add(FaultSpec { operation: FaultOperation::Write, errno: 5, range: None, sequence });
    assert_eq!((rig.write(0, 0, 1), thin.used()), (-5, 0));
}
