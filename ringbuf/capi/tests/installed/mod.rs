//! The C library as a C program finds it: installed by the habit that installs it for everybody, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How a program takes the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linked {
    /// `libholdfast.so`.
    Shared,
    /// `libholdfast.a`.
    Static,
}

/// An installation, gone when dropped.
pub(crate) struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    /// Builds as the tests are built: without the release's optimisation, which takes minutes.
    pub(crate) fn new() -> Installed {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let prefix = folder.path().to_str().expect("plain");
        let xtask = "run --quiet --locked --package holdfast-xtask -- install-capi --profile dev --prefix";
        let cargo = std::env::var_os("CARGO").expect("cargo runs tests");
        must(Command::new(cargo).current_dir(sources()).args(xtask.split(' ')).arg(prefix));
        Installed { folder }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Compiles a C program of this package, in which nothing may be so much as doubtful.
    pub(crate) fn compile(&self, source: &str, linked: Linked) -> PathBuf {
        let stem = Path::new(source).file_stem().expect("a file's name").to_str().expect("plain");
        let program = self.path(&format!("{stem}-{linked:?}"));
        let mut cc = Command::new("cc");
        cc.args("-std=c11 -O2 -Wall -Wextra -Wpedantic -Werror -pthread -I".split(' '))
            .arg(self.path("include"));
        cc.arg("-o").arg(&program).arg(sources().join(source));
        match linked {
            Linked::Shared => {
                let libraries = self.path("lib").display().to_string();
                cc.arg(format!("-L{libraries}")).arg("-lholdfast").arg(format!("-Wl,-rpath,{libraries}"));
            }
            Linked::Static => {
                cc.arg(self.path("lib/libholdfast.a")).args(["-lgcc_s", "-lutil", "-lrt", "-lm", "-ldl"]);
            }
        }
        must(&mut cc);
        program
    }
}

/// The folder of the C library's sources.
pub(crate) fn sources() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.expect("this package lies in the workspace").join("ringbuf/capi")
}

/// Runs a program that must succeed; what it printed.
pub(crate) fn must(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out.into_owned()
}
