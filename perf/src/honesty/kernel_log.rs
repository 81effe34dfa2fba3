//! What the kernel says about a device while a play goes on: all that an operator has to go by.

use std::fs::File;
use std::io::{ErrorKind, Read};

use anyhow::Context;
use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};

/// Bytes of the longest record of the log.
const RECORD_BYTES_MAX: usize = 8192;

/// Of the levels of `syslog(3)`.
const WARNING: u32 = 4;

/// The log from some moment on.
#[derive(Debug)]
pub(super) struct KernelLog {
    records: File,
    lines: Vec<String>,
}

impl KernelLog {
    /// What is said later.
    ///
    /// # Errors
    /// If this process may not read it.
    pub(super) fn from_now() -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let records =
            open("/dev/kmsg", flags, Mode::empty()).context("reading the kernel's log, /dev/kmsg")?;
        seek(&records, SeekFrom::End(0))?;
        Ok(Self { records: records.into(), lines: Vec::new() })
    }

    /// All warnings and errors until now that have this name in them as a word.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn lines_about(&mut self, device: &str) -> anyhow::Result<Vec<String>> {
        let mut record = vec![0; RECORD_BYTES_MAX];
        loop {
            match self.records.read(&mut record) {
                Ok(0) => break,
                Ok(bytes) => self.lines.extend(text(&String::from_utf8_lossy(&record[..bytes]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // It was faster than we: what was overwritten is skipped.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.lines.iter().filter(|line| speaks_of(line, device)).cloned().collect())
    }
}

/// Of `priority,sequence,time,flags;text`, and lines of keys behind it: the text, if it is at least a warning.
fn text(record: &str) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    // The facility is in the higher bits.
    let level = head.split(',').next()?.parse::<u32>().ok()? & 7;
    (level <= WARNING).then(|| text.lines().next().map(str::to_owned))?
}

fn speaks_of(line: &str, device: &str) -> bool {
    line.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_out_of_its_record_and_belongs_to_one_device() {
        let record = "4,1045,77,-;I/O error, dev loop1, sector 8\n SUBSYSTEM=block\n DEVICE=b7:1\n";
        let line = text(record).unwrap();
        assert_eq!(line, "I/O error, dev loop1, sector 8");
        assert_eq!(text("6,1046,78,-;EXT4-fs (loop1): mounted filesystem"), None, "no trouble");
        assert!(speaks_of(&line, "loop1"));
        assert!(!speaks_of("I/O error, dev loop11, sector 8", "loop1"));
        assert!(speaks_of("EXT4-fs error (device loop1): x", "loop1"));
    }
}
