//! Opening files and block devices.

use crate::needs::skip;
use crate::support::{Fuse, Loop, MIB, Rig, file_spec, in_memory, on_disk};
use holdfast_daemon::device::{
    Backing, BackingError, BackingKind, BackingSpec, Directness, DomainKey, FileSystem, NotDirect, Proof,
};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

fn is_direct(backing: &Backing) -> bool {
    matches!(backing.directness(), Directness::Direct(_))
}

#[test]
fn a_file_is_created_sparse_at_full_size_and_opened_directly() {
    let disk = on_disk();
    let mut spec = file_spec(&disk.path().join("volume"));
    spec.size = Some(1 << 30);
    let backing = Backing::open(&spec).expect("opened");
    let metadata = std::fs::metadata(&spec.path).expect("there");
    assert_eq!((backing.size(), metadata.size()), (1 << 30, 1 << 30));
    assert!(metadata.blocks() * 512 < MIB, "{} blocks of a sparse file", metadata.blocks());
    assert_eq!(backing.domain_key(), DomainKey::File { device: metadata.dev(), inode: metadata.ino() });
    if !is_direct(&backing) {
        return skip("the build is on a file system that does not prove direct I/O");
    }
    assert_eq!(backing.directness(), Directness::Direct(Proof::Statx));
    assert!(backing.block_bytes().is_power_of_two() && backing.block_bytes() <= 4096);
}

#[test]
fn two_files_are_two_flush_domains_and_two_identities() {
    let disk = on_disk();
    let one = Backing::open(&file_spec(&disk.path().join("one"))).expect("opened");
    let two = Backing::open(&file_spec(&disk.path().join("two"))).expect("opened");
    assert_ne!(one.domain_key(), two.domain_key());
    assert_ne!(one.identity(), two.identity());
    assert!(one.identity().durable || !is_direct(&one), "{:?}", one.identity());
    let (name, moved) = (one.identity().clone(), disk.path().join("elsewhere"));
    std::fs::rename(one.path(), &moved).expect("moved");
    drop(one);
    let again =
        Backing::open(&BackingSpec { size: None, create: false, ..file_spec(&moved) }).expect("opened");
    assert_eq!(*again.identity(), name, "the identity goes with the file, not with its path");
}

#[test]
fn the_page_cache_is_refused_unless_it_is_allowed_by_name() {
    let memory = in_memory();
    let mut spec = file_spec(&memory.path().join("volume"));
    spec.buffered_allowed = false;
    let error = Backing::open(&spec).expect_err("tmpfs is page cache");
    let reason = NotDirect::PageCache(FileSystem::Tmpfs);
    assert!(matches!(&error, BackingError::NotDirect { why, .. } if *why == reason), "{error}");
    spec.buffered_allowed = true;
    let backing = Backing::open(&spec).expect("allowed");
    assert_eq!(backing.directness(), Directness::Buffered(reason));
    assert_eq!(backing.block_bytes(), 512);
}

#[test]
fn a_backing_is_one_owners_until_he_lets_go() {
    let disk = on_disk();
    let spec = file_spec(&disk.path().join("volume"));
    let held = Backing::open(&spec).expect("opened");
    let error = Backing::open(&spec).expect_err("held");
    let BackingError::Locked { holder, waited_ms, .. } = error else { panic!("{error}") };
    assert_eq!(holder, Some(std::process::id() as i32));
    assert!(waited_ms >= 2000, "{waited_ms} ms are less patience than promised");
    // A killed daemon's lock goes a moment later than the daemon: the next one waits for it.
    let releases = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(60));
        drop(held);
    });
    assert!(Backing::open(&spec).is_ok());
    releases.join().expect("released");
}

/// M1: the lock is on the description that the I/O uses, so it stays as long as a ring can still use it.
#[test]
fn the_lock_outlives_the_backing_while_a_ring_has_it() {
    let disk = on_disk();
    let spec = file_spec(&disk.path().join("volume"));
    let backing = Backing::open(&spec).expect("opened");
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    drop(backing);
    assert!(matches!(Backing::open(&spec), Err(BackingError::Locked { .. })));
    drop(rig);
    assert!(Backing::open(&spec).is_ok());
}

