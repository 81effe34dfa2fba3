//! What an operator asks and commands, over the socket of operators, without a program in between that would take a core.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long an operation may.
const OPERATION_MAX: Duration = Duration::from_secs(120);
/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// The body of an answer.
pub(crate) fn ask(admin: &Path, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(admin).with_context(|| admin.display().to_string())?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: holdfast\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{method} {path}: no answer"))?;
    let status = head.split_whitespace().nth(1).unwrap_or("");
    ensure!(status.starts_with('2'), "{method} {path}: {status}: {body}");
    Ok(body.to_owned())
}

/// Has operations of a volume fail (`x`; `X`: all) or hang (`h`), one letter after the other.
pub(crate) fn break_device(
    admin: &Path,
    volume: &str,
    operation: &str,
    sequence: &str,
) -> anyhow::Result<()> {
    let fault = serde_json::json!({ "operation": operation, "errno": "EIO", "sequence": sequence });
    ask(admin, "POST", &format!("/v1/volumes/{volume}/fault"), &fault.to_string()).map(drop)
}

/// Takes all faults of a volume away.
pub(crate) fn mend_device(admin: &Path, volume: &str) -> anyhow::Result<()> {
    ask(admin, "DELETE", &format!("/v1/volumes/{volume}/fault"), "").map(drop)
}

/// Has everything tried again that failed, and waits for the end of it.
///
/// # Errors
/// If something is left that failed.
pub(crate) fn retry(admin: &Path, volume: &str) -> anyhow::Result<()> {
    let started: Value =
        serde_json::from_str(&ask(admin, "POST", &format!("/v1/volumes/{volume}/retry"), "{}")?)?;
    let id = started["operation"]["id"].as_u64().context("an operation's number")?;
    let deadline = Instant::now() + OPERATION_MAX;
    loop {
        let answer: Value = serde_json::from_str(&ask(admin, "GET", &format!("/v1/operations/{id}"), "")?)?;
        let operation = if answer["operation"].is_object() { &answer["operation"] } else { &answer };
        if operation["state"] != "running" {
            let well = operation["state"] == "done" && operation["left_bytes"] == 0;
            ensure!(well, "the retry of volume {volume:?} did not end well: {operation}");
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the retry of volume {volume:?} takes more than 120 s: {operation}"
        );
        std::thread::sleep(LOOK);
    }
}
