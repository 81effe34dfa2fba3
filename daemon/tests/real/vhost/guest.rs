//! QEMU, with Debian's kernel in it, on a volume: the machine.

use super::initramfs;
use crate::needs::{can_use, skip};
use crate::place::Place;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// An emulated processor is slow, and the machine may have much else to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// After how much silence an empty line is sent.
const NUDGE: Duration = Duration::from_secs(2);

/// Where a kernel's package is unpacked (`HOLDFAST_GUEST_ROOT`), with busybox, and QEMU if it is not installed.
pub(super) fn root() -> Option<PathBuf> {
    let root = PathBuf::from(std::env::var_os("HOLDFAST_GUEST_ROOT").unwrap_or_else(|| "/".into()));
    let complete = kernel(&root).is_some() && root.join("bin/busybox").exists() && qemu(&root).is_some();
    if !complete {
        skip(
            "needs qemu-system-x86_64, busybox and a kernel, as .ci/run unpacks them below HOLDFAST_GUEST_ROOT",
        );
    }
    (complete && can_use(&["mke2fs", "e2fsck"])).then_some(root)
}

fn kernel(root: &Path) -> Option<PathBuf> {
    let mut found = std::fs::read_dir(root.join("boot")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    found.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
}

fn qemu(root: &Path) -> Option<PathBuf> {
    let program = "usr/bin/qemu-system-x86_64";
    [root, Path::new("/")].into_iter().map(|root| root.join(program)).find(|path| path.exists())
}

/// What docs/vm.md says to type, but for the processor, which is emulated, and the memory, of which there is less.
fn documented(place: &Place) -> Vec<String> {
    let page = include_str!("../../../../docs/vm.md");
    let command =
        page.split("```").find(|part| part.contains("vhost-user-blk-pci")).expect("the page has it");
    let words = command.split_whitespace().filter(|word| *word != "\\");
    let words = words.skip_while(|word| !word.starts_with("qemu-system")).skip(1);
    let socket = place.vhost().display().to_string();
    let here = [("accel=kvm", "accel=tcg"), ("4G", "256M"), ("/run/holdfast/vm1.sock", socket.as_str())];
    words
        .map(|word| here.iter().fold(word.to_owned(), |word, (there, here)| word.replace(there, here)))
        .collect()
}

/// A machine that runs. Killed when dropped.
pub(super) struct Guest {
    child: Child,
    keys: ChildStdin,
    said: Arc<Mutex<String>>,
    /// How much of what it said has been read.
    read: usize,
}

impl Guest {
    pub(super) fn boot(place: &Place, root: &Path) -> Guest {
        let initramfs = place.file("initramfs");
        initramfs::write(root, &initramfs);
        let mut command = Command::new(qemu(root).expect("looked for before"));
        if root.join("usr/share/qemu").exists() && root != Path::new("/") {
            command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
            for folder in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(root.join(folder));
            }
        }
        command.args("-nodefaults -no-reboot -display none -serial stdio".split(' '));
        command.args(documented(place));
        command.arg("-kernel").arg(kernel(root).expect("looked for before")).arg("-initrd").arg(initramfs);
        command.args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("QEMU");
        let keys = child.stdin.take().expect("piped");
        let mut screen = child.stdout.take().expect("piped");
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                heard.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let mut guest = Guest { child, keys, said, read: 0 };
        guest.wait_for("<ready>");
        guest
    }

    /// Waits until it says something; what it said before.
    fn wait_for(&mut self, what: &str) -> String {
        self.wait(what, |guest| guest.look_for(what))
    }

    /// Waits for what comes of what it was told.
    pub(super) fn wait<T>(&mut self, what: &str, mut found: impl FnMut(&mut Guest) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut nudged = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let said = || self.said.lock().expect("no panic")[self.read..].to_owned();
            assert!(begun.elapsed() < PATIENCE, "never {what:?}, but the guest said: {}", said());
            std::thread::sleep(Duration::from_millis(20));
            // An emulated serial port now and then keeps what it was sent until it is sent more (seen).
            if nudged.elapsed() > NUDGE {
                nudged = Instant::now();
                self.keys.write_all(b"\n").expect("it reads");
            }
        }
    }

    pub(super) fn look_for(&mut self, what: &str) -> Option<String> {
        let said = self.said.lock().expect("no panic");
        let at = said[self.read..].find(what)?;
        let before = said[self.read..self.read + at].to_owned();
        self.read += at + what.len();
        Some(before)
    }

    pub(super) fn begin(&mut self, script: &str) {
        writeln!(self.keys, "{{ {script}\n}} 2>&1; echo \"<$?>\"").expect("it reads");
    }

    /// Runs a script that must succeed; what it printed.
    pub(super) fn must(&mut self, script: &str) -> String {
        let (status, said) = self.run(script);
        assert_eq!(status, "0", "{script}: {said}");
        said
    }

    /// Runs a script: its status and what it printed.
    pub(super) fn run(&mut self, script: &str) -> (String, String) {
        self.begin(script);
        self.end()
    }

    pub(super) fn end(&mut self) -> (String, String) {
        let said = self.wait_for("<");
        (self.wait_for(">"), said.trim().to_owned())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the guest's words:\n{}",
                self.said.lock().map(|said| said.clone()).unwrap_or_default()
            );
        }
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
