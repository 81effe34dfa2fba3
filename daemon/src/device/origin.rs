//! The mark on a backing whose newest data is in some daemon's cache: until that daemon has drained it, what the backing
//! itself holds is stale, and whoever serves it from another cache serves old data.
//!
//! A file carries it as an extended attribute; a device, and a file whose file system has no attributes, is listed in
//! a directory of this host, by its identity. The lock on a backing says the same of a daemon that lives; this one
//! outlives it.
//!
//! What it cannot catch: programs other than this one, which do not ask; copies of a file, which have no attributes;
//! a device that another host reaches, too; a device without an identity of its own (serial, UUID), of which only a number
//! is known that may be another's tomorrow; and a daemon that may neither set attributes nor write the directory.

use super::{Backing, BackingKind};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where devices are listed until the host goes down, and with it every cache.
const DIRECTORY: &str = "/run/holdfast/origins";
const ATTRIBUTE: &str = "user.holdfast.origin";
/// More than any mark has.
const BYTES_MAX: usize = 8192;

/// Whose cache has what is newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginMark {
    /// What the volume is called there.
    pub volume: String,
    /// The directory of that daemon's ledger.
    pub state_dir: PathBuf,
}

impl OriginMark {
    fn text(&self, identity: &str) -> String {
        format!("{}\n{}\n{identity}\n", self.volume, self.state_dir.display())
    }

    /// `None` if it is not a mark of this identity: whoever wrote that cannot be asked.
    fn parse(text: &str, identity: &str) -> Option<OriginMark> {
        let mut lines = text.lines();
        let (volume, state_dir, of) = (lines.next()?, lines.next()?, lines.next()?);
        let mark = OriginMark { volume: volume.to_owned(), state_dir: state_dir.into() };
        (of == identity).then_some(mark)
    }
}

impl Backing {
    /// The mark that is on it.
    ///
    /// # Errors
    /// The kernel's; a place for marks that cannot be looked at is as good as one without.
    pub fn origin_mark(&self) -> io::Result<Option<OriginMark>> {
        let parse = |text: &str| OriginMark::parse(text, &self.identity().name);
        if let Some(text) = self.attribute()? {
            return Ok(parse(&text));
        }
        let listed = self.listed().map(fs::read_to_string);
        Ok(listed.and_then(Result::ok).as_deref().and_then(parse))
    }

    /// Puts the mark on it. Whether there is a place for one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mark_origin(&self, mark: &OriginMark) -> io::Result<bool> {
        let text = mark.text(&self.identity().name);
        if self.kind() == BackingKind::File {
            match rustix::fs::fsetxattr(&self.fd, ATTRIBUTE, text.as_bytes(), XattrFlags::empty()) {
                Ok(()) => return Ok(true),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(path) = self.listed() else { return Ok(false) };
        let written = fs::create_dir_all(DIRECTORY).and_then(|()| fs::write(&path, text));
        match written {
            Err(error) if is_not_ours(&error) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Takes the mark off: everything is on stable media.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear_origin(&self) -> io::Result<()> {
        match rustix::fs::fremovexattr(&self.fd, ATTRIBUTE) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(path) = self.listed() else { return Ok(()) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound && !is_not_ours(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// What takes a mark off by hand, for people.
    pub fn origin_remedy(&self) -> String {
        if matches!(self.attribute(), Ok(Some(_))) {
            return format!("setfattr -x {ATTRIBUTE} '{}'", self.path().display());
        }
        self.listed().map_or_else(String::new, |path| format!("rm '{}'", path.display()))
    }

    fn attribute(&self) -> io::Result<Option<String>> {
        if self.kind() != BackingKind::File {
            return Ok(None);
        }
        let mut bytes = [0u8; BYTES_MAX];
        match rustix::fs::fgetxattr(&self.fd, ATTRIBUTE, &mut bytes[..]) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&bytes[..length]).into_owned())),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::RANGE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its place in the list, if it has an identity that is its own as long as the host is up.
    fn listed(&self) -> Option<PathBuf> {
        self.identity().durable.then(|| Path::new(DIRECTORY).join(file_name(&self.identity().name)))
    }
}

/// A name in a directory: what is no letter or digit becomes its number.
fn file_name(identity: &str) -> String {
    let word = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => char::from(byte).to_string(),
        b' ' => "_".to_owned(),
        other => format!("-{other:02x}"),
    };
    let name: String = identity.bytes().take(80).map(word).collect();
    format!("{name}_{:x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, identity.as_bytes()))
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_only_for_its_identity() {
        let mark = OriginMark { volume: "vm1".to_owned(), state_dir: "/var/lib/holdfast".into() };
        let text = mark.text("file ext4 1 inode 2");
        assert_eq!(OriginMark::parse(&text, "file ext4 1 inode 2"), Some(mark));
        assert_eq!(OriginMark::parse(&text, "file ext4 1 inode 3"), None);
        for damaged in ["", "vm1", "vm1\n/var", "\n\n\n", "\u{0}"] {
            assert_eq!(OriginMark::parse(damaged, "file ext4 1 inode 2"), None, "{damaged:?}");
        }
    }

    #[test]
    fn names_in_the_list_differ_as_identities_do() {
        let names = ["wwid a/b", "wwid a-b", "wwid a_b", "wwid ../../etc"].map(file_name);
        assert!(names.iter().all(|name| !name.contains('/') && name.len() < 255));
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
