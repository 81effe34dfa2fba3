//! One process with one mutant in it, and a limit: a bug may well make it run for ever.

use holdfast_mutants::{Mutant, VARIABLE};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It found nothing.
    Passed,
    /// It failed, and said this.
    Failed(String),
    /// It had to be stopped.
    Hung(String),
}

/// Runs a program to its end, or to its limit.
pub(crate) fn run(
    program: &Path,
    words: &[String],
    folder: &Path,
    mutant: Option<Mutant>,
    limit: Duration,
) -> End {
    let said = said_file().and_then(|said| Ok((said.try_clone()?, said.try_clone()?, said)));
    let (mut said, out, err) = match said {
        Ok(files) => files,
        Err(error) => return End::Failed(format!("no place for its output: {error}")),
    };
    let mut command = Command::new(program);
    command.args(words).current_dir(folder).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    // What a mutant fails with is no regression to be kept.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    command.env(VARIABLE, mutant.map_or("", Mutant::name));
    let mut child = match command.stdout(out).stderr(err).spawn() {
        Ok(child) => child,
        Err(error) => return End::Failed(format!("{} could not be started: {error}", program.display())),
    };
    let until = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) | Err(_) => break None,
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut text = String::new();
    let read = said.seek(SeekFrom::Start(0)).and_then(|_| {
        let mut bytes = Vec::new();
        said.read_to_end(&mut bytes)?;
        text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(())
    });
    if let Err(error) = read {
        text = format!("its output could not be read: {error}");
    }
    match status {
        Some(status) if status.success() => End::Passed,
        Some(_) => End::Failed(text),
        None => End::Hung(text),
    }
}

/// A file without a name: a pipe that nobody empties would stop a process that says much.
fn said_file() -> std::io::Result<File> {
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("holdfast-mutants-{}-{number}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit_ms: u64) -> End {
        let words = ["-c".to_owned(), script.to_owned()];
        run(Path::new("sh"), &words, Path::new("/"), Some(Mutant::NoFence), Duration::from_millis(limit_ms))
    }

    #[test]
    fn a_process_passes_fails_or_hangs() {
        assert_eq!(shell("true", 10_000), End::Passed);
        assert_eq!(
            shell("echo $HOLDFAST_MUTANT; echo two >&2; exit 3", 10_000),
            End::Failed("NoFence\ntwo\n".into())
        );
        assert_eq!(shell("echo begun; exec sleep 60", 300), End::Hung("begun\n".into()));
    }
}
