//! Hosts made of files: each check on one that is well and on one that is not.

use super::finding::{Finding, Level, to_text, worst};
use super::host::Host;
use super::look::Seen;
use super::{cores, disks, kernel, memory, places};
use crate::config::{self, Settings};
use crate::device::{FileSystem, NotDirect};
use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use tempfile::TempDir;

/// A directory that stands for a host.
struct Fake(TempDir);

impl Fake {
    /// A host that is well, with 4 CPUs of which 2 and 3 are for reactors.
    fn well() -> Fake {
        let fake = Fake::empty();
        for (path, text) in [
            ("/proc/sys/kernel/io_uring_disabled", "0"),
            (
                "/proc/self/mounts",
                "/dev/vda / ext4 rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\ntmpfs /run tmpfs rw 0 0",
            ),
            ("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n"),
            (
                "/proc/self/limits",
                "Limit Soft Hard Units\nMax open files            65536 65536 files\nMax locked memory         unlimited unlimited bytes",
            ),
            ("/proc/meminfo", "MemTotal: 100 kB\nHugepagesize:       2048 kB\n"),
            ("/proc/cmdline", "ro quiet isolcpus=managed_irq,domain,2-3 nohz_full=2-3"),
            ("/proc/net/unix", "Num RefCount Protocol Flags Type St Inode Path"),
            ("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "600"),
            ("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "600"),
            ("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "0"),
            ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
            ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
            ("/sys/devices/system/cpu/online", "0-3"),
            ("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2"),
            ("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3"),
            ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance"),
            ("/sys/dev/block/254:0/queue/write_cache", "write back"),
            ("/sys/dev/block/254:0/queue/io_poll", "0"),
            ("/run/holdfast/.keep", ""),
            ("/var/lib/holdfast/.keep", ""),
        ] {
            fake.put(path, text);
        }
        fake
    }

    fn empty() -> Fake {
        Fake(TempDir::new().expect("a directory"))
    }

    fn put(&self, path: &str, text: &str) -> &Fake {
        let path = self.host().path(path);
        std::fs::create_dir_all(path.parent().expect("not the root")).expect("made");
        std::fs::write(path, text).expect("written");
        self
    }

    fn host(&self) -> Host {
        Host::at(self.0.path())
    }
}

fn settings(more: &str) -> Settings {
    let text = format!(
        "[daemon]\n{more}\n[arena]\nsize = \"1GiB\"\n[[volume]]\nname = \"vm\"\nbacking = {{ kind = \"file\", path = \"/data/vm\" }}\n"
    );
    config::parse(&text, "a test").expect("possible")
}

const CORES: &str = "cores = [2, 3]";

fn is(finding: &Finding, level: Level, words: &str) {
    let text = to_text(std::slice::from_ref(finding));
    assert_eq!(finding.level, level, "{text}");
    assert!(text.contains(words), "{words}: {text}");
    let silent = finding.means.is_empty() && finding.mend.is_empty();
    assert_eq!(silent, level == Level::Ok, "what is wrong has a meaning and a command: {text}");
}

fn only<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    let mut found = findings.iter().filter(|finding| finding.check == check);
    let first = found.next().unwrap_or_else(|| panic!("no {check} in {findings:?}"));
    assert!(found.next().is_none(), "one {check}: {findings:?}");
    first
}

#[test]
fn a_host_that_is_well_has_nothing_but_ok() {
    let fake = Fake::well();
    let findings = super::examine(&fake.host(), Some(&settings(CORES)));
    let without_disk: Vec<Finding> =
        findings.into_iter().filter(|finding| finding.check != "backing").collect();
    assert!(without_disk.len() >= 10, "{}", to_text(&without_disk));
    // How full the disk of this test is does not matter here.
    let judged: Vec<Finding> =
        without_disk.into_iter().filter(|finding| finding.check != "state_space").collect();
    assert_eq!(worst(&judged), Level::Ok, "{}", to_text(&judged));
}

#[test]
fn huge_pages_are_counted_for_the_configured_arena() {
    // The notes have a page of their own, on top of the arena's size.
    let fake = Fake::well();
    let look = |fake: &Fake| memory::arena(&fake.host(), &settings(""));
    is(&look(&fake), Level::Ok, "600 of 600 pages of 2048 KiB are free, the arena needs 513");
    fake.put("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "100");
    is(&look(&fake), Level::Fail, "sysctl -w vm.nr_hugepages=613");
    fake.put("/dev/hugepages/holdfast/superblock", "");
    is(&look(&fake), Level::Ok, "the arena is there");

    let fake = Fake::well();
    fake.put("/proc/self/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=1024M 0 0");
    is(&look(&fake), Level::Fail, "too small");
    fake.put("/proc/self/mounts", "tmpfs /dev tmpfs rw 0 0");
    is(&look(&fake), Level::Warn, "swapped out");
    fake.put("/proc/self/mounts", "/dev/vda / ext4 rw 0 0");
    is(&look(&fake), Level::Fail, "systemctl start dev-hugepages.mount");
    is(&memory::arena(&Fake::empty().host(), &settings("")), Level::Warn, "mount /proc");
}

#[test]
fn pages_of_a_gibibyte_have_their_own_pool() {
    let fake = Fake::well();
    fake.put("/proc/self/mounts", "hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=1G 0 0");
    fake.put("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "2");
    fake.put("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "2");
    let text = "[arena]\nsize = \"8GiB\"\n[[volume]]\nname = \"vm\"\nbacking = { kind = \"file\", path = \"/data/vm\" }\n";
    let settings = config::parse(text, "a test").expect("possible");
    is(
        &memory::arena(&fake.host(), &settings),
        Level::Fail,
        "echo 9 > /sys/kernel/mm/hugepages/hugepages-1048576kB",
    );
}

#[test]
fn locked_memory_is_measured_against_the_arena() {
    let look = |fake: &Fake| memory::memlock(&fake.host(), Some(&settings("")));
    let fake = Fake::well();
    is(&look(&fake), Level::Ok, "unlimited");
    fake.put("/proc/self/limits", "Max locked memory         8388608 8388608 bytes");
    is(&look(&fake), Level::Warn, "LimitMEMLOCK=infinity");
    fake.put("/proc/self/status", "CapEff:\t000001ffffffffff");
    is(&look(&fake), Level::Ok, "CAP_IPC_LOCK");
    is(&look(&Fake::empty()), Level::Warn, "mount /proc");
}

#[test]
fn descriptors_are_counted_for_all_sessions() {
    let look = |fake: &Fake| memory::files(&fake.host(), &settings(""));
    let fake = Fake::well();
    is(&look(&fake), Level::Ok, "64 sessions");
    fake.put("/proc/self/limits", "Max open files            256 4096 files");
    is(&look(&fake), Level::Warn, "LimitNOFILE=512");
}

#[test]
fn the_switch_of_io_uring_is_read() {
    let fake = Fake::well();
    is(&kernel::io_uring_switch(&fake.host()), Level::Ok, "everybody");
    is(&kernel::io_uring_switch(&Fake::empty().host()), Level::Ok, "everybody");
    fake.put("/proc/sys/kernel/io_uring_disabled", "1\n").put("/proc/sys/kernel/io_uring_group", "-1\n");
    is(&kernel::io_uring_switch(&fake.host()), Level::Warn, "kernel.io_uring_group=$(getent");
    fake.put("/proc/sys/kernel/io_uring_disabled", "2\n");
    is(&kernel::io_uring_switch(&fake.host()), Level::Fail, "sysctl -w kernel.io_uring_disabled=0");
}

#[test]
fn a_slow_clock_is_named_with_a_better_one() {
    const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let fake = Fake::well();
    is(&kernel::clock(&fake.host()), Level::Ok, "tsc");
    fake.put(CURRENT, "hpet");
    is(&kernel::clock(&fake.host()), Level::Warn, "echo tsc > /sys/devices");
    fake.put("/sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet acpi_pm");
    is(&kernel::clock(&fake.host()), Level::Warn, "tsc=reliable");
    is(&kernel::clock(&Fake::empty().host()), Level::Warn, "mount -t sysfs");
}

#[test]
fn cores_must_be_online_and_allowed() {
    let look = |fake: &Fake, more| only(&cores::check(&fake.host(), &settings(more)), "cores").clone();
    let fake = Fake::well();
    is(&look(&fake, CORES), Level::Ok, "2,3 are online");
    is(&look(&fake, ""), Level::Ok, "1 reactors, not pinned, on 4 CPUs");
    is(&look(&fake, "idle = \"spin\""), Level::Warn, "cores = [3] in [daemon]");
    is(&look(&fake, "reactors = 8"), Level::Warn, "reactors = 4");
    is(&look(&fake, "cores = [2, 9]"), Level::Fail, "there are 0,1,2,3");
    fake.put("/sys/devices/system/cpu/online", "0-2").put("/sys/devices/system/cpu/cpu3/online", "0");
    is(&look(&fake, CORES), Level::Fail, "echo 1 > /sys/devices/system/cpu/cpu3/online");
    let fake = Fake::well();
    fake.put("/proc/self/status", "Cpus_allowed_list:\t0-2");
    is(&look(&fake, CORES), Level::Warn, "may not use CPUs 3");
}

#[test]
fn cores_that_are_shared_or_tick_are_named() {
    let look = |fake: &Fake| only(&cores::check(&fake.host(), &settings(CORES)), "isolation").clone();
    let fake = Fake::well();
    is(&look(&fake), Level::Ok, "isolated");
    fake.put("/proc/cmdline", "quiet isolcpus=2-3 nohz_full=2");
    is(&look(&fake), Level::Warn, "the timer ticks");
    fake.put("/proc/cmdline", "quiet");
    is(&look(&fake), Level::Warn, "isolcpus=managed_irq,domain,2,3 nohz_full=2,3");
    fake.put("/sys/devices/system/cpu/isolated", "2-3").put("/sys/devices/system/cpu/nohz_full", "2-3");
    is(&look(&fake), Level::Ok, "isolated");
}

#[test]
fn siblings_are_found_once() {
    let look = |fake: &Fake| only(&cores::check(&fake.host(), &settings(CORES)), "siblings").clone();
    let fake = Fake::well();
    is(&look(&fake), Level::Ok, "none beside 2,3");
    fake.put("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2");
    is(&look(&fake), Level::Warn, "echo 0 > /sys/devices/system/cpu/cpu0/online");
    fake.put("/sys/devices/system/cpu/online", "1-3");
    is(&look(&fake), Level::Ok, "none");
    for cpu in [2, 3] {
        fake.put(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), "2-3");
    }
    is(&look(&fake), Level::Warn, "take CPU 2 or 3, not both");
}

#[test]
fn a_saving_governor_is_named() {
    let governors = |fake: &Fake| {
        let findings = cores::check(&fake.host(), &settings(CORES));
        findings.into_iter().filter(|finding| finding.check == "governor").collect::<Vec<_>>()
    };
    let fake = Fake::well();
    assert!(matches!(governors(&fake).as_slice(), [one] if one.level == Level::Ok), "cpu3 has none");
    fake.put("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave");
    is(&governors(&fake)[1], Level::Warn, "echo performance > /sys/devices/system/cpu/cpu3/cpufreq");
}

#[test]
fn the_state_directory_must_survive_and_have_room() {
    let look = |fake: &Fake, free| places::state(&fake.host(), &settings(""), |_| free);
    let fake = Fake::well();
    let findings = look(&fake, Some(1 << 30));
    is(only(&findings, "state_dir"), Level::Ok, "is on ext4");
    is(only(&findings, "state_space"), Level::Ok, "1024 MiB");
    is(only(&look(&fake, Some(100 << 20)), "state_space"), Level::Warn, "du -xh");
    is(only(&look(&fake, Some(1 << 20)), "state_space"), Level::Fail, "cannot be written");
    assert_eq!(look(&fake, None).len(), 1);
    fake.put(
        "/proc/self/mounts",
        "x / ext4 rw 0 0\ntmpfs /var/lib tmpfs rw 0 0\n/dev/vda /var/library ext4 rw 0 0",
    );
    is(only(&look(&fake, None), "state_dir"), Level::Fail, "does not survive a reboot");
    fake.put("/proc/self/mounts", "overlay / overlay rw 0 0");
    is(only(&look(&fake, None), "state_dir"), Level::Warn, "local disk");
    let fake = Fake::empty();
    fake.put("/var/lib/other", "").put("/proc/self/mounts", "x / ext4 rw 0 0");
    is(only(&look(&fake, None), "state_dir"), Level::Ok, "will be made in /var/lib");
}

#[test]
fn sockets_left_over_or_in_use_are_told_apart() {
    const PATH: &str = "/run/holdfast/admin.sock";
    let look = |fake: &Fake| places::sockets(&fake.host(), &settings("")).remove(1);
    let fake = Fake::well();
    is(&look(&fake), Level::Ok, "no daemon runs");
    drop(UnixListener::bind(fake.host().path(PATH)).expect("a short path"));
    is(&look(&fake), Level::Warn, "nobody listens");
    fake.put("/proc/net/unix", &format!("Num\n0: 2 0 00000000 1 01 17 {PATH}"));
    is(&look(&fake), Level::Warn, "nobody listens");
    fake.put("/proc/net/unix", &format!("Num\n0: 2 0 00010000 0001 01 17 {PATH}"));
    is(&look(&fake), Level::Ok, "a daemon listens");
    std::fs::remove_file(fake.host().path(PATH)).expect("ours");
    fake.put(PATH, "precious");
    is(&look(&fake), Level::Fail, "rm /run/holdfast/admin.sock");
    is(&places::sockets(&Fake::empty().host(), &settings(""))[1], Level::Fail, "systemd-tmpfiles --create");

    let nbd = "[[frontend]]\nkind = \"nbd\"\nsocket = \"/run/other/nbd.sock\"";
    let settings = config::parse(&format!("{nbd}\n[[volume]]\nname = \"vm\"\nbacking = {FILE}\n"), "a test");
    let found = places::sockets(&fake.host(), &settings.expect("possible"));
    is(&found[2], Level::Fail, "/run/other is not there");
}

fn disk(direct: Result<&'static str, NotDirect>) -> Seen {
    let direct = direct.map(str::to_owned).map_err(|why| why.to_string());
    Seen { block_device: false, on: "ext4".to_owned(), direct, device: (254, 0) }
}

fn volume(backing: &str) -> config::VolumeSettings {
    let text = format!("[[volume]]\nname = \"vm\"\nbacking = {backing}\n");
    config::parse(&text, "a test").expect("possible").volumes.remove(0)
}

const FILE: &str = r#"{ kind = "file", path = "/data/vm" }"#;

#[test]
fn a_backing_is_direct_or_refused() {
    let fake = Fake::well();
    let look = |backing: &str, found: fn() -> io::Result<Seen>| {
        let findings = disks::check(&fake.host(), &volume(backing), |_| found());
        assert!(findings.iter().all(|finding| finding.of == "vm"), "{findings:?}");
        findings.into_iter().next().expect("at least one")
    };
    let cached = || Ok(disk(Err(NotDirect::PageCache(FileSystem::Tmpfs))));
    let missing = || Err(io::ErrorKind::NotFound.into());
    is(&look(FILE, || Ok(disk(Ok("statx gives its alignment")))), Level::Ok, "on ext4: statx");
    is(&look(FILE, cached), Level::Fail, "put it on ext4, XFS");
    is(
        &look(FILE, || Ok(disk(Err(NotDirect::Refused(FileSystem::Nfs))))),
        Level::Fail,
        "NFS refuses O_DIRECT",
    );
    let buffered = r#"{ kind = "file", path = "/data/vm", buffered = true }"#;
    is(&look(buffered, cached), Level::Warn, "no promise about failed writes");
    is(&look(FILE, missing), Level::Fail, "ls -l /data/vm");
    is(&look(FILE, || Err(io::ErrorKind::PermissionDenied.into())), Level::Fail, "setfacl");
    is(&look(FILE, || Err(io::Error::from_raw_os_error(5))), Level::Fail, "dd if=/data/vm");
    is(&look(r#"{ kind = "block", path = "/dev/x" }"#, cached), Level::Fail, "kind = \"file\"");
    let block = || Ok(Seen { block_device: true, ..disk(Ok("a block device")) });
    is(&look(r#"{ kind = "block", path = "/dev/x" }"#, block), Level::Ok, "a block device");
    is(&look(FILE, block), Level::Fail, "kind = \"block\"");
    let create = r#"{ kind = "file", path = "/data/vm", size = "1GiB", create = true }"#;
    is(&look(create, missing), Level::Ok, "will be made on ext4");
    fake.put("/proc/self/mounts", "tmpfs /data tmpfs rw 0 0");
    is(&look(create, missing), Level::Fail, "page cache");
}

#[test]
fn a_disk_that_hides_its_cache_is_named() {
    let fake = Fake::well();
    let look = |check: &str| {
        let findings = disks::check(&fake.host(), &volume(FILE), |_| Ok(disk(Ok("statx"))));
        only(&findings, check).clone()
    };
    is(&look("write_cache"), Level::Ok, "volatile, and flushed");
    is(&look("poll_queues"), Level::Ok, "none");
    fake.put("/sys/dev/block/254:0/queue/write_cache", "write through");
    is(&look("write_cache"), Level::Ok, "is stable");
    fake.put("/sys/dev/block/254:0/queue/write_cache", "odd").put("/sys/dev/block/254:0/queue/io_poll", "1");
    is(&look("write_cache"), Level::Warn, "echo 'write back' > /sys/dev/block/254:0/queue/write_cache");
    is(&look("poll_queues"), Level::Ok, "can be polled");
}

#[test]
fn a_partition_is_asked_for_its_disks_queue() {
    let fake = Fake::empty();
    fake.put("/sys/devices/disk/queue/write_cache", "write back")
        .put("/sys/devices/disk/part1/partition", "1");
    let link = fake.host().path("/sys/dev/block/254:0");
    std::fs::create_dir_all(link.parent().expect("not the root")).expect("made");
    std::os::unix::fs::symlink("../../devices/disk/part1", link).expect("linked");
    let findings = disks::check(&fake.host(), &volume(FILE), |_| Ok(disk(Ok("statx"))));
    is(only(&findings, "write_cache"), Level::Ok, "write back");
    let other =
        disks::check(&fake.host(), &volume(FILE), |_| Ok(Seen { device: (0, 42), ..disk(Ok("statx")) }));
    is(only(&other, "write_cache"), Level::Ok, "no disk of its own (0:42)");
}

/// The kernel that runs the tests, for what cannot be faked.
#[test]
fn a_real_file_is_looked_at_and_not_claimed() {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").expect("/dev/shm is writable");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("ours, as a daemon's");
    let found = crate::device::inspect(file.path()).expect("a lock does not matter");
    assert_eq!(found.direct, Err(NotDirect::PageCache(FileSystem::Tmpfs)));
    assert!(!found.block_device);
    assert!(crate::device::inspect(Path::new("/dev/null")).is_err());
    assert!(!kernel::probed().is_empty());
}
