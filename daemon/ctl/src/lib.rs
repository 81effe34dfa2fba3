//! holdfastctl: what an operator types, and the types it speaks with the daemon.
//!
//! [`run`] is the whole program, so that `holdfastd ctl ...` is the same as `holdfastctl ...`. It asks the daemon over
//! its admin socket ([`api`]), and [`text`] says the answers in words: pure functions, tested as they read.
#![forbid(unsafe_code)]

pub mod api;
mod cli;
mod client;
mod error;
mod exit;
pub mod manifest;
mod percentiles;
mod rates;
mod salvage;
pub mod size;
pub mod text;
mod top;
mod verb;

pub use exit::Exit;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Where a run writes.
pub struct Streams<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What went wrong.
    pub err: &'a mut dyn Write,
    /// Whether a progress bar may be drawn on the terminal (standard error).
    pub progress: bool,
    /// Whether `out` is a terminal and somebody types: `top` draws on it.
    pub terminal: bool,
}

/// Runs one command line on this process's streams. `program` is what was typed to get here (`holdfastctl`,
/// `holdfastd ctl`), `args` what follows it.
pub fn run(program: &str, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let progress = std::io::stderr().is_terminal();
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    run_on(program, args, &mut Streams { out: &mut out, err: &mut err, progress, terminal }).into()
}

/// Like [`run`], on the given streams.
///
/// An error of `out` or `err` (a closed pipe) is not reported: nobody is there to read it.
pub fn run_on(program: &str, args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> Exit {
    let command = cli::Cli::command().bin_name(program).no_binary_name(true);
    let words: Vec<OsString> = args.into_iter().collect();
    let json = words.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let parsed = command.try_get_matches_from(words).and_then(|matches| {
        let typed = matches.value_source("socket") == Some(ValueSource::CommandLine);
        cli::Cli::from_arg_matches(&matches).map(|cli| (cli, typed))
    });
    match parsed {
        Ok((cli, socket_typed)) => verb::Run::new(program, &cli, socket_typed, streams).run(cli.verb),
        Err(help) if !help.use_stderr() => {
            _ = write!(streams.out, "{}", help.render());
            Exit::Ok
        }
        Err(usage) if json => {
            let answer = api::Versioned::of(api::Failure { error: usage_error(program, &usage).as_api() });
            let answer = serde_json::to_string(&answer).expect("answers are plain data");
            _ = writeln!(streams.out, "{answer}");
            Exit::Usage
        }
        Err(usage) => {
            _ = write!(streams.err, "{}", usage.render());
            Exit::Usage
        }
    }
}

/// What is wrong with a command line, in the form of every other error: whoever asked for JSON reads no prose.
fn usage_error(program: &str, usage: &clap::Error) -> error::Error {
    let said = usage.render().to_string();
    let lines = said.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let message = words.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    error::Error::usage(message, format!("Nothing was changed. See '{program} --help'."))
}

/// The time of the wall clock.
pub(crate) fn now() -> api::Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    api::Time::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
