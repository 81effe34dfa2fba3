//! Running a program with a notice on its standard input.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Runs `words[0]` with the rest as its arguments, gives it `input`, and waits for its end while there is time
/// `left`. Then it is killed, and with it what it has started and not moved into a group of its own.
///
/// # Errors
/// In words: it cannot be started, ended badly, or took too long.
pub(super) fn run(words: &[String], input: &str, left: impl Fn() -> Duration) -> Result<(), String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // A group of its own: a signal for the daemon's terminal is not for it, and it can be killed with its children.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    // A notice fits into a pipe, so that this never waits. A program that does not read it has its reasons.
    let written = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
    debug_assert!(written.is_some(), "it was piped");
    match wait(&mut child, left) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("it ended with {status}")),
        Ok(None) => {
            kill(&mut child);
            Err("it did not end in time, and was killed".to_owned())
        }
        Err(error) => Err(format!("nobody knows how it ended: {error}")),
    }
}

fn wait(child: &mut Child, left: impl Fn() -> Duration) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = left();
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended in this moment: then there is nothing to kill.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    // It is dead or about to be: this reaps it.
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn enough() -> Duration {
        Duration::from_secs(60)
    }

    #[test]
    fn a_program_gets_the_notice() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("told");
        assert_eq!(run(&shell(&format!("cat > {}", file.display())), "{\"a\":1}", enough), Ok(()));
        assert_eq!(std::fs::read_to_string(file).expect("written"), "{\"a\":1}");
    }

    #[test]
    fn a_program_that_fails_or_is_not_there_is_told_apart() {
        assert_eq!(run(&shell("exit 3"), "{}", enough), Err("it ended with exit status: 3".to_owned()));
        let missing = run(&["/nowhere/tell".to_owned()], "{}", enough).expect_err("no such program");
        assert!(missing.starts_with("it cannot be started: No such file"), "{missing}");
        assert_eq!(
            run(&shell("exec <&-; exit 0"), "{}", enough),
            Ok(()),
            "one that does not read is no failure"
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        // Its time is over when its child has said its number.
        let told = || std::fs::read_to_string(&file).unwrap_or_default();
        let left = || if told().ends_with('\n') { Duration::ZERO } else { enough() };
        let ended = run(&shell(&script), "{}", left);
        assert_eq!(ended, Err("it did not end in time, and was killed".to_owned()));
        let pid = told();
        let gone = (0..6000).any(|_| {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            std::thread::sleep(Duration::from_millis(10));
            // One that nobody reaps stays as a zombie.
            status.is_empty() || status.contains(") Z ")
        });
        assert!(gone, "the child of process {pid} lives on");
    }
}
