//! What is compared: something between a program that writes and a disk that may refuse.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use holdfast_ringbuf::FailureId;
use holdfast_ringbuf::client::{Client, Error};

use super::answer::Answer;
use super::disk::{Disk, Refuse};
use super::patience::Patience;
use super::place::Place;
use super::stamp::{BLOCK, Found, Stamp};

/// A program's hold of the file or the volume.
#[derive(Clone, Debug)]
pub(super) enum Session {
    /// An open file.
    File(Arc<File>),
    /// A client of the rings.
    Rings(Client),
}

impl Session {
    pub(super) fn write(&self, stamp: Stamp, patience: &Patience) -> anyhow::Result<Answer> {
        let (session, at) = (self.clone(), stamp.block * BLOCK as u64);
        let written = patience.within(move || match session {
            Session::File(file) => file.write_all_at(&stamp.bytes(), at),
            Session::Rings(client) => client.write_at(&stamp.bytes(), at).map_err(of_client),
        })?;
        Ok(Answer::of(written, |()| Answer::Success))
    }

    /// The answer, and what there is to ask an operator about it.
    pub(super) fn flush(&self, patience: &Patience) -> anyhow::Result<(Answer, Option<FailureId>)> {
        let session = self.clone();
        let flushed = patience.within(move || match session {
            Session::File(file) => (file.sync_all(), None),
            Session::Rings(client) => {
                let flushed = client.flush();
                let id = flushed.as_ref().err().and_then(Error::failure_id);
                (flushed.map_err(of_client), id)
            }
        })?;
        let (result, id) = flushed.map_or((None, None), |(result, id)| (Some(result), id));
        Ok((Answer::of(result, |()| Answer::Success), id))
    }

    /// What blocks hold, each read by itself.
    pub(super) fn read(&self, blocks: &[u64], run: u64, patience: &Patience) -> anyhow::Result<Answer> {
        let (session, blocks) = (self.clone(), blocks.to_vec());
        let read = patience.within(move || {
            let found = blocks.iter().map(|&block| match session.block(block) {
                Ok(bytes) => Ok(Found::of(&bytes, block, run)),
                Err(error) => error.raw_os_error().map(Found::Refused).ok_or(error),
            });
            found.collect::<io::Result<Vec<Found>>>()
        })?;
        Ok(Answer::of(read, Answer::Contents))
    }

    fn block(&self, block: u64) -> io::Result<Vec<u8>> {
        let (mut bytes, at) = (vec![0; BLOCK], block * BLOCK as u64);
        let length = match self {
            Session::File(file) => file.read_at(&mut bytes, at)?,
            Session::Rings(client) => client.read_at(&mut bytes, at).map_err(of_client).map(|()| BLOCK)?,
        };
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// An error of the volume's as its errno, any other in words.
fn of_client(error: Error) -> io::Error {
    match error {
        Error::Io { errno, .. } => io::Error::from_raw_os_error(errno),
        other => io::Error::other(other),
    }
}

/// What an operator can find out while the disk is ill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Ranges that are not on the disk, in bytes: offset, length.
    pub(super) ranges: Vec<(u64, u64)>,
    /// The same in words.
    pub(super) words: String,
    /// Whether any of it is in no place any more, and the operator is told so.
    pub(super) is_lost: bool,
    /// Warnings and errors in the kernel's log that name the device.
    pub(super) log: Vec<String>,
}

impl Listed {
    /// Whether a range, in bytes, is in it as a whole.
    pub(super) fn covers(&self, offset: u64, length: u64) -> bool {
        self.ranges.iter().any(|&(from, listed)| from <= offset && offset + length <= from + listed)
    }
}

/// One of the systems, set up, with A on a disk that is well.
pub(super) trait System {
    /// The disk beneath.
    fn disk(&self) -> &Disk;

    /// How to have the disk refuse this version and nothing else.
    fn refusal_of(&self, stamp: Stamp) -> Refuse;

    /// What a program opens.
    ///
    /// # Errors
    /// Why there is nothing to open.
    fn place(&self) -> Result<Place, Answer>;

    /// Opens it.
    ///
    /// # Errors
    /// If interrupted. What the system answers is an answer.
    fn open(&self, patience: &Patience) -> anyhow::Result<Result<Session, Answer>> {
        self.place().map_or_else(|answer| Ok(Err(answer)), |place| place.open(patience))
    }

    /// Has memory needed for something else, so that what may be forgotten is.
    ///
    /// # Errors
    /// If that cannot be done.
    fn evict(&mut self) -> anyhow::Result<()>;

    /// Starts it again, while nobody has it open: after an end in good order, or a crash where it promises to outlive one.
    ///
    /// # Errors
    /// If interrupted, or it neither ends nor starts for a reason of ours.
    fn restart(&mut self) -> anyhow::Result<Answer>;

    /// What an operator finds who knows the id of the last flush that failed, where there are such ids.
    ///
    /// # Errors
    /// If nobody can be asked.
    fn list(&mut self, failure: Option<FailureId>) -> anyhow::Result<Listed>;

    /// What an operator does once the disk is well again.
    ///
    /// # Errors
    /// If nobody can be told.
    fn retry(&mut self) -> anyhow::Result<Answer>;

    /// What an operator does about data that is in no place any more, and that he was told of.
    ///
    /// # Errors
    /// If nobody can be told.
    fn accept_loss(&mut self) -> anyhow::Result<Answer>;

    /// Ends it for good, and looks what blocks are on the disk then.
    ///
    /// # Errors
    /// If it does not end.
    fn end(&mut self, blocks: &[u64], run: u64) -> anyhow::Result<Answer>;
}
