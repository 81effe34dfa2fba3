//! Saving: each range is read through the rings and written to the file at its own offset; then volume and file are
//! compared, because clients go on meanwhile.

use super::spans::{Span, bytes, spans, subtract};
use super::{CHUNK, Progress};
use crate::api::{Daemon, Extent, Refusal, Volume};
use crate::error::Error;
use crate::manifest::{About, ExportWriter, HeldRefusal, LostRange, Manifest, Saved, WriteError};
use holdfast_ringbuf::client::{self, Client};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Sentences of a kind that the manifest gets at most; the last one says how much they leave out.
const NOTES_MAX: usize = 100;

/// What is exported.
pub(crate) struct Source<'a> {
    pub(crate) daemon: &'a Daemon,
    pub(crate) volume: &'a Volume,
}

/// What an export came to, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Not readable, and not in the file.
    pub(crate) unreadable: u64,
    /// Overwritten by a client meanwhile.
    pub(crate) changed: u64,
    /// Came meanwhile, and are not in the file.
    pub(crate) came: u64,
    /// Not in the asked-for state any more.
    pub(crate) left: u64,
}

/// An export on its way.
pub(crate) struct Exporter<'a> {
    source: Source<'a>,
    client: Client,
    path: PathBuf,
    writer: ExportWriter,
    /// What was listed first.
    listed: Vec<Span>,
    /// What is in the file.
    saved: Vec<(u64, u64)>,
    notes: Vec<String>,
    outcome: Outcome,
    buffer: Vec<u8>,
}

