//! Who has a block device that the kernel calls busy. The kernel does not tell; what can be seen is what it is mounted as, what
//! is built on it, and which processes have it open. Where nothing is seen, it is most likely what a killed daemon left in
//! flight, whose claim goes with its last operation.

use rustix::fs::{FileType, major, minor};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who has the device at `path`, or a partition of it, or the disk that it is a partition of; in words, if anybody is seen.
pub(super) fn holder(path: &Path) -> Option<String> {
    let devices = related(device(path)?);
    mounted(&devices)
        .or_else(|| swapped(&devices))
        .or_else(|| built_on(&devices))
        .or_else(|| opened(&devices))
}

/// The number of the block device at a path.
fn device(path: &Path) -> Option<u64> {
    let found = rustix::fs::stat(path).ok()?;
    (FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice).then_some(found.st_rdev)
}

/// A device, and those whose claims exclude its own: its partitions, or its disk (`bd_may_claim`, block/bdev.c).
fn related(device: u64) -> BTreeSet<u64> {
    let directory = sysfs(device);
    let mut devices = BTreeSet::from([device]);
    if directory.join("partition").exists() {
        devices.extend(number(&directory.join("../dev")));
    }
    let parts = fs::read_dir(&directory).into_iter().flatten().flatten();
    let parts = parts.map(|entry| entry.path()).filter(|part| part.join("partition").exists());
    devices.extend(parts.filter_map(|part| number(&part.join("dev"))));
    devices
}

fn sysfs(device: u64) -> PathBuf {
    let path = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    path.canonicalize().unwrap_or(path)
}

/// The number in a file as `8:1`.
fn number(path: &Path) -> Option<u64> {
    parse_number(fs::read_to_string(path).ok()?.trim())
}

fn parse_number(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

fn mounted(devices: &BTreeSet<u64>) -> Option<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let found = text.lines().find_map(|line| {
        let mount = parse_mount(line)?;
        // Where a file system has a number of its own (Btrfs), its source says what it is on.
        let on = |number: u64| devices.contains(&number);
        let source = Some(Path::new(mount.source)).filter(|source| source.starts_with("/dev"));
        (on(mount.device) || source.and_then(device).is_some_and(on)).then_some(mount.at)
    })?;
    Some(format!("it, or a partition of it, is mounted at {found}"))
}

/// What a line of `/proc/self/mountinfo` says.
#[derive(Debug, PartialEq, Eq)]
struct MountLine<'a> {
    device: u64,
    at: &'a str,
    source: &'a str,
}

fn parse_mount(line: &str) -> Option<MountLine<'_>> {
    let (first, last) = line.split_once(" - ")?;
    let mut first = first.split(' ').skip(2);
    let (device, at) = (parse_number(first.next()?)?, first.nth(1)?);
    Some(MountLine { device, at, source: last.split(' ').nth(1)? })
}

fn swapped(devices: &BTreeSet<u64>) -> Option<String> {
    let text = fs::read_to_string("/proc/swaps").ok()?;
    let paths = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let found = paths.into_iter().any(|path| device(Path::new(path)).is_some_and(|on| devices.contains(&on)));
    found.then(|| "the host swaps to it".to_owned())
}

fn built_on(devices: &BTreeSet<u64>) -> Option<String> {
    let found = devices.iter().find_map(|&device| {
        let mut holders = fs::read_dir(sysfs(device).join("holders")).ok()?.flatten();
        holders.next().map(|holder| holder.file_name())
    })?;
    Some(format!("{} is built on it", found.display()))
}

/// Of processes that this one may not look into nothing is known.
fn opened(devices: &BTreeSet<u64>) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let found = processes.map(|entry| entry.path()).find(|process| has_open(process, devices))?;
    let name = fs::read_to_string(found.join("comm")).unwrap_or_default();
    Some(format!("process {} ({}) has it open", found.file_name()?.display(), name.trim()))
}

fn has_open(process: &Path, devices: &BTreeSet<u64>) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    // What is no device may be on a server that does not answer: it is not looked at.
    let nodes = files.filter(|file| fs::read_link(file).is_ok_and(|of| of.starts_with("/dev")));
    nodes.filter_map(|file| fs::metadata(file).ok()).any(|found| {
        let kind = FileType::from_raw_mode(found.mode());
        kind == FileType::BlockDevice && devices.contains(&found.rdev())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_optional_fields_or_without() {
        let device = rustix::fs::makedev(8, 1);
        let mount = Some(MountLine { device, at: "/srv/a", source: "/dev/sda1" });
        let line = |optional: &str| {
            format!("36 35 8:1 /sub /srv/a rw,noatime{optional} - ext4 /dev/sda1 rw,errors=continue")
        };
        assert_eq!(parse_mount(&line(" shared:1 master:2")), mount);
        assert_eq!(parse_mount(&line("")), mount);
        for damaged in ["", "36 35 8:1 /sub", "36 35 8 / / rw - ext4 /dev/sda1 rw", "36 35 8:1 / /srv - ext4"]
        {
            assert_eq!(parse_mount(damaged), None, "{damaged:?}");
        }
    }

    /// Every mount that this host has now can be read.
    #[test]
    fn all_mounts_of_this_host_are_read() {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("a kernel");
        for line in text.lines() {
            assert!(parse_mount(line).is_some(), "{line}");
        }
    }

    #[test]
    fn what_is_no_device_is_nobody_s() {
        assert_eq!(holder(Path::new("/dev/null")), None);
        assert_eq!(holder(Path::new("/nowhere")), None);
    }
}
