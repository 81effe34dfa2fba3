//! Saving: each range is read through the rings, written to the file at its own offset, and read again at the end.

use super::manifest::{
    KIND, MANIFEST_VERSION, Manifest, Meanwhile, PIECE_BYTES_MAX, SavedRange, Unreadable, manifest_path,
    ranges,
};
use super::spans::{Span, bytes, spans, subtract};
use super::{CHUNK, Progress};
use crate::api::{Daemon, Errno, Extent, Time, Volume};
use crate::error::Error;
use holdfast_ringbuf::client::Client;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What is exported.
pub(crate) struct Source<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) volume: &'a Volume,
    /// The names of the states.
    pub(crate) states: Vec<String>,
}

/// An export on its way.
pub(crate) struct Exporter<'a> {
    source: Source<'a>,
    client: Client,
    to: PathBuf,
    file: NamedTempFile,
    began: Time,
    saved: Vec<SavedRange>,
    unreadable: Vec<Unreadable>,
    first: Vec<Span>,
    buffer: Vec<u8>,
}

impl<'a> Exporter<'a> {
    /// Makes room for the file beside its final name, which nothing may have yet.
    pub(crate) fn new(source: Source<'a>, client: Client, to: &Path) -> Result<Exporter<'a>, Error> {
        for path in [to.to_owned(), manifest_path(to)] {
            if path.symlink_metadata().is_ok() {
                let message =
                    format!("'{}' is there already, and an export replaces nothing.", path.display());
                return Err(Error::usage(message, "Nothing was changed. Give the name of a new file."));
            }
        }
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(parent).map_err(|error| failed(to, &error))?;
        let size = client.volume().bytes;
        file.as_file().set_len(size).map_err(|error| failed(to, &error))?;
        Ok(Exporter {
            source,
            client,
            to: to.to_owned(),
            file,
            began: crate::now(),
            saved: Vec::new(),
            unreadable: Vec::new(),
            first: Vec::new(),
            buffer: vec![0; CHUNK],
        })
    }

    fn spans(&self, extents: Vec<Extent>) -> Vec<Span> {
        let volume = self.client.volume();
        spans(extents, u64::from(volume.block_bytes), volume.bytes)
    }

    /// Saves what was listed first.
    pub(crate) fn save(&mut self, extents: Vec<Extent>, progress: bool) -> Result<(), Error> {
        self.first = self.spans(extents);
        let todo = self.first.clone();
        self.save_spans(&todo, false, progress)
    }

    /// Saves what was listed since, finds out what clients changed, and puts file and manifest in their places.
    pub(crate) fn finish(mut self, extents: Vec<Extent>, progress: bool) -> Result<Manifest, Error> {
        let second = self.spans(extents);
        let came = subtract(&second, &self.first);
        let left = subtract(&self.first, &second);
        self.save_spans(&came, true, progress)?;
        let changed_bytes = self.compare(progress)?;
        self.saved.sort_by_key(|range| range.offset);
        let volume = self.client.volume();
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            kind: KIND.to_owned(),
            release: self.source.daemon.release.clone(),
            volume: self.source.volume.name.clone(),
            identity: self.source.volume.backing.identity.clone(),
            incarnation: self.source.daemon.incarnation.clone(),
            size_bytes: volume.bytes,
            block_bytes: volume.block_bytes,
            states: self.source.states.clone(),
            began: self.began.clone(),
            ended: crate::now(),
            ranges: self.saved,
            unreadable: self.unreadable,
            meanwhile: Meanwhile { left: ranges(&left), changed_bytes, came_bytes: bytes(&came) },
        };
        publish(&self.to, self.file, &manifest)?;
        Ok(manifest)
    }

    fn save_spans(&mut self, spans: &[Span], came_meanwhile: bool, progress: bool) -> Result<(), Error> {
        let mut progress =
            Progress::new(format!("export {}", self.source.volume.name), bytes(spans), progress);
        for span in spans {
            let mut offset = span.offset;
            while offset < span.end {
                let end = span.end.min(offset + PIECE_BYTES_MAX);
                self.save_piece(span, offset, end, came_meanwhile, &mut progress)?;
                offset = end;
            }
        }
        Ok(())
    }

