//! Where the daemon's words go: to standard error, with a priority before each line if that is the journal.

use rustix::fs::Stat;
use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Begins to log, with the filter of `RUST_LOG`, or `info`. Once in a process.
pub fn start() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if is_journal() {
        builder.event_format(Journal(Format::default().without_time().with_level(false))).init();
    } else {
        builder.init();
    }
}

/// Whether standard error is the journal's socket: systemd says in `JOURNAL_STREAM` which file that is. A daemon whose
/// output was redirected inherits the variable, and not the file.
fn is_journal() -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| names(&told, &stat))
}

/// Whether `told`, `DEVICE:INODE` in decimal, is this file.
fn names(told: &str, stat: &Stat) -> bool {
    told.split_once(':')
        .is_some_and(|(device, inode)| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// A line as the journal takes it: `<6>holdfast_daemon::start: serving`. Time and process are the journal's to add.
struct Journal(Format<Full, ()>);

/// The priorities of syslog(3).
const fn priority(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Journal(Format::default().without_time().with_level(false)))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(lines = 3, "held");
            tracing::warn!("slow");
            tracing::info!("serving");
        });
        let text = String::from_utf8(memory.0.lock().expect("nobody panicked").clone()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[0].starts_with("<3>holdfast_daemon::log") && lines[0].ends_with("held lines=3"),
            "{text}"
        );
        assert!(lines[1].starts_with("<4>") && lines[2].starts_with("<6>"), "{text}");
    }

    #[test]
    fn the_journal_is_known_by_its_file() {
        let file = tempfile::tempfile().expect("a file");
        let stat = rustix::fs::fstat(&file).expect("its");
        assert!(names(&format!("{}:{}", stat.st_dev, stat.st_ino), &stat));
        for other in
            [format!("{}:{}", stat.st_dev, stat.st_ino + 1), format!("{}", stat.st_dev), "a:b".into()]
        {
            assert!(!names(&other, &stat), "{other}");
        }
        assert!(!names("", &stat));
    }
}
