//! QEMU, with Debian's kernel in it, on a volume.

use super::initramfs;
use crate::needs::{can_use, skip};
use crate::place::{MIB, Place, Volume};
use crate::running::{Daemon, eventually};
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
fn root() -> Option<PathBuf> {
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

/// A machine that runs. Killed when dropped.
struct Guest {
    child: Child,
    keys: ChildStdin,
    said: Arc<Mutex<String>>,
    /// How much of what it said has been read.
    read: usize,
}

impl Guest {
    fn boot(place: &Place, root: &Path) -> Guest {
        let initramfs = place.file("initramfs");
        initramfs::write(root, &initramfs);
        let mut command = Command::new(qemu(root).expect("looked for before"));
        if root.join("usr/share/qemu").exists() && root != Path::new("/") {
            command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
            for folder in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(root.join(folder));
            }
        }
        command
            .args("-nodefaults -no-reboot -display none -accel tcg -M q35 -m 256M -serial stdio".split(' '));
        command
            .args("-object memory-backend-memfd,id=mem,size=256M,share=on -numa node,memdev=mem".split(' '));
        command.arg("-chardev").arg(format!("socket,id=c0,path={},reconnect=1", place.vhost().display()));
        command.args("-device vhost-user-blk-pci,chardev=c0,num-queues=2,config-wce=on".split(' '));
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
        let begun = Instant::now();
        let mut nudged = Instant::now();
        loop {
            if let Some(found) = self.look_for(what) {
                return found;
            }
            let said = || self.said.lock().expect("no panic")[self.read..].to_owned();
            assert!(begun.elapsed() < PATIENCE, "the guest never said {what:?}, but: {}", said());
            std::thread::sleep(Duration::from_millis(20));
            // An emulated serial port now and then keeps what it was sent until it is sent more (seen).
            if nudged.elapsed() > NUDGE {
                nudged = Instant::now();
                self.keys.write_all(b"\n").expect("it reads");
            }
        }
    }

    fn look_for(&mut self, what: &str) -> Option<String> {
        let said = self.said.lock().expect("no panic");
        let at = said[self.read..].find(what)?;
        let before = said[self.read..self.read + at].to_owned();
        self.read += at + what.len();
        Some(before)
    }

    fn begin(&mut self, script: &str) {
        writeln!(self.keys, "{{ {script}\n}} 2>&1; echo \"<$?>\"").expect("it reads");
    }

    /// Runs a script that must succeed; what it printed.
    fn must(&mut self, script: &str) -> String {
        let (status, said) = self.run(script);
        assert_eq!(status, "0", "{script}: {said}");
        said
    }

    /// Runs a script: its status and what it printed.
    fn run(&mut self, script: &str) -> (String, String) {
        self.begin(script);
        self.end()
    }

    fn end(&mut self) -> (String, String) {
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

fn place(flush_on_failure: &str) -> Place {
    let mut place = Place::new();
    let volume = Volume::file("vm1", &place.file("vm1"), 64 * MIB).with(flush_on_failure);
    let hold = r#"{ kind = "hold-forever", stall_timeout = "5m" }"#;
    place.add(&[volume.policy(hold)]);
    place.open_vhost("vm1", "queues = 2");
    place
}

const MAKE: &str = "/sbin/mke2fs -q -t ext4 -E nodiscard /dev/vda && mount /dev/vda /mnt";

/// The guest flushes because its disk says that it has a cache; when there is no space, it waits, and goes on.
#[test]
fn a_machine_waits_out_a_full_disk_and_its_daemon_s_deaths() {
    let Some(root) = root() else { return };
    let place = place(r#"flush_on_failure = { kind = "stall", timeout = "10m" }"#);
    let mut daemon = Daemon::start(&place);
    let mut guest = Guest::boot(&place, &root);
    assert_eq!(guest.must("cat /sys/block/vda/queue/write_cache"), "write back");
    assert_eq!(guest.must("cat /sys/block/vda/serial"), "vm1");
    guest.must(MAKE);
    let flushed = daemon.count("vm1", "flushes_ok");
    guest.must("echo kept >/mnt/first; sync");
    assert!(daemon.count("vm1", "flushes_ok") > flushed, "the guest's sync is a flush");

    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC", "--sequence", "X"]);
    guest.begin("dd if=/dev/urandom of=/mnt/second bs=64k count=8 conv=fsync 2>/dev/null");
    eventually("the flush waits", || (daemon.bytes("vm1", "parked_flushes") > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(guest.look_for("<"), None, "with the flush, the guest waits");
    daemon.must(&["fault", "vm1", "clear"]);
    daemon.must(&["retry", "vm1", "--wait"]);
    assert_eq!(guest.end().0, "0", "and goes on, on the same mount");

    // Eight writers, each of which notes the sum of a file once the file is durable.
    guest.must(
        "for w in 1 2 3 4 5 6 7 8; do (n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); f=/mnt/w$w.$((n%4)); \
         dd if=/dev/urandom of=/tmp/w$w bs=16k count=2 2>/dev/null; rm -f /tmp/sum$w.$((n%4)); \
         dd if=/tmp/w$w of=$f conv=fsync 2>/dev/null && sha1sum $f >/tmp/sum$w.$((n%4)) || touch /tmp/failed; done) & done",
    );
    for _ in 0..restarts() {
        std::thread::sleep(Duration::from_millis(1500));
        daemon.kill();
        daemon = Daemon::start(&place);
        eventually("the machine is back", || (!daemon.log().is_empty()).then_some(()));
    }
    std::thread::sleep(Duration::from_millis(1500));
    guest.must("touch /tmp/stop; wait; [ ! -e /tmp/failed ]");
    guest.must("sync; echo 3 >/proc/sys/vm/drop_caches; cat /tmp/sum* | sha1sum -c >/tmp/checked || cat /tmp/checked");
    assert_eq!(
        guest.must("cat /mnt/first; grep -c OK /tmp/checked >/tmp/count; [ $(cat /tmp/count) -gt 8 ]"),
        "kept"
    );
    guest.must("umount /mnt && /sbin/e2fsck -fn /dev/vda >/dev/null");
    drop(guest);
    daemon.stop_clean();
}

/// How often the daemon is killed: a few times, unless somebody has an hour.
fn restarts() -> u32 {
    std::env::var("HOLDFAST_GUEST_RESTARTS").map_or(3, |count| count.parse().expect("a number"))
}

/// The same without waiting: fsync fails, ext4 in the guest stops writing, and nothing that it was told is lost.
#[test]
fn a_machine_that_is_told_of_a_full_disk_finds_its_data_after_a_mount() {
    let Some(root) = root() else { return };
    let place = place(r#"flush_on_failure = { kind = "report" }"#);
    let daemon = Daemon::start(&place);
    let mut guest = Guest::boot(&place, &root);
    guest.must(MAKE);
    guest.must("dd if=/dev/urandom of=/mnt/first bs=64k count=8 conv=fsync 2>/dev/null; sha1sum /mnt/first >/tmp/sum");
    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC", "--sequence", "X"]);
    let (status, _) = guest.run("dd if=/dev/zero of=/mnt/second bs=64k count=8 conv=fsync 2>/dev/null");
    assert_ne!(status, "0", "fsync says so");
    eventually("ext4 has had enough", || (guest.run("touch /mnt/third && sync").0 != "0").then_some(()));
    daemon.must(&["fault", "vm1", "clear"]);
    daemon.must(&["retry", "vm1", "--wait"]);
    guest.must("umount /mnt; /sbin/e2fsck -fy /dev/vda >/dev/null; mount /dev/vda /mnt");
    guest.must("sha1sum -c /tmp/sum >/dev/null && echo on >/mnt/fourth && sync && umount /mnt");
    guest.must("/sbin/e2fsck -fn /dev/vda >/dev/null");
    drop(guest);
    daemon.stop_clean();
}
