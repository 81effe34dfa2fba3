//! On disks that are really full: file systems and a block device, healed by removing what fills them.

use super::needs::can_use;
use super::{built, folder, quickstart, said};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const POLICIES: [&str; 3] = ["hold-forever", "hold-until-pressure", "evict-immediately"];

/// Runs a command that must succeed; what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
    said(&output)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A mounted file system, with a file that takes all its room.
struct Full {
    mounted: PathBuf,
    device: Option<String>,
}

impl Full {
    fn filler(&self) -> PathBuf {
        self.mounted.join("filler")
    }

    /// Puts a sparse disk on it, then fills it up to the last block.
    fn fill(&self) -> PathBuf {
        let disk = self.mounted.join("disk");
        std::fs::File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("it can be sparse");
        let file = |path: PathBuf, flags| {
            let mut options = std::fs::OpenOptions::new();
            options.append(true).create(true).custom_flags(flags).open(path).expect("there is room yet")
        };
        // The second takes what write-back of the first leaves over.
        let (mut most, mut rest) = (file(self.filler(), 0), file(self.mounted.join("rest"), libc::O_SYNC));
        let block = [1; 1 << 16];
        while most.write_all(&block).is_ok() {}
        // That it is full is what was wanted.
        _ = most.sync_all();
        while rest.write_all(&block[..4096]).is_ok() {}
        disk
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // A loop device goes away a moment after its last user.
        if let Some(device) = &self.device {
            _ = Command::new("losetup").args(["-d", device]).status();
        }
        for _ in 0..50 {
            let unmounted = Command::new("umount").arg(&self.mounted).stderr(Stdio::null()).status();
            if unmounted.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn mount(folder: &Path, arguments: &[&str]) -> Full {
    let mounted = folder.join("mounted");
    std::fs::create_dir(&mounted).expect("it is ours");
    run("mount", &[arguments, &[text(&mounted)]].concat());
    Full { mounted, device: None }
}

fn file_system(folder: &Path, make: &str, options: &[&str], bytes: u64) -> Full {
    let image = folder.join("image");
    std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("it can be sparse");
    run(make, &[options, &[text(&image)]].concat());
    mount(folder, &["-o", "loop", text(&image)])
}

/// Plays a policy, and makes room when it asks for it.
fn play(folder: &Path, full: &Full, disk: &Path, policy: &str) {
    let arguments = ["--backing", text(disk), "--yes", "--wait", "60", "--policy", policy];
    let mut command = quickstart(&built(), folder, &arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the daemon was built");
    let mut said = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("it is a pipe")).lines() {
        said.push(line.expect("it is text"));
        if said.last().is_some_and(|line| line.contains("make room for")) {
            std::fs::remove_file(full.filler()).expect("it is ours");
        }
    }
    let status = child.wait().expect("it is our child");
    let said = said.join("\n");
    assert_eq!(status.code(), Some(0), "{policy} on {}:\n{said}", disk.display());
    assert!(said.contains("make room for") && !said.contains("MISMATCH"), "{policy}:\n{said}");
}

#[test]
fn every_policy_keeps_its_promises_on_a_full_ext4() {
    if !can_use(&["mount", "losetup", "mkfs.ext4"]) {
        return;
    }
    for policy in POLICIES {
        let folder = folder();
        let full = file_system(folder.path(), "mkfs.ext4", &["-q", "-F"], 64 << 20);
        play(folder.path(), &full, &full.fill(), policy);
    }
}

#[test]
fn every_policy_keeps_its_promises_on_a_full_xfs() {
    if !can_use(&["mount", "losetup", "mkfs.xfs"]) {
        return;
    }
    for policy in POLICIES {
        let folder = folder();
        let full = file_system(folder.path(), "mkfs.xfs", &["-q", "-f"], 320 << 20);
        play(folder.path(), &full, &full.fill(), policy);
    }
}

/// A thin pool as far as a client can tell: a block device over a tmpfs of 8 MiB, larger than that.
#[test]
fn every_policy_keeps_its_promises_on_a_full_block_device() {
    if !can_use(&["mount", "losetup"]) {
        return;
    }
    for policy in POLICIES {
        let folder = folder();
        let mut full = mount(folder.path(), &["-t", "tmpfs", "-o", "size=8M", "tmpfs"]);
        let disk = full.fill();
        let device = run("losetup", &["--find", "--show", text(&disk)]).trim().to_owned();
        full.device = Some(device.clone());
        play(folder.path(), &full, Path::new(&device), policy);
    }
}