    /// Saves one piece. Where a read fails, block after block is tried: one that cannot be read ends the range before it.
    fn save_piece(
        &mut self,
        span: &Span,
        from: u64,
        to: u64,
        came: bool,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let block = usize::try_from(self.client.volume().block_bytes).expect("at most 64 KiB");
        let (mut begin, mut at, mut hash) = (from, from, Sha256::new());
        while at < to {
            let mut length = CHUNK.min(usize::try_from(to - at).unwrap_or(CHUNK));
            let mut read = self.client.read_at(&mut self.buffer[..length], at);
            if matches!(&read, Err(error) if is_of_data(error)) && length > block {
                length = block;
                read = self.client.read_at(&mut self.buffer[..length], at);
            }
            match read {
                Ok(()) => {
                    let data = &self.buffer[..length];
                    self.file.as_file().write_all_at(data, at).map_err(|error| failed(&self.to, &error))?;
                    hash.update(data);
                }
                Err(error) if is_of_data(&error) => {
                    self.keep(span, begin, at, std::mem::take(&mut hash), came);
                    begin = at + length as u64;
                    self.unreadable.push(Unreadable {
                        offset: at,
                        length: length as u64,
                        errno: errno(&error),
                    });
                }
                Err(error) => return Err(over(&error)),
            }
            at += length as u64;
            progress.add(length as u64);
        }
        self.keep(span, begin, to, hash, came);
        Ok(())
    }

    fn keep(&mut self, span: &Span, offset: u64, end: u64, hash: Sha256, came_meanwhile: bool) {
        if offset < end {
            self.saved.push(SavedRange {
                offset,
                length: end - offset,
                state: span.state.name().to_owned(),
                refusal: span.refusal.clone(),
                sha256: hexadecimal(&hash.finalize()),
                changed_meanwhile: false,
                came_meanwhile,
            });
        }
    }

    /// Reads everything again: what is not the same was written by a client meanwhile.
    fn compare(&mut self, progress: bool) -> Result<u64, Error> {
        let total = self.saved.iter().map(|range| range.length).sum();
        let mut progress = Progress::new(format!("compare {}", self.source.volume.name), total, progress);
        let mut changed = 0;
        for range in &mut self.saved {
            let mut hash = Some(Sha256::new());
            let end = range.offset + range.length;
            let mut at = range.offset;
            while at < end {
                let length = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
                let data = &mut self.buffer[..length];
                match self.client.read_at(data, at) {
                    Ok(()) => hash.iter_mut().for_each(|hash| hash.update(&*data)),
                    // It was given up meanwhile; the file has it.
                    Err(error) if is_of_data(&error) => hash = None,
                    Err(error) => return Err(over(&error)),
                }
                at += length as u64;
                progress.add(length as u64);
            }
            range.changed_meanwhile = hash.is_none_or(|hash| hexadecimal(&hash.finalize()) != range.sha256);
            changed += if range.changed_meanwhile { range.length } else { 0 };
        }
        Ok(changed)
    }
}

/// Makes data and manifest durable and gives both their names, which nothing may have got meanwhile.
fn publish(to: &Path, file: NamedTempFile, manifest: &Manifest) -> Result<(), Error> {
    let json = manifest_path(to);
    let parent = file.path().parent().map(Path::to_owned).expect("a file is in a directory");
    file.as_file().sync_all().map_err(|error| failed(to, &error))?;
    let mut beside = NamedTempFile::new_in(&parent).map_err(|error| failed(&json, &error))?;
    let text = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
    beside.write_all(&text).map_err(|error| failed(&json, &error))?;
    beside.as_file().sync_all().map_err(|error| failed(&json, &error))?;
    file.persist_noclobber(to).map_err(|error| failed(to, &error.error))?;
    beside.persist_noclobber(&json).map_err(|error| failed(&json, &error.error))?;
    let directory = File::open(&parent).and_then(|directory| directory.sync_all());
    directory.map_err(|error| failed(to, &error))
}

/// Whether a read failed for its data alone, and another one can succeed.
fn is_of_data(error: &holdfast_ringbuf::client::Error) -> bool {
    use holdfast_ringbuf::client::Error;
    matches!(error, Error::Io { .. } | Error::TimedOut { .. })
}

fn errno(error: &holdfast_ringbuf::client::Error) -> Errno {
    let number = u16::try_from(error.errno()).unwrap_or_default();
    let text = std::io::Error::from_raw_os_error(error.errno()).to_string();
    let meaning = text.split(" (os error").next().unwrap_or_default().to_owned();
    let name = if number == 5 { "EIO".to_owned() } else { format!("errno {number}") };
    Errno { number, name, meaning }
}

fn over(error: &holdfast_ringbuf::client::Error) -> Error {
    Error::failed(
        format!("the session ended: {error}."),
        "No file was kept. See 'holdfastctl status', then do it again.",
    )
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(
        format!("'{}' cannot be written: {error}.", path.display()),
        "No file was kept. Choose a directory that exists, on a file system with room, not the one that is full.",
    )
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