#[test]
fn sizes_and_kinds_must_agree() {
    let disk = on_disk();
    let spec = file_spec(&disk.path().join("volume"));
    drop(Backing::open(&spec).expect("opened"));

    let other = BackingSpec { size: Some(2 * MIB), ..spec.clone() };
    let error = Backing::open(&other).expect_err("another size");
    assert!(
        matches!(error, BackingError::Size { found_bytes: MIB, wanted_bytes, .. } if wanted_bytes == 2 * MIB)
    );

    let block = BackingSpec { kind: BackingKind::Block, size: None, ..spec.clone() };
    assert!(matches!(Backing::open(&block), Err(BackingError::Kind { found: "a regular file", .. })));
    let null = BackingSpec { path: "/dev/null".into(), ..spec.clone() };
    assert!(matches!(Backing::open(&null), Err(BackingError::Kind { found: "a character device", .. })));
    let directory = BackingSpec { path: disk.path().to_owned(), ..spec.clone() };
    assert!(matches!(Backing::open(&directory), Err(BackingError::Kind { found: "a directory", .. })));

    let missing = disk.path().join("missing");
    let nameless = BackingSpec { path: missing.clone(), size: None, ..spec.clone() };
    assert!(matches!(Backing::open(&nameless), Err(BackingError::NoSize { .. })));
    let uncreated = BackingSpec { path: missing.clone(), create: false, ..spec.clone() };
    let error = Backing::open(&uncreated).expect_err("not there");
    assert!(matches!(error, BackingError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("there is no such file; for a new one"), "{error}");
    assert!(!missing.exists());

    let ragged = BackingSpec { path: missing, size: Some(MIB + 100), ..spec };
    assert!(matches!(Backing::open(&ragged), Err(BackingError::Ragged { bytes, .. }) if bytes == MIB + 100));
}

#[test]
fn a_block_device_is_measured_claimed_and_named() {
    let disk = on_disk();
    let file = disk.path().join("disk");
    std::fs::File::create(&file).and_then(|file| file.set_len(8 * MIB)).expect("made");
    let Some(device) = Loop::over(&file) else { return };
    let spec = BackingSpec {
        kind: BackingKind::Block,
        path: device.path.clone().into(),
        size: None,
        create: false,
        buffered_allowed: false,
        thin_limit: None,
        read_only: false,
    };
    let backing = Backing::open(&spec).expect("opened");
    assert_eq!((backing.size(), backing.block_bytes()), (8 * MIB, 512));
    assert_eq!(backing.directness(), Directness::Direct(Proof::BlockDevice));
    assert!(backing.identity().name.starts_with("loop "), "{:?}", backing.identity());
    assert!(matches!(backing.domain_key(), DomainKey::Disk { major: 7, .. }), "{:?}", backing.domain_key());
    assert!(matches!(Backing::open(&spec), Err(BackingError::Busy { .. })), "O_EXCL keeps others out");
    let thin = BackingSpec { thin_limit: Some(MIB), ..spec.clone() };
    assert!(matches!(Backing::open(&thin), Err(BackingError::ThinDevice { .. })));
    let wrong = BackingSpec { size: Some(MIB), ..spec };
    drop(backing);
    assert!(matches!(Backing::open(&wrong), Err(BackingError::Size { .. })));

    let mut rig = Rig::new();
    let backing = Backing::open(&BackingSpec { size: None, ..wrong }).expect("opened again");
    rig.attach(0, &backing);
    rig.fill(1, 0x5a);
    assert_eq!((rig.write(0, MIB, 1), rig.flush(0), rig.read(0, MIB, 2)), (4096, 0, 4096));
    assert_eq!(rig.slot(2), rig.slot(1));
}

#[test]
fn fuse_is_direct_if_it_takes_the_flag_and_answers_a_read() {
    let disk = on_disk();
    let Some(fuse) = Fuse::start(disk.path(), &["memory", "1M"]) else { return };
    let spec = BackingSpec { create: false, buffered_allowed: false, ..file_spec(&fuse.file) };
    let backing = Backing::open(&spec).expect("opened");
    assert!(is_direct(&backing), "{:?}", backing.directness());
    let mut rig = Rig::new();
    rig.attach(0, &backing);
    rig.fill(1, 0x77);
    assert_eq!((rig.write(0, 8192, 1), rig.flush(0), rig.read(0, 8192, 2)), (4096, 0, 4096));
    assert_eq!(rig.slot(2), rig.slot(1));
}
