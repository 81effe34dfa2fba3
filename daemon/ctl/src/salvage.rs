//! Saving what a volume holds into a file, and bringing such a file back: through a client's rings, so that what is saved
//! is what a client would read, and what is brought back is written as a client writes.

mod export;
mod import;
mod spans;

pub(crate) use export::{Exporter, Source};
pub(crate) use import::{Package, write_back};

use crate::error::Error;
use holdfast_ringbuf::client::{Client, Options};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of one read or write at the rings, and of the buffer for it.
const CHUNK: usize = 1 << 20;

/// What takes longer gets a progress bar.
const BAR_AFTER: Duration = Duration::from_secs(2);

/// Opens a session of our own.
pub(crate) fn connect(socket: &Path, volume: &str) -> Result<Client, Error> {
    let options = Options { queue_depth: 16, request_bytes: 256 << 10, ..Options::default() };
    Client::connect(socket, volume, options).map_err(|error| {
        Error::failed(
            format!("no session for volume '{volume}' on '{}': {error}.", socket.display()),
            "Name the clients' socket with --clients, and run this as root or as the daemon's user.",
        )
    })
}

/// How far a long work is, shown once it has taken a while and somebody looks.
pub(crate) struct Progress {
    begun: Instant,
    shown: bool,
    what: String,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(what: String, total: u64, shown: bool) -> Progress {
        Progress { begun: Instant::now(), shown, what, total, done: 0, bar: None }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.shown && self.begun.elapsed() > BAR_AFTER {
            let bar = self.bar.get_or_insert_with(|| new_bar(&self.what, self.total));
            bar.set_position(self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(what: &str, total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} [{bar:40}] {binary_bytes} of {binary_total_bytes}, {elapsed}");
    let style = style.expect("the template is a constant").progress_chars("=> ");
    ProgressBar::new(total).with_style(style).with_prefix(what.to_owned())
}
