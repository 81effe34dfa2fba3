//! A look at a device that may not answer, by a process of its own: a thread that hangs in the kernel would not let the doctor
//! end, and whoever called it wait.

use crate::device::{self, Inspected};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a device may take to be opened and read once.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Whether it is a block device; else it is a regular file.
    pub(super) block_device: bool,
    /// The file system it is on.
    pub(super) on: String,
    /// How it is known to be direct, in words; or why it is not.
    pub(super) direct: Result<String, String>,
    /// Major and minor number of the block device, or of the one its file system is on.
    pub(super) device: (u32, u32),
}

/// What the other process says.
#[derive(Serialize, Deserialize)]
enum Said {
    Seen(Seen),
    Failed { errno: Option<i32>, words: String },
}

impl From<Inspected> for Seen {
    fn from(found: Inspected) -> Seen {
        let Inspected { block_device, on, direct, device } = found;
        let direct = direct.map(str::to_owned).map_err(|why| why.to_string());
        Seen { block_device, on, direct, device }
    }
}

/// The other process: says what it sees to whoever sent it.
pub(super) fn here(path: &Path) -> ExitCode {
    let said = match device::inspect(path) {
        Ok(found) => Said::Seen(found.into()),
        Err(error) => Said::Failed { errno: error.raw_os_error(), words: error.to_string() },
    };
    println!("{}", serde_json::to_string(&said).expect("plain values"));
    ExitCode::SUCCESS
}

/// Sends another process to look.
///
/// # Errors
/// What it met; [`io::ErrorKind::TimedOut`] if it is not back in time. It is left to itself then.
pub(super) fn elsewhere(path: &Path) -> io::Result<Seen> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("doctor").arg("--look").arg(path);
    ask(&mut command, PATIENCE)
}

fn ask(command: &mut Command, patience: Duration) -> io::Result<Seen> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut out = child.stdout.take().expect("it is piped");
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = out.read_to_string(&mut text).map(|_| text);
        // Perhaps nobody waits any more.
        let _ = tell.send(read);
    });
    let Ok(text) = told.recv_timeout(patience) else {
        // If it cannot die yet, nobody waits for that.
        let _ = child.kill();
        let words = format!("it does not answer within {} s", patience.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, words));
    };
    let text = text?;
    child.wait()?;
    match serde_json::from_str(&text) {
        Ok(Said::Seen(seen)) => Ok(seen),
        Ok(Said::Failed { errno: Some(errno), .. }) => Err(io::Error::from_raw_os_error(errno)),
        Ok(Said::Failed { errno: None, words }) => Err(io::Error::other(words)),
        Err(_) => Err(io::Error::other("the process that looked at it died")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(script: &str, patience: Duration) -> io::Result<Seen> {
        ask(Command::new("sh").args(["-c", script]), patience)
    }

    #[test]
    fn what_another_process_says_is_understood() {
        const LONG: Duration = Duration::from_secs(60);
        let direct = Err("NFS refuses O_DIRECT".to_owned());
        let seen = Seen { block_device: true, on: "ext4".to_owned(), direct, device: (8, 1) };
        let said = serde_json::to_string(&Said::Seen(seen.clone())).expect("plain values");
        assert_eq!(asked(&format!("echo '{said}'"), LONG).expect("seen"), seen);
        let failed = |errno| {
            let said = Said::Failed { errno, words: "it is neither".to_owned() };
            let said = serde_json::to_string(&said).expect("plain values");
            asked(&format!("echo '{said}'"), LONG).expect_err("failed")
        };
        assert_eq!(failed(Some(2)).kind(), io::ErrorKind::NotFound);
        assert_eq!(failed(None).to_string(), "it is neither");
        assert!(asked("kill -9 $$", LONG).expect_err("died").to_string().contains("died"));
        assert_eq!(
            asked("exec sleep 600", Duration::ZERO).expect_err("late").kind(),
            io::ErrorKind::TimedOut
        );
    }
}
