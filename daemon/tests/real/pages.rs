//! The pages of docs/ for people with a VM or a database, typed in: what they tell to type does what they say.

use crate::needs::can_use;
use crate::place::{MIB, Place, Volume};
use crate::running::{Daemon, eventually};
use crate::world::run;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const VM: &str = include_str!("../../../docs/vm.md");
const C: &str = include_str!("../../../docs/c.md");
const DATABASE: &str = include_str!("../../../docs/database.md");
const NBD_EXAMPLE: &str = include_str!("../../../configs/nbd.toml");
const BYTES: u64 = 96 * MIB;

/// The commands of a page's section, one text for each block of them.
fn blocks<'a>(page: &'a str, section: &str) -> Vec<&'a str> {
    blocks_of("sh", page, section)
}

/// The same in any language.
fn blocks_of<'a>(language: &str, page: &'a str, section: &str) -> Vec<&'a str> {
    let heading = format!("## {section}\n");
    let text = &page[page.find(&heading).expect("a section") + heading.len()..];
    let text = &text[..text.find("\n## ").unwrap_or(text.len())];
    let fence = format!("```{language}\n");
    let fenced = text.split(&fence).skip(1).collect::<Vec<_>>().into_iter();
    fenced.map(|block| block.split_once("```").expect("its end").0).collect()
}

/// A page's paths, put where the test has them.
fn here(place: &Place, text: &str) -> String {
    let disk = place.disk.path().to_str().expect("plain");
    let nbd = place.nbd();
    text.replace("/run/holdfast/nbd.sock", nbd.to_str().expect("plain"))
        .replace("/run/holdfast/", &format!("{disk}/"))
        .replace("/srv/", &format!("{disk}/"))
}

/// Types commands into a shell; all must succeed, but for those whose answer is a state of health.
fn type_in(place: &Place, commands: &str) {
    let said = place.file("typed");
    let log = std::fs::File::create(&said).expect("a log");
    let script = format!(
        "holdfastctl() {{ '{}' ctl \"$@\" || [ \"$1\" = health ]; }}; set -eu\n{}",
        env!("CARGO_BIN_EXE_holdfastd"),
        here(place, commands)
    );
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(&script).current_dir(place.disk.path()).env("HOLDFAST_ADMIN_SOCKET", place.admin());
    // Not a pipe: what the page puts into the background would keep it open.
    bash.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
    let status = bash.status().expect("bash");
    assert!(status.success(), "{script}: {}", std::fs::read_to_string(said).unwrap_or_default());
}

fn place(keys: &str) -> Place {
    let mut place = Place::new();
    let backing = place.file("vm1.img");
    place.add(&[Volume::file("vm1", &backing, BYTES).with(keys)]);
    place.open_nbd("");
    place
}

const STALL: &str = r#"flush_on_failure = { kind = "stall", timeout = "5m" }"#;

fn wait_for_a_parked_flush(daemon: &Daemon<'_>) {
    eventually("a flush waits", || {
        (daemon.ctl(&["status"]).json["volumes"][0]["parked_flushes"].as_u64() > Some(0)).then_some(())
    });
}

/// QEMU's block layer as the page starts it, with nobody but this test for a guest.
struct Guest {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Guest {
    fn start(options: &str) -> Guest {
        let mut command = Command::new("qemu-io");
        command
            .args(["-t", "writeback", "--image-opts", options])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("qemu-io");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Guest { child, said }
    }

    fn tell(&mut self, command: &str) {
        let pipe = self.child.stdin.as_mut().expect("a pipe");
        writeln!(pipe, "{command}").expect("it reads");
    }

    /// Its words up to those about a read or a write.
    fn hear(&mut self) -> String {
        let mut words = String::new();
        while !words.contains(" bytes at offset") && !words.contains("failed") {
            assert!(self.said.read_line(&mut words).expect("it speaks") > 0, "it ended: {words}");
        }
        words
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.hear()
    }

