//! holdfastd: the write-back cache daemon.
#![forbid(unsafe_code)]

use clap::{CommandFactory, Parser, Subcommand};
use holdfast_daemon::{config, doctor, log, quickstart, salvage, start};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What scripts rely on.
const EXIT_CODES: &str = "\
Exit codes:
  serve       0  ended, and all data is on stable media
              1  ended, and something is held in the arena, or was given up
              2  did not start
  check       0  the configuration makes sense; 2 it does not
  doctor      0  all is well; 1 there are warnings; 2 a daemon would not run, or not keep its promises
  salvage     0  all was listed, and exported if asked for
              1  something is damaged or in doubt; what could be had was had
              2  nothing, or not all, was done
  quickstart  0  everything was as expected; 1 it was not; 2 it could not be played; 130 interrupted
  man         0  written; 2 not
  completion  0
  ctl         as holdfastctl
A command line that makes no sense: 2; of 'ctl': 64.";

/// A write-back cache that does not lie when the disk refuses.
#[derive(Parser)]
#[command(name = "holdfastd", version, about, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// The configuration, if no other is named.
const CONFIG: &str = "/etc/holdfast/holdfast.toml";

#[derive(Subcommand)]
enum Verb {
    /// Serve the volumes of a configuration until SIGTERM. Exits with 0 if all data is on stable media, else with 1.
    Serve {
        /// The configuration; `configs/` has examples.
        #[arg(long, default_value = CONFIG)]
        config: PathBuf,
        /// Give up data that an earlier daemon left in the arena, instead of taking it over. It is gone then.
        #[arg(long)]
        discard_arena: bool,
        /// At the end, give up what the devices refuse: the ledger lists it as lost.
        #[arg(long)]
        abandon: bool,
    },
    /// See it work: play a full disk under a real daemon, with what each policy does. Needs no privileges.
    Quickstart(quickstart::Options),
    /// Read a configuration and say what it means, without touching anything.
    Check {
        /// The configuration.
        #[arg(default_value = CONFIG)]
        file: PathBuf,
        /// The same, as the other verbs take it.
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        config: Option<PathBuf>,
    },
    /// Look at this host and a configuration: what is wrong, and the command that mends it. Changes nothing.
    Doctor(doctor::Options),
    /// List and export what an arena holds when no daemon will start on it. Only reads; refuses while a daemon has it.
    Salvage(salvage::Options),
    /// Print the manual page, or write one for each verb.
    Man {
        /// Write a page for each verb into this directory, which exists, instead of one page to standard output.
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The operator's commands: the same as `holdfastctl`.
    #[command(disable_help_flag = true)]
    Ctl {
        /// What `holdfastctl` takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Serve { config, discard_arena, abandon } => {
            // Operators are told of it, who are in other directories.
            let config = std::path::absolute(&config).unwrap_or(config);
            serve(&config, start::Options { config: Some(config.clone()), discard_arena, abandon })
        }
        Verb::Quickstart(options) => quickstart::run(&options),
        Verb::Check { file, config } => check(&config.unwrap_or(file)),
        Verb::Doctor(options) => doctor::run(&options),
        Verb::Salvage(options) => salvage::run(&options),
        Verb::Man { to } => man(to.as_deref()),
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "holdfastd", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Verb::Ctl { args } => holdfast_ctl::run("holdfastd ctl", args),
    }
}

fn serve(config: &std::path::Path, options: start::Options) -> ExitCode {
    log::start();
    let settings = match config::load(config) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    match start::serve(settings, options) {
        Ok(code) => code,
        Err(error) => refuse(&error),
    }
}

fn check(file: &std::path::Path) -> ExitCode {
    match config::load(file) {
        Ok(settings) => {
            println!("{}", config::check(&settings));
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

fn man(to: Option<&std::path::Path>) -> ExitCode {
    let written = match to {
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory),
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout()),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfastd: the manual cannot be written: {error}. Give a directory that exists.");
            ExitCode::from(2)
        }
    }
}

/// Exit code 2: nothing was done.
fn refuse(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("holdfastd: {error}");
    ExitCode::from(2)
}
