//! `cargo xtask HABIT`: everything that is done to this repository, named once. `cargo xtask help` lists it.
#![forbid(unsafe_code)]

mod count;
mod habits;
mod install;
mod mutants;
mod rules;
mod sanitize;
mod step;

use habits::HABITS;
use std::process::ExitCode;
use std::time::Instant;

/// What `cargo xtask help` prints.
fn help() -> String {
    let mut text = String::from("cargo xtask HABIT [ARGUMENTS]\n\n");
    for habit in HABITS {
        text.push_str(&format!("  {:<12} {}\n", habit.name, habit.summary));
    }
    text.push_str("  help         this page\n");
    text
}

fn main() -> ExitCode {
    if let Some(code) = mutants::wrapped_rustc() {
        return code;
    }
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "help".into());
    let arguments: Vec<String> = words.collect();
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(habit) = HABITS.iter().find(|habit| habit.name == name) else {
        eprint!("cargo xtask: there is no habit `{name}`\n\n{}", help());
        return ExitCode::from(2);
    };
    if !arguments.is_empty() && !habit.takes_arguments {
        eprintln!("cargo xtask: `{name}` takes no arguments, but got `{}`", arguments.join(" "));
        return ExitCode::from(2);
    }
    let begun = Instant::now();
    match (habit.run)(&arguments) {
        Ok(()) => {
            println!("cargo xtask {name}: passed in {:.1} s", begun.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("\ncargo xtask {name}: {failed}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_habit_once() {
        let text = help();
        for habit in HABITS {
            let lines = text.lines().filter(|line| line.split_whitespace().next() == Some(habit.name));
            assert_eq!(lines.count(), 1, "{}", habit.name);
        }
    }
}