    fn must(&mut self, command: &str) {
        let words = self.ask(command);
        assert!(!words.contains("failed"), "{command}: {words}");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may be waiting for a daemon that will not come.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The options of the page's `-blockdev`.
fn blockdev(place: &Place) -> String {
    let text = VM.split_once("-blockdev ").expect("a disk").1;
    here(place, text.split_whitespace().next().expect("its options"))
}

#[test]
fn a_guest_whose_disk_is_full_waits_for_the_operator() {
    if !can_use(&["qemu-img", "qemu-io"]) {
        return;
    }
    let mut place = Place::new();
    let thin = format!(
        r#"{{ kind = "file", path = "{}", size = {BYTES}, create = true, thin_limit = "4MiB", buffered = true }}"#,
        place.file("vm1.img").display()
    );
    place.add(&[Volume::over("vm1", thin).with(STALL)]);
    place.open_nbd("");
    let daemon = Daemon::start(&place);
    let image = place.file("guest.qcow2");
    let image = image.to_str().expect("plain");
    run("qemu-img", &["create", "-q", "-f", "qcow2", image, &BYTES.to_string()]);
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 0x77 1M 1M", image]);
    type_in(&place, blocks(VM, "By NBD")[0]);

    let mut guest = Guest::start(&blockdev(&place));
    guest.must("read -P 0x77 1M 1M");
    guest.must("write -P 0x78 8M 8M");
    guest.tell("flush");
    wait_for_a_parked_flush(&daemon);
    let commands = blocks(VM, "When the disk below is full")[0].replace("200GiB", "96MiB");
    type_in(&place, &commands);
    // It says nothing about a flush that succeeds.
    guest.must("read -P 0x78 8M 8M");
    drop(guest);
    daemon.stop_clean();
    crate::pattern::check_same(
        &crate::pattern::on_backing(&place.file("vm1.img"), 8 * MIB, 8 * MIB),
        &[0x78; 8 << 20],
        "what was flushed",
    );
}

/// The commands at the head of the example, but for QEMU's, which the pages' tests have.
#[test]
fn who_starts_from_the_nbd_example_types_what_it_says() {
    if !can_use(&["nbdcopy", "nbdinfo"]) {
        return;
    }
    let place = place(STALL);
    let daemon = Daemon::start(&place);
    let image = crate::pattern::pattern(8, 0, MIB);
    std::fs::write(place.file("disk.img"), &image).expect("an image");
    let typed = NBD_EXAMPLE.lines().filter_map(|line| line.strip_prefix("#     ")).collect::<Vec<_>>();
    let typed: Vec<&str> = typed.into_iter().filter(|line| !line.starts_with("qemu")).collect();
    assert_eq!(typed.len(), 2, "{typed:?}");
    type_in(&place, &typed.join("\n"));
    crate::pattern::check_same(&daemon_reads(&daemon, MIB), &image, "what was copied in");
    daemon.stop_clean();
}

fn daemon_reads(daemon: &Daemon<'_>, bytes: u64) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(bytes).expect("small")];
    daemon.client("vm1").read_at(&mut data, 0).expect("read");
    data
}

#[test]
fn the_settings_for_a_database_are_a_configuration() {
    let place = Place::new();
    let file = place.file("database.toml");
    std::fs::write(&file, blocks_of("toml", DATABASE, "Settings")[0]).expect("a file");
    let said = run(env!("CARGO_BIN_EXE_holdfastd"), &["check", file.to_str().expect("plain")]);
    for told in ["block device /dev/nvme0n1", "5m", "held for ever"] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

/// The table of what clients see, row by row; nbdkit's is in the test of file systems.
#[test]
fn what_nbd_clients_see_when_the_daemon_is_started_again() {
    if !can_use(&["qemu-io", "nbdsh"]) {
        return;
    }
    let place = place("");
    let mut daemon = Daemon::start(&place);
    let patient = blockdev(&place);
    let hasty = patient.replace(",reconnect-delay=300", "");
    assert_ne!(patient, hasty);
    let (mut patient, mut hasty) = (Guest::start(&patient), Guest::start(&hasty));
    let mut plain = Plain::start(&place);
    patient.must("write -P 1 0 64k");
    hasty.must("write -P 2 64k 64k");
    assert_eq!(plain.ask("h.pwrite(b'3' * 65536, 131072)"), "ok");
    daemon.must(&["fault", "vm1", "add", "write", "EIO", "--sequence", "X"]);
    daemon.kill();
    assert!(hasty.ask("write -P 4 64k 64k").contains("failed"), "an error at once");
    assert_eq!(plain.ask("h.pread(65536, 131072)"), "error");
    patient.tell("write -P 5 256k 64k");
    let daemon = Daemon::start(&place);
    let words = patient.hear();
    assert!(!words.contains("failed"), "a pause: {words}");
    patient.must("read -P 1 0 64k");
    patient.must("read -P 5 256k 64k");
    eventually("it has connected again by itself", || {
        let words = hasty.ask("read -P 2 64k 64k");
        assert!(!words.contains("verification"), "what was answered is there: {words}");
        (!words.contains("failed")).then_some(())
    });
    assert_eq!(plain.ask("h.pread(65536, 131072)"), "error", "its connection is dead");
    let mut plain = Plain::start(&place);
    assert_eq!(plain.ask("assert h.pread(65536, 131072) == b'3' * 65536"), "ok", "a new one finds it all");
    assert_eq!(plain.ask("h.flush()"), "ok");
    drop((patient, hasty, plain));
    daemon.stop_clean();
}

/// libnbd, line by line.
struct Plain(Guest);

impl Plain {
    fn start(place: &Place) -> Plain {
        let uri = format!("nbd+unix:///vm1?socket={}", place.nbd().display());
        let script = "
import sys
for line in sys.stdin:
    try:
        exec(line)
        print('ok', flush=True)
    except nbd.Error:
        print('error', flush=True)
";
        let mut command = Command::new("nbdsh");
        // The distribution's Python has the module; one before it in `PATH` may not.
        command.args(["-u", &uri, "-c", script]).env("PATH", "/usr/bin:/bin");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("nbdsh");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Plain(Guest { child, said })
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.tell(line);
        let mut words = String::new();
        self.0.said.read_line(&mut words).expect("it speaks");
        words.trim().to_owned()
    }
}

/// What the page mounts, taken down as it says, also when a test fails.
struct Mounted<'a>(&'a Place, bool);

impl Mounted<'_> {
    fn take_down(&mut self) {
        self.1 = true;
        // For some 40 ms after its last user, everything may be busy.
        std::thread::sleep(std::time::Duration::from_millis(100));
        type_in(self.0, blocks(DATABASE, "On a file system of this host")[1]);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.take_down();
        }
    }
}

fn in_shop(place: &Place, statement: &str) -> String {
    let shop = place.file("database/shop.db");
    run("sqlite3", &[shop.to_str().expect("plain"), "PRAGMA synchronous = FULL;", statement])
}

#[test]
fn a_database_whose_disk_is_full_waits_with_its_commit() {
    if !can_use(&["nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "sqlite3"]) {
        return;
    }
    let place = place(STALL);
    let daemon = Daemon::start(&place);
    let mut mounted = Mounted(&place, false);
    type_in(&place, blocks(DATABASE, "On a file system of this host")[0]);
    in_shop(&place, "INSERT INTO orders (what) VALUES ('a loaf');");
    daemon.must(&["fault", "vm1", "add", "write", "ENOSPC", "--sequence", "X"]);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| in_shop(&place, "INSERT INTO orders (what) VALUES ('two loaves');"));
        wait_for_a_parked_flush(&daemon);
        daemon.must(&["fault", "vm1", "clear"]);
        type_in(&place, blocks(DATABASE, "When the disk below is full")[0]);
        commit.join().expect("the commit waited, and succeeded");
    });
    assert_eq!(in_shop(&place, "SELECT what FROM orders ORDER BY id;"), "a loaf\ntwo loaves");
    mounted.take_down();
    daemon.stop_clean();
}

