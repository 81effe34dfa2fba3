//! A database that is asked by its own program: sqlite3 with a write-ahead log, each commit synced.

use crate::world::run;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Checkpoints come often, so that log and database are both written all the time.
const SETTINGS: &str = "PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL;";
const CHECKPOINTS: &str = "PRAGMA wal_autocheckpoint = 50;";
const TABLES: &str = "CREATE TABLE rows (number INTEGER PRIMARY KEY, words TEXT NOT NULL);
     CREATE TABLE total (rows INTEGER, sum INTEGER); INSERT INTO total VALUES (0, 0);";

/// A sqlite3 that is open.
pub(crate) struct Database {
    shell: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Database {
    pub(crate) fn create(file: &Path) -> Database {
        let mut command = Command::new("sqlite3");
        command.arg("-bail").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("sqlite3");
        let asks = shell.stdin.take().expect("a pipe");
        let answers = BufReader::new(shell.stdout.take().expect("a pipe"));
        let mut database = Database { shell, asks, answers };
        assert_eq!(database.ask(SETTINGS), "wal", "the log is what is tested");
        assert_eq!(database.ask(CHECKPOINTS), "50");
        database.ask(&format!("{TABLES} SELECT 'made';"));
        database
    }

    /// Has statements carried out that print one line.
    fn ask(&mut self, statements: &str) -> String {
        writeln!(self.asks, "{statements}").expect("it reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        assert!(!line.is_empty(), "sqlite3 has left over {statements}");
        line.trim().to_owned()
    }

    /// Commits rows, one after the other, until it is told to stop; `rows` is how many have been.
    pub(crate) fn commit_rows(&mut self, stop: &AtomicBool, rows: &AtomicU64) {
        while !stop.load(Ordering::Relaxed) {
            let number = rows.load(Ordering::Relaxed) + 1;
            let told = self.ask(&format!(
                "BEGIN; INSERT INTO rows VALUES ({number}, '{}');
                 UPDATE total SET rows = rows + 1, sum = sum + {number}; COMMIT; SELECT {number};",
                words(number)
            ));
            assert_eq!(told, number.to_string());
            rows.store(number, Ordering::Relaxed);
        }
    }

    /// Ends it as it is.
    pub(crate) fn kill(mut self) {
        self.shell.kill().expect("it is our child");
        self.shell.wait().expect("it is our child");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // After a test that failed; else it is gone already.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// What belongs into a row: of different lengths.
fn words(number: u64) -> String {
    format!("row {number} ").repeat(1 + (number % 97) as usize)
}

/// Panics unless the database is whole and has exactly these rows, the first to the last.
pub(crate) fn check_rows(file: &Path, rows: u64) {
    let ask = |statement: &str| run("sqlite3", &[file.to_str().expect("plain"), statement]);
    assert_eq!(ask("PRAGMA integrity_check;"), "ok");
    let sum = rows * (rows + 1) / 2;
    assert_eq!(ask("SELECT count(*), sum(number) FROM rows;"), format!("{rows}|{sum}"));
    assert_eq!(ask("SELECT rows, sum FROM total;"), format!("{rows}|{sum}"));
    let found = ask("SELECT words FROM rows ORDER BY number;");
    let expected: Vec<String> = (1..=rows).map(words).collect();
    // `run` trims what is printed, and so the last one.
    assert!(found == expected.join("\n").trim(), "each row has its words");
}