impl<'a> Exporter<'a> {
    /// Makes the file, which nothing may be in the place of.
    pub(crate) fn new(source: Source<'a>, client: Client, to: &Path) -> Result<Exporter<'a>, Error> {
        Ok(Exporter {
            source,
            client,
            path: to.to_owned(),
            writer: ExportWriter::create(to).map_err(not_written)?,
            listed: Vec::new(),
            saved: Vec::new(),
            notes: Vec::new(),
            outcome: Outcome::default(),
            buffer: vec![0; CHUNK],
        })
    }

    fn spans(&self, extents: Vec<Extent>) -> Vec<Span> {
        let volume = self.client.volume();
        spans(extents, u64::from(volume.block_bytes), volume.bytes)
    }

    /// Saves what was listed.
    pub(crate) fn save(&mut self, extents: Vec<Extent>, progress: bool) -> Result<(), Error> {
        self.listed = self.spans(extents);
        let mut progress = self.progress("export", bytes(&self.listed), progress);
        for span in std::mem::take(&mut self.listed) {
            self.save_span(&span, &mut progress)?;
            self.listed.push(span);
        }
        Ok(())
    }

    /// What is in the states now shows what came and went meanwhile; `lost` is on record. Compares, and writes the manifest.
    pub(crate) fn finish(
        mut self,
        now: Vec<Extent>,
        lost: Vec<Extent>,
        progress: bool,
    ) -> Result<(Manifest, Outcome), Error> {
        let now = self.spans(now);
        let (came, left) = (subtract(&now, &self.listed), subtract(&self.listed, &now));
        (self.outcome.came, self.outcome.left) = (bytes(&came), bytes(&left));
        self.compare(progress)?;
        self.note(&came, "came while the others were saved and are not in the file: export again");
        self.note(&left, "were in that state no more when the others were saved: written back, or given up");
        let volume = self.source.volume;
        let about = About {
            made: crate::now(),
            made_by: format!("holdfastctl export {}", self.source.daemon.release),
            volume: volume.name.clone(),
            volume_bytes: Some(self.client.volume().bytes),
            identity: Some(volume.backing.identity.clone()),
            lost: lost.into_iter().map(lost_range).collect(),
            notes: self.notes,
        };
        let manifest = self.writer.finish(about).map_err(not_written)?;
        Ok((manifest, self.outcome))
    }

    fn progress(&self, what: &str, total: u64, shown: bool) -> Progress {
        Progress::new(format!("{what} {}", self.source.volume.name), total, shown)
    }

    /// Where a read of much fails, block after block is tried: only what cannot be read is missing then.
    fn save_span(&mut self, span: &Span, progress: &mut Progress) -> Result<(), Error> {
        let saved = Saved { state: span.state, refusal: span.refusal.clone().map(held) };
        let block = usize::try_from(self.client.volume().block_bytes).expect("at most 64 KiB");
        let mut at = span.offset;
        while at < span.end {
            let mut length = CHUNK.min(usize::try_from(span.end - at).unwrap_or(CHUNK));
            let mut read = self.client.read_at(&mut self.buffer[..length], at);
            if matches!(&read, Err(error) if is_of_data(error)) && length > block {
                length = block;
                read = self.client.read_at(&mut self.buffer[..length], at);
            }
            match read {
                Ok(()) => {
                    self.writer.append(at, &self.buffer[..length], &saved).map_err(not_written)?;
                    self.saved.push((at, length as u64));
                }
                Err(error) if is_of_data(&error) => {
                    self.outcome.unreadable += length as u64;
                    let missing = Span { offset: at, end: at + length as u64, ..span.clone() };
                    self.note(&[missing], &format!("could not be read and are NOT in the file: {error}"));
                }
                Err(error) => return Err(over(&error)),
            }
            at += length as u64;
            progress.add(length as u64);
        }
        Ok(())
    }

    /// Holds the volume against the file: what is not the same was written by a client meanwhile.
    fn compare(&mut self, progress: bool) -> Result<(), Error> {
        let total = self.saved.iter().map(|(_, length)| length).sum();
        let mut progress = self.progress("compare", total, progress);
        let file = File::open(&self.path).map_err(|error| not_read(&self.path, &error))?;
        let mut written = vec![0; CHUNK];
        for (offset, length) in std::mem::take(&mut self.saved) {
            let size = usize::try_from(length).expect("at most a chunk");
            file.read_exact_at(&mut written[..size], offset).map_err(|error| not_read(&self.path, &error))?;
            let same = match self.client.read_at(&mut self.buffer[..size], offset) {
                Ok(()) => self.buffer[..size] == written[..size],
                // It was given up meanwhile; the file has it.
                Err(error) if is_of_data(&error) => false,
                Err(error) => return Err(over(&error)),
            };
            if !same {
                self.outcome.changed += length;
                self.tell(offset, length, "were overwritten or given up while they were saved");
            }
            progress.add(length);
        }
        Ok(())
    }

    fn note(&mut self, spans: &[Span], what: &str) {
        for span in spans {
            self.tell(span.offset, span.end - span.offset, what);
        }
    }

    fn tell(&mut self, offset: u64, length: u64, what: &str) {
        match self.notes.len() {
            NOTES_MAX => self
                .notes
                .push("More than that is to be said; the command's own answer sums it up.".to_owned()),
            count if count < NOTES_MAX => self.notes.push(format!("{length} bytes at {offset} {what}.")),
            _ => {}
        }
    }
}

fn held(refusal: Refusal) -> HeldRefusal {
    let Refusal { class, errno, attempts, first, last } = refusal;
    HeldRefusal { class, errno, attempts, first: Some(first), last: Some(last) }
}

fn lost_range(extent: Extent) -> LostRange {
    LostRange { offset: extent.offset, length: extent.length, refusal: extent.refusal.map(held) }
}

/// Whether a read failed for its data alone, and another one can succeed.
fn is_of_data(error: &client::Error) -> bool {
    matches!(error, client::Error::Io { .. } | client::Error::TimedOut { .. })
}

fn over(error: &client::Error) -> Error {
    Error::failed(
        format!("the session ended: {error}."),
        "The export has no manifest, so it is half done. See 'holdfastctl status', remove it, then do it again.",
    )
}

/// What is in the place of the file is the operator's mistake; the rest is that of the file system.
fn not_written(error: WriteError) -> Error {
    let message = format!("{error}.");
    match error {
        WriteError::Exists { .. } | WriteError::Name { .. } => {
            Error::usage(message, "Nothing was changed. Give the name of a new file.")
        }
        WriteError::Io { .. } | WriteError::Order { .. } => Error::failed(
            message,
            "An export without a manifest is half done: remove it. Choose a directory that exists, on a file system with room, \
             not the one that is full.",
        ),
    }
}

fn not_read(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(
        format!("'{}' cannot be read back: {error}.", path.display()),
        "It has no manifest, so it is half done. Remove it, and choose another file system.",
    )
}
