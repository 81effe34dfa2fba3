//! A disk in memory that fails when told, forgets what a failed sync did not write, and survives crashes.

use super::super::disk::Disk;
use redb::StorageBackend;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone, Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

impl Write {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Write::Length(length) => file.resize(*length as usize, 0),
            Write::Bytes(offset, data) => {
                let end = *offset as usize + data.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset as usize..end].copy_from_slice(data);
            }
        }
    }
}

/// What readers see, what is on stable media, and what is between the two.
#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    /// The file that has the ledger's name, as seen and as it is after a crash.
    current: Option<usize>,
    current_durable: Option<usize>,
    new: Option<usize>,
    /// Operations that change something, since the start.
    operations: u64,
    /// Operations with these numbers fail with this errno.
    fail: std::ops::Range<u64>,
    errno: i32,
    /// A write that fails does half of its work first.
    short: bool,
    reads: u64,
}

impl State {
    fn next(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.fail.contains(&number) { Err(io::Error::from_raw_os_error(self.errno)) } else { Ok(()) }
    }
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeDisk(Arc<Mutex<State>>);

/// What is left of unsynced writes after a crash.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crash {
    None,
    All,
    EveryOther,
    Half,
}

impl FakeDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds this")
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How often the current file was read as a whole.
    pub(super) fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Operations `first .. first + count` fail.
    pub(super) fn fail(&self, first: u64, count: u64, errno: i32, short: bool) {
        let mut state = self.state();
        (state.fail, state.errno, state.short) = (first..first.saturating_add(count), errno, short);
    }

    /// From now on everything works.
    pub(super) fn repair(&self) {
        self.state().fail = 0..0;
    }

    /// The disk as the next boot finds it.
    pub(super) fn crash(&self, crash: Crash) -> FakeDisk {
        let state = self.state();
        let Some(current) = state.current_durable else { return FakeDisk::default() };
        let Content { mut durable, unsynced, .. } = state.files[current].clone();
        let keep = |at: usize| match crash {
            Crash::None => false,
            Crash::All => true,
            Crash::EveryOther => at % 2 == 1,
            Crash::Half => at < unsynced.len() / 2,
        };
        for (at, write) in unsynced.iter().enumerate() {
            if keep(at) {
                write.apply(&mut durable);
            }
        }
        FakeDisk::with_file(durable)
    }

    /// The bytes of the current file, if there is one.
    pub(super) fn file(&self) -> Option<Vec<u8>> {
        let state = self.state();
        state.current.map(|current| state.files[current].seen.clone())
    }

    /// A disk with this file.
    pub(super) fn with_file(file: Vec<u8>) -> FakeDisk {
        let disk = FakeDisk::default();
        let mut state = disk.state();
        state.files.push(Content { seen: file.clone(), durable: file, unsynced: Vec::new() });
        (state.current, state.current_durable) = (Some(0), Some(0));
        drop(state);
        disk
    }
}

impl Disk for FakeDisk {
    fn path(&self) -> &Path {
        Path::new("/fake/ledger.redb")
    }

    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        self.state().reads += 1;
        Ok(self.file())
    }

    fn create(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.state();
        state.next()?;
        state.files.push(Content::default());
        let number = state.files.len() - 1;
        state.new = Some(number);
        Ok(Box::new(FakeFile { disk: self.clone(), number }))
    }

    fn publish(&self) -> io::Result<()> {
        let mut state = self.state();
        state.next()?;
        state.current = state.new.take();
        state.next()?;
        state.current_durable = state.current;
        Ok(())
    }
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    number: usize,
}

impl FakeFile {
    fn change(&self, write: Write) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.next();
        let write = match (&result, write) {
            (Ok(()), write) => write,
            (Err(_), Write::Bytes(offset, data)) if state.short => {
                Write::Bytes(offset, data[..data.len() / 2].to_vec())
            }
            (Err(_), _) => return result,
        };
        let file = &mut state.files[self.number];
        write.apply(&mut file.seen);
        file.unsynced.push(write);
        result
    }
}

impl StorageBackend for FakeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.number].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let seen = &state.files[self.number].seen;
        let at = offset as usize;
        out.copy_from_slice(seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.next();
        let file = &mut state.files[self.number];
        // As Linux does: after a failed sync the pages are clean, still seen, and on no media; the next sync is happy.
        for write in mem::take(&mut file.unsynced) {
            if result.is_ok() {
                write.apply(&mut file.durable);
            }
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Bytes(offset, data.to_vec()))
    }
}
