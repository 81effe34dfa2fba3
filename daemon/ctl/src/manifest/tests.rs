use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

fn failed(errno: u16) -> Saved {
    let errno = Errno { number: errno, name: "ENOSPC".into(), meaning: "No space left on device".into() };
    let refusal = HeldRefusal { class: "space".into(), errno, attempts: 3, first: None, last: None };
    Saved { state: ExtentState::Failed, refusal: Some(refusal) }
}

fn about() -> About {
    About {
        made: Time::from_unix_ms(1_767_323_045_678),
        made_by: "a test".into(),
        volume: "vm1".into(),
        volume_bytes: Some(64 << 20),
        identity: None,
        lost: Vec::new(),
        notes: Vec::new(),
    }
}

/// An export of two kinds of data with a hole between.
fn written(directory: &Path) -> (PathBuf, Manifest) {
    let path = directory.join("vm1.img");
    let mut writer = ExportWriter::create(&path).expect("an empty directory");
    writer.append(4096, &[1; 4096], &failed(28)).expect("fits");
    writer.append(8192, &[2; 512], &failed(28)).expect("touches");
    writer.append(8704, &[3; 512], &failed(122)).expect("another errno");
    let dirty = Saved { state: ExtentState::Dirty, refusal: None };
    writer.append(1 << 20, &vec![4; 17 << 20], &dirty).expect("longer than a range");
    (path, writer.finish(about()).expect("room"))
}

#[test]
fn what_was_written_is_read_back_range_by_range() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, manifest) = written(directory.path());
    let places: Vec<_> = manifest.ranges.iter().map(|range| (range.offset, range.length)).collect();
    let mib = 1 << 20;
    assert_eq!(places, [(4096, 4608), (8704, 512), (mib, 16 * mib), (17 * mib, mib)]);
    assert_eq!(manifest.saved_bytes(), 4608 + 512 + 17 * mib);

    let export = Export::open(&path).expect("sound");
    assert_eq!(*export.manifest(), manifest);
    let mut bytes = Vec::new();
    export.read(&manifest.ranges[0], &mut bytes).expect("whole");
    assert_eq!(bytes, [[1; 4096].as_slice(), &[2; 512]].concat());
    export.read(&manifest.ranges[3], &mut bytes).expect("whole");
    assert_eq!(bytes, vec![4; 1 << 20]);

    let file = path.metadata().expect("there");
    assert_eq!(file.len(), 64 << 20, "as long as the volume");
    assert!(file.blocks() * 512 < 20 << 20, "holes are holes: {} blocks", file.blocks());
    assert_eq!(file.permissions().mode() & 0o777, 0o600, "only its owner reads what clients wrote");
}

#[test]
fn a_changed_byte_spoils_its_range_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, manifest) = written(directory.path());
    let file = File::options().write(true).open(&path).expect("ours");
    file.write_all_at(&[9], 8191).expect("room");
    let (export, mut bytes) = (Export::open(&path).expect("sound"), Vec::new());
    let error = export.read(&manifest.ranges[0], &mut bytes).expect_err("damaged");
    assert!(error.to_string().contains("damaged between 4096 and 8704"), "{error}");
    export.read(&manifest.ranges[1], &mut bytes).expect("the next one is whole");
    file.set_len(1 << 20).expect("shorter");
    let error = Export::open(&path).expect_err("cut");
    assert!(matches!(error, ReadError::Length { found, .. } if found == 1 << 20), "{error}");
}

#[test]
fn an_export_overwrites_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, _) = written(directory.path());
    assert!(matches!(ExportWriter::create(&path), Err(WriteError::Exists { .. })));
    std::fs::remove_file(&path).expect("ours");
    let error = ExportWriter::create(&path).err().expect("its manifest is left");
    assert!(error.to_string().contains("vm1.img.json"), "{error}");
    assert!(!path.exists(), "nothing was begun");
}

#[test]
fn pieces_out_of_order_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = ExportWriter::create(&directory.path().join("x")).expect("an empty directory");
    let dirty = Saved { state: ExtentState::Dirty, refusal: None };
    writer.append(4096, &[0; 512], &dirty).expect("first");
    for (offset, length) in [(4096, 512), (0, 512), (8192, 100), (5000, 512), (u64::MAX - 511, 512)] {
        let refused = writer.append(offset, &vec![0; length], &dirty);
        assert!(matches!(refused, Err(WriteError::Order { .. })), "{offset}:{length}");
    }
}

#[test]
fn a_manifest_that_cannot_be_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, _) = written(directory.path());
    let text = std::fs::read_to_string(path_beside(&path)).expect("there");
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Manifest::parse(text.replacen(from, to, 1).as_bytes()).expect_err(to).to_string()
    };
    assert!(refused("holdfast-export", "qcow2").contains("qcow2"));
    assert!(refused("\"version\": 1", "\"version\": 2").contains("version 2"));
    for name in ["", "..", "/etc/passwd", "a/b", "./vm1.img", "vm1.img/"] {
        let error = refused("\"data_file\": \"vm1.img\"", &format!("\"data_file\": \"{name}\""));
        assert!(error.contains("data_file"), "{name}: {error}");
    }
    assert!(refused("\"offset\": 8704", "\"offset\": 8192").contains("range 1 (8192:512) overlaps"));
    assert!(refused("\"offset\": 4096", "\"offset\": 4097").contains("whole sectors"));
    assert!(refused("\"length\": 512", "\"length\": 0").contains("range 1"));
    assert!(refused("\"length\": 1048576", "\"length\": 16777728").contains("a length that no export has"));
    assert!(refused("\"offset\": 17825792", "\"offset\": 67108864").contains("over the end"));
    assert!(refused("\"state\": \"failed\"", "\"state\": \"lost\"").contains("is lost"));
    assert!(refused("\"crc64_nvme\": \"", "\"crc64_nvme\": \"+").contains("no checksum"));
    assert!(refused("{", "[").contains("JSON"));
}

proptest! {
    /// Whatever a manifest says, what parses can be read without a surprise.
    #[test]
    fn a_mutated_manifest_never_passes_with_an_impossible_range(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let ranges = (0..4).map(|n| SavedRange {
            offset: n * 8192, length: 4096, state: ExtentState::Dirty, refusal: None, crc64_nvme: Checksum(n),
        });
        let About { made, made_by, volume, volume_bytes, identity, lost, notes } = about();
        let manifest = Manifest {
            format: FORMAT.into(), version: VERSION, made, made_by, volume, volume_bytes, identity,
            data_file: "x".into(), data_bytes: 1 << 20, ranges: ranges.collect(), lost, notes,
        };
        let mut json = serde_json::to_vec(&manifest).expect("plain data");
        for (at, byte) in changes {
            let at = at.index(json.len());
            json[at] = byte;
        }
        if let Ok(read) = Manifest::parse(&json) {
            let mut free_from = 0;
            for range in &read.ranges {
                prop_assert!(range.offset >= free_from && (1..=RANGE_BYTES_MAX).contains(&range.length));
                free_from = range.offset + range.length;
                prop_assert!(free_from <= read.data_bytes);
            }
            prop_assert!(!read.data_file.contains('/'));
        }
    }
}
