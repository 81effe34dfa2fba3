//! A headless Chromium, driven over a pair of pipes: JSON messages, each ended by a zero byte.

use crate::needs::can_use;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that will come, and after which a browser that says nothing is killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    complaints: Vec<String>,
    asked: Vec<String>,
    // Dropped after the child: what it writes is of no use to anybody.
    _profile: TempDir,
    _watchdog: Sender<()>,
}

impl Browser {
    /// Starts it, if it is installed and may be (root of a container starts it without its sandbox).
    pub(crate) fn start() -> Option<Browser> {
        if !can_use(&["chromium"]) {
            return None;
        }
        let profile = tempfile::tempdir().expect("a temporary directory");
        // The pipes are descriptors 3 and 4 to it. Only loopback has a name: nothing else can be reached.
        let script = format!(
            "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-background-networking --disable-component-update --window-size=1200,1300 \
             --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --user-data-dir={} \
             --remote-debugging-pipe about:blank 3<&0 4>&1 >/dev/null 2>&1 </dev/null",
            profile.path().display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a shell");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (alive, ended) = channel();
        let pid = rustix::process::Pid::from_child(&child);
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        let mut browser = Browser {
            child,
            input,
            output: BufReader::new(output),
            session: None,
            last: 0,
            complaints: Vec::new(),
            asked: Vec::new(),
            _profile: profile,
            _watchdog: alive,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Asks, and waits for the answer; what is said meanwhile is noted.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).expect("JSON");
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser listens");
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes).expect("the browser speaks");
            assert_eq!(
                bytes.pop(),
                Some(0),
                "the browser ended, or said nothing for {} s",
                PATIENCE.as_secs()
            );
            let message: Value = serde_json::from_slice(&bytes).expect("JSON");
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.asked.push(params["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(params.to_string()),
            // A refusal of ours (no token yet, no such id) is said, too, and is no complaint.
            Some("Log.entryAdded") if params["entry"]["source"] != "network" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }

    pub(crate) fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
    }

    /// The value of an expression.
    pub(crate) fn run(&mut self, expression: &str) -> Value {
        let answer =
            self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, expression: &str) -> String {
        self.run(expression).as_str().unwrap_or_else(|| panic!("no text: {expression}")).to_owned()
    }

    /// Waits until a condition holds, which may not be possible to ask at first.
    pub(crate) fn until(&mut self, condition: &str) {
        let begun = Instant::now();
        let condition =
            format!("(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()");
        while self.run(&condition) != Value::Bool(true) {
            assert!(begun.elapsed() < PATIENCE, "never: {condition}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Keeps a picture of the page, and says where.
    pub(crate) fn picture(&mut self, name: &str) {
        // All of it, also what a person would have to scroll for.
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let how = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let answer = self.call("Page.captureScreenshot", how);
        let picture = from_base64(answer["data"].as_str().expect("a picture"));
        assert!(picture.starts_with(b"\x89PNG"), "a picture is PNG");
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, &picture).expect("the build's folder is writable");
        if std::env::var_os("HOLDFAST_WRITE_CAPTURES").is_some() {
            let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures");
            std::fs::create_dir_all(kept).expect("a folder of the documents");
            std::fs::write(PathBuf::from(kept).join(name), &picture).expect("the page's picture");
        }
        println!("picture: {}", path.display());
    }

    /// What the browser objected to: exceptions, and what the page's own headers forbid.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.clone()
    }

    /// Every address that was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("no base64: {letter}"),
    };
    let letters = text.trim_end_matches('=').as_bytes();
    let four = |letters: &[u8]| {
        let bits =
            letters.iter().fold(0, |bits, letter| bits << 6 | value(*letter)) << (6 * (4 - letters.len()));
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes[..letters.len() - 1].to_vec()
    };
    letters.chunks(4).flat_map(four).collect()
}
