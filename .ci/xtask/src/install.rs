//! Installs the C library as C programs expect to find it: header, both libraries with their links, pkg-config file,
//! man page, examples.

use crate::step::{Failed, Step, root, target_folder};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const USAGE: &str =
    "cargo xtask install-capi --prefix DIR [--libdir DIR] [--destdir DIR] [--profile NAME]; absolute DIRs";
/// The library's sources, from the root.
const SOURCES: &str = "ringbuf/capi";
/// What the dynamic linker looks for: the library's build gives it this name.
const SONAME: &str = "libholdfast.so.0";
const MAN_PAGE: &str = "holdfast.3";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    /// Where it will be used.
    prefix: String,
    libdir: String,
    /// Before everything that is written, for who makes a package.
    destdir: String,
    profile: String,
}

impl Wish {
    fn parse(words: &[String]) -> Result<Wish, String> {
        let [mut prefix, mut libdir, mut destdir, mut profile] = [const { None }; 4];
        for pair in words.chunks(2) {
            let place = match pair[0].as_str() {
                "--prefix" => &mut prefix,
                "--libdir" => &mut libdir,
                "--destdir" => &mut destdir,
                "--profile" => &mut profile,
                strange => return Err(format!("there is no `{strange}`")),
            };
            let value = pair.get(1).ok_or_else(|| format!("`{}` needs a value", pair[0]))?;
            if pair[0] != "--profile" && !value.starts_with('/') {
                return Err(format!("`{} {value}` is not absolute", pair[0]));
            }
            *place = Some(value.trim_end_matches('/').to_owned());
        }
        let prefix: String = prefix.ok_or("`--prefix` is missing")?;
        let libdir = libdir.unwrap_or_else(|| format!("{prefix}/lib"));
        let profile = profile.unwrap_or_else(|| "release".into());
        Ok(Wish { prefix, libdir, destdir: destdir.unwrap_or_default(), profile })
    }

    /// Where a file is written that is used at `path`.
    fn staged(&self, path: &str) -> PathBuf {
        format!("{}{path}", self.destdir).into()
    }

    /// Where cargo leaves what this profile builds.
    fn built(&self) -> PathBuf {
        target_folder().join(if self.profile == "dev" { "debug" } else { &self.profile })
    }
}

/// Builds and installs.
pub(crate) fn install(words: &[String]) -> Result<(), Failed> {
    let wish = Wish::parse(words)
        .map_err(|what| Failed { what: format!("install-capi: {what}"), way_out: USAGE.into() })?;
    Step::cargo("build --locked --package holdfast-capi --profile")
        .arguments(std::slice::from_ref(&wish.profile))
        .advise("mend what the compiler names")
        .run()?;
    lay_out(&wish).map_err(|error| Failed {
        what: format!("install-capi: {error}"),
        way_out: "install as a user who may write there, or into a --destdir".into(),
    })
}

fn lay_out(wish: &Wish) -> io::Result<()> {
    let sources = root().join(SOURCES);
    let (libraries, share) = (wish.staged(&wish.libdir), wish.staged(&format!("{}/share", wish.prefix)));
    let real = format!("libholdfast.so.{VERSION}");
    place(&libraries.join(&real), &std::fs::read(wish.built().join("libholdfast.so"))?, 0o755)?;
    link(&libraries, &real, SONAME)?;
    link(&libraries, SONAME, "libholdfast.so")?;
    place(&libraries.join("libholdfast.a"), &std::fs::read(wish.built().join("libholdfast.a"))?, 0o644)?;
    let packaged = pkg_config(&std::fs::read_to_string(sources.join("holdfast.pc.in"))?, wish);
    place(&libraries.join("pkgconfig/holdfast.pc"), packaged.as_bytes(), 0o644)?;
    let header = wish.staged(&format!("{}/include/holdfast.h", wish.prefix));
    place(&header, &std::fs::read(sources.join("include/holdfast.h"))?, 0o644)?;
    place(
        &share.join("man/man3").join(MAN_PAGE),
        &std::fs::read(sources.join("man").join(MAN_PAGE))?,
        0o644,
    )?;
    for example in ["copy.c", "depth.c"] {
        let text = std::fs::read(sources.join("examples").join(example))?;
        place(&share.join("doc/holdfast/examples").join(example), &text, 0o644)?;
    }
    Ok(())
}

fn pkg_config(template: &str, wish: &Wish) -> String {
    let filled = template.replace("@prefix@", &wish.prefix).replace("@libdir@", &wish.libdir);
    filled.replace("@version@", VERSION)
}

/// Writes beside and renames: a program that runs with the old library keeps it, whole.
fn place(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let folder = path.parent().expect("a file has a folder");
    std::fs::create_dir_all(folder).map_err(named)?;
    let new = beside(path);
    std::fs::write(&new, bytes).map_err(named)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).map_err(named)?;
    std::fs::rename(&new, path).map_err(named)?;
    println!("    {}", path.display());
    Ok(())
}

fn link(folder: &Path, to: &str, name: &str) -> io::Result<()> {
    let path = folder.join(name);
    let new = beside(&path);
    let _ = std::fs::remove_file(&new); // What an interrupted installation left behind, if anything.
    symlink(to, &new)?;
    std::fs::rename(&new, &path)?;
    println!("    {} -> {to}", path.display());
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wish, String> {
        Wish::parse(&line.split_whitespace().map(String::from).collect::<Vec<String>>())
    }

    #[test]
    fn a_prefix_is_enough() {
        let wish = parse("--prefix /usr/").expect("in order");
        assert_eq!((wish.libdir.as_str(), wish.profile.as_str()), ("/usr/lib", "release"));
        assert_eq!(wish.staged("/usr/include"), Path::new("/usr/include"));
    }

    #[test]
    fn what_is_staged_is_described_as_it_will_be_used() {
        let wish = parse("--prefix /usr --libdir /usr/lib64 --destdir /tmp/package").expect("in order");
        assert_eq!(wish.staged(&wish.libdir), Path::new("/tmp/package/usr/lib64"));
        let text = pkg_config("prefix=@prefix@ libdir=@libdir@ version=@version@", &wish);
        assert_eq!(text, format!("prefix=/usr libdir=/usr/lib64 version={VERSION}"));
    }

    #[test]
    fn a_mistyped_wish_is_named() {
        for (line, named) in [
            ("", "`--prefix` is missing"),
            ("--prefix", "`--prefix` needs a value"),
            ("--prefix usr", "`--prefix usr` is not absolute"),
            ("--prefix /usr --lib /lib", "there is no `--lib`"),
        ] {
            assert_eq!(parse(line).expect_err(line), named);
        }
    }

    #[test]
    fn a_newer_library_takes_the_links_over() {
        let folder = std::env::temp_dir().join(format!("holdfast-install-{}", std::process::id()));
        for name in ["libx.so.1", "libx.so.2"] {
            place(&folder.join(name), name.as_bytes(), 0o644).expect("written");
            link(&folder, name, "libx.so").expect("linked");
            assert_eq!(std::fs::read(folder.join("libx.so")).expect("it is there"), name.as_bytes());
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
