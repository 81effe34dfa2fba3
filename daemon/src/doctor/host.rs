//! The host as files: everything below `/`, or below a directory that stands for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files that are looked at.
#[derive(Clone, Debug)]
pub(super) struct Host {
    root: PathBuf,
}

/// A line of `/proc/self/mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) at: PathBuf,
    pub(super) kind: String,
    pub(super) options: String,
}

impl Host {
    pub(super) fn at(root: &Path) -> Host {
        Host { root: root.to_owned() }
    }

    /// Whether it is this host, so that the kernel can be asked, too.
    pub(super) fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where an absolute path of the host is.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text without blanks around it; none if it is not there or empty.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = std::fs::read_to_string(self.path(path)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    /// The number in kB behind a name in `/proc/meminfo`, in bytes.
    pub(super) fn meminfo(&self, name: &str) -> Option<u64> {
        let text = self.read("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }

    /// The soft limit of this process with such a name in `/proc/self/limits`; `u64::MAX`: unlimited.
    pub(super) fn limit(&self, name: &str) -> Option<u64> {
        let text = self.read("/proc/self/limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// The mount that a path is on: of the longest place that the path begins with the last one, which covers the others.
    pub(super) fn mount_of(&self, path: &Path) -> Option<Mount> {
        let text = self.read("/proc/self/mounts")?;
        let mounts = text.lines().filter_map(mount).filter(|mount| path.starts_with(&mount.at));
        mounts.max_by_key(|mount| mount.at.components().count())
    }
}

fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split(' ').skip(1);
    let at = words.next()?.replace("\\040", " ");
    Some(Mount { at: at.into(), kind: words.next()?.to_owned(), options: words.next()?.to_owned() })
}

/// A list as sysfs writes it: `0,2-5`.
pub(super) fn cpus(list: &str) -> BTreeSet<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().ok()?;
        let last: u32 = last.trim().parse().ok()?;
        // No host has more; a longer list is none.
        (last < 1 << 16).then_some(first..=last)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The other way round.
pub(super) fn list(cpus: &BTreeSet<u32>) -> String {
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_as_sysfs_writes_them() {
        assert_eq!(cpus("0,2-4,7"), [0, 2, 3, 4, 7].into());
        assert_eq!(cpus(""), BTreeSet::new());
        assert_eq!(cpus("managed_irq,domain,2-3"), [2, 3].into());
        assert_eq!(cpus("5-2,0-4294967295,9"), [9].into());
        assert_eq!(list(&cpus("2-3,9")), "2,3,9");
    }
}
