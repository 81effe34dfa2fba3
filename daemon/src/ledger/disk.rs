//! The ledger's own disk: the seam where tests put one that fails.

use redb::StorageBackend;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the ledger's file lives: one current file, and beside it one that is being written to replace it.
pub(super) trait Disk: Send {
    /// What to call it in messages.
    fn path(&self) -> &Path;
    /// The whole current file; `None` if there is none.
    fn read(&self) -> io::Result<Option<Vec<u8>>>;
    /// A new, empty file beside the current one; one that is there from before goes.
    fn create(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Puts the new file in the current one's place, durably. It is still written through what `create` returned.
    fn publish(&self) -> io::Result<()>;
}

/// A directory of a file system.
#[derive(Debug)]
pub(super) struct Directory {
    directory: PathBuf,
    current: PathBuf,
    new: PathBuf,
}

impl Directory {
    /// The ledger's files in `directory`, which exists.
    pub(super) fn new(directory: &Path) -> Directory {
        let current = directory.join("ledger.redb");
        Directory { new: directory.join("ledger.redb.new"), current, directory: directory.to_owned() }
    }
}

impl Disk for Directory {
    fn path(&self) -> &Path {
        &self.current
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.current) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self) -> io::Result<Box<dyn StorageBackend>> {
        // A fresh inode, never the old one truncated: pages of a file whose fsync failed stay behind with it.
        match std::fs::remove_file(&self.new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&self.new)?;
        Ok(Box::new(OneFile(file)))
    }

    fn publish(&self) -> io::Result<()> {
        std::fs::rename(&self.new, &self.current)?;
        File::open(&self.directory)?.sync_all()
    }
}

/// A file. redb's own backend locks it, which a rename would make meaningless: the directory has one lock for all.
#[derive(Debug)]
struct OneFile(File);

impl StorageBackend for OneFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// The first error of a file; shared with whoever wants to know it.
pub(super) type FirstError = Arc<Mutex<Option<(i32, String)>>>;

/// A file that after its first error only gives errors.
///
/// A file system forgets a failed fsync: the next one may succeed with the data gone. Nothing after an error may count
/// as durable, not even the tidy header that redb would write on its way out.
#[derive(Debug)]
pub(super) struct Sticky {
    file: Box<dyn StorageBackend>,
    first: FirstError,
}

impl Sticky {
    /// Wraps a file; the first error will be in `first`.
    pub(super) fn new(file: Box<dyn StorageBackend>, first: FirstError) -> Sticky {
        Sticky { file, first }
    }

    fn guard<T>(&self, act: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> io::Result<T> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_some() {
            return Err(io::Error::other("an earlier operation on this file failed"));
        }
        let result = act(&*self.file);
        if let Err(error) = &result {
            *first = Some((error.raw_os_error().unwrap_or(0), error.to_string()));
        }
        result
    }
}

impl StorageBackend for Sticky {
    fn len(&self) -> io::Result<u64> {
        self.guard(|file| file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.guard(|file| file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.guard(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.guard(|file| file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.guard(|file| file.write(offset, data))
    }
}
