//! A step: one command, shown before it runs and timed after it, with what to do when it fails.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What was run, and how it ended.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) way_out: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nwhat to do: {}", self.what, self.way_out)
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("this package lies two folders below the root").to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from))
}

/// One command in the repository's root.
pub(crate) struct Step {
    command: Command,
    /// As a person would type it.
    shown: String,
    advice: &'static str,
}

impl Step {
    /// `words` are separated by spaces; none holds one.
    pub(crate) fn cargo(words: &str) -> Step {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(root()).stdin(Stdio::null()).args(words.split(' '));
        Step { command, shown: format!("cargo {words}"), advice: "" }
    }

    /// A script of the repository, in its root.
    pub(crate) fn script(path: &str) -> Step {
        let mut command = Command::new(root().join(path));
        command.current_dir(root()).stdin(Stdio::null());
        Step { command, shown: path.to_owned(), advice: "" }
    }

    /// `cargo` of the nightly toolchain. Under the cargo that runs this there is none that takes `+nightly`: that is rustup's.
    pub(crate) fn nightly(words: &str) -> Step {
        let mut command = Command::new("rustup");
        command.current_dir(root()).stdin(Stdio::null()).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        command.args(["run", "nightly", "cargo"]).args(words.split(' '));
        Step { command, shown: format!("cargo +nightly {words}"), advice: "" }
    }

    /// Passes on what a person typed.
    pub(crate) fn arguments(mut self, arguments: &[String]) -> Step {
        self.command.args(arguments);
        for argument in arguments {
            self.shown = format!("{} {argument}", self.shown);
        }
        self
    }

    /// With a variable in the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Step {
        self.command.env(name, value);
        self.shown = format!("{name}='{value}' {}", self.shown);
        self
    }

    /// Builds in a folder of this name inside the ordinary target folder.
    pub(crate) fn target_folder(self, name: &str) -> Step {
        let folder = target_folder().join(name).display().to_string();
        self.env("CARGO_TARGET_DIR", &folder)
    }

    /// What to do when it fails.
    pub(crate) fn advise(mut self, advice: &'static str) -> Step {
        self.advice = advice;
        self
    }

    /// As `run`; what it printed is kept, not shown.
    pub(crate) fn output(mut self) -> Result<String, Failed> {
        println!("\n==> {}", self.shown);
        let output = self.command.stderr(Stdio::inherit()).output();
        let text =
            output.as_ref().map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into());
        match output {
            Ok(output) if output.status.success() => Ok(text),
            _ => {
                Err(Failed { what: format!("`{}` failed:\n{text}", self.shown), way_out: self.advice.into() })
            }
        }
    }

    /// Shows it, runs it and says how long it took.
    pub(crate) fn run(mut self) -> Result<(), Failed> {
        println!("\n==> {}", self.shown);
        let begun = Instant::now();
        let ended = self.command.status();
        let seconds = begun.elapsed().as_secs_f64();
        let what = match ended {
            Ok(status) if status.success() => {
                println!("    passed in {seconds:.1} s");
                return Ok(());
            }
            Ok(status) => format!("`{}` failed after {seconds:.1} s ({status})", self.shown),
            Err(error) => format!("`{}` could not be started: {error}", self.shown),
        };
        Err(Failed { what, way_out: self.advice.into() })
    }

    /// Runs it to see it fail with these words: a check that lets a deliberate bug pass checks nothing.
    pub(crate) fn must_fail(mut self, words: &str) -> Result<(), Failed> {
        println!("\n==> {}    (must fail)", self.shown);
        let what = match self.command.output() {
            Ok(output) if output.status.success() => format!("`{}` passed", self.shown),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                if said.contains(words) {
                    println!("    failed, as it must: {words}");
                    return Ok(());
                }
                format!("`{}` failed, but not with {words:?}:\n{said}", self.shown)
            }
            Err(error) => format!("`{}` could not be started: {error}", self.shown),
        };
        Err(Failed { what, way_out: self.advice.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the root has a manifest");
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn a_step_is_shown_as_it_would_be_typed() {
        let step = Step::cargo("test --workspace").arguments(&["-q".into()]).env("RUSTFLAGS", "--cfg loom");
        assert_eq!(step.shown, "RUSTFLAGS='--cfg loom' cargo test --workspace -q");
    }

    #[test]
    fn a_step_that_fails_says_so_with_its_way_out() {
        let failed =
            Step::cargo("no-such-habit").advise("choose another").run().expect_err("cargo refuses it");
        assert!(failed.what.contains("`cargo no-such-habit` failed after"), "{failed}");
        assert_eq!(failed.way_out, "choose another");
    }

    #[test]
    fn a_step_that_must_fail_fails_with_the_right_words() {
        assert!(Step::cargo("no-such-habit").must_fail("no such command").is_ok());
        assert!(Step::cargo("no-such-habit").must_fail("data race").is_err());
        assert!(Step::cargo("--version").must_fail("").is_err());
    }
}