/// What the page's pieces of C take for granted.
const AROUND: &str = "#include <err.h>\n#include <holdfast.h>\n#include <stdio.h>\n\
    static unsigned char block[4096];\n\
    void piece(const char *socket, uint32_t tag, uint64_t offset);\n\
    void piece(const char *socket, uint32_t tag, uint64_t offset)\n{\n(void)socket; (void)tag; (void)offset; (void)block;\n";

#[test]
fn a_c_programmer_who_types_the_page_has_a_program() {
    let place = place("");
    let daemon = Daemon::start(&place);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let prefix = place.file("prefix");
    let disk = place.disk.path().display();
    // Built as the tests are; and only the test looks for libraries there.
    let commands = blocks(C, "Install")[0]
        .replace("install-capi", "install-capi --profile dev")
        .replace("/usr/local", prefix.to_str().expect("plain"))
        .replace("\nldconfig\n", "\n")
        .replace("-o copy", &format!("-o {disk}/copy"));
    let mut script = format!(
        "cd '{}'; export PKG_CONFIG_PATH='{prefix}/lib/pkgconfig' LD_LIBRARY_PATH='{prefix}/lib'\n{commands}",
        root.display(),
        prefix = prefix.display()
    );
    std::fs::write(place.file("original"), crate::pattern::pattern(6, 0, MIB)).expect("a file");
    script += &format!("'{disk}/copy' in '{}' vm1 '{disk}/original'\n", place.clients().display());
    for section in ["Blocking calls", "Many requests in flight"] {
        let piece = place.file(&format!("{}.c", section.split(' ').next().expect("a word")));
        let text = blocks_of("c", C, section)[0];
        std::fs::write(&piece, format!("{AROUND}{text}}}\n")).expect("a file");
        let strict = "cc -std=c11 -Wall -Wextra -Werror -Wno-unused-variable -Wno-unused-but-set-variable -fsyntax-only";
        script += &format!("{strict} $(pkg-config --cflags holdfast) '{}'\n", piece.display());
    }
    type_in(&place, &script);
    crate::pattern::check_backing(&place.file("vm1.img"), 6, 0, MIB);
    daemon.stop_clean();
}
