//! A guest's first and only file system: busybox, a kernel's modules, and e2fsprogs with their libraries.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Loaded until all are: which of them needs which differs from kernel to kernel.
const MODULES: [&str; 12] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "crc16",
    "mbcache",
    "jbd2",
    "crc32c_generic",
    "libcrc32c",
    "ext4",
];

const INIT: &str = "#!/bin/busybox sh\n\
    /bin/busybox --install -s /bin\n\
    export PATH=/bin:/sbin\n\
    mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
    for pass in 1 2 3; do while read module; do insmod /modules/$module.ko 2>/dev/null; done </modules/order; done\n\
    stty -F /dev/ttyS0 -echo\n\
    echo '<ready>'\n\
    cat /dev/ttyS0 | sh >/dev/ttyS0 2>/dev/null\n";

/// Files in the form that the kernel unpacks: "newc" of cpio.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<PathBuf>,
    count: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.count += 1;
        let fields = [self.count, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        fields.iter().for_each(|field| self.bytes.extend(format!("{field:08x}").bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn directory(&mut self, path: &Path) {
        if path.as_os_str().is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        self.directory(path.parent().expect("relative"));
        self.entry(path.to_str().expect("plain"), 0o040_755, b"");
    }

    /// A file at this place, with the folders above it.
    fn file(&mut self, place: &str, data: &[u8]) {
        self.directory(Path::new(place).parent().expect("a file"));
        self.entry(place, 0o100_755, data);
    }

    fn copy(&mut self, place: &str, from: &Path) {
        let data = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.file(place, &data);
    }
}

/// Writes one for the kernel of `root`, where Debian's packages are unpacked.
pub(crate) fn write(root: &Path, to: &Path) {
    let mut archive = Archive::default();
    ["proc", "sys", "dev", "mnt", "tmp"].iter().for_each(|name| archive.directory(Path::new(name)));
    archive.file("init", INIT.as_bytes());
    archive.copy("bin/busybox", &root.join("bin/busybox"));
    let mut wanted = MODULES.to_vec();
    find_modules(&root.join("lib/modules"), &mut |name, path| {
        if let Some(at) = wanted.iter().position(|module| *module == name) {
            wanted.remove(at);
            archive.copy(&format!("modules/{name}.ko"), path);
        }
    });
    assert!(wanted.is_empty(), "modules that are not there: {wanted:?}");
    archive.file("modules/order", (MODULES.join("\n") + "\n").as_bytes());
    let mut libraries = BTreeSet::new();
    for program in ["/usr/sbin/mke2fs", "/usr/sbin/e2fsck"] {
        archive.copy(program.trim_start_matches("/usr/"), Path::new(program));
        libraries.extend(libraries_of(program));
    }
    libraries.iter().for_each(|library| archive.copy(library.trim_start_matches('/'), Path::new(library)));
    archive.entry("TRAILER!!!", 0, b"");
    fs::write(to, archive.bytes).expect("an archive");
}

fn find_modules(folder: &Path, each: &mut impl FnMut(&str, &Path)) {
    for entry in fs::read_dir(folder).expect("modules").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() {
            find_modules(&entry, each);
        } else if entry.extension() == Some(OsStr::new("ko")) {
            each(entry.file_stem().and_then(OsStr::to_str).expect("plain"), &entry);
        }
    }
}

fn libraries_of(program: &str) -> Vec<String> {
    let said = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8(said.stdout).expect("text");
    text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}
