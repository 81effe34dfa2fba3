//! Which files the rules are about: those that git tracks, so that what lies about in a checkout breaks no rule.

use super::Source;
use std::io;
use std::path::Path;
use std::process::Command;

/// Reads every file of the repository, in the order of their paths.
pub(super) fn read(root: &Path) -> io::Result<Vec<Source>> {
    let mut paths = match tracked(root) {
        Some(paths) => paths,
        None => walked(root)?,
    };
    paths.sort();
    paths.dedup();
    paths.into_iter().filter_map(|path| load(root, path).transpose()).collect()
}

/// `None` where a tracked file was removed and git does not know yet.
fn load(root: &Path, path: String) -> io::Result<Option<Source>> {
    match std::fs::read(root.join(&path)) {
        Ok(bytes) => Ok(Some(Source { path, text: String::from_utf8(bytes).unwrap_or_default() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` without git or outside a checkout. CI may run as another user than the checkout's owner, which git refuses
/// unless told that the folder is safe.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["-c", "safe.directory=*", "ls-files", "-z"]);
    let listed = git.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(listed.stdout).ok()?;
    let paths: Vec<String> = text.split('\0').filter(|path| !path.is_empty()).map(String::from).collect();
    (!paths.is_empty()).then_some(paths)
}

/// A source archive has no `.git`: everything but what was built.
fn walked(root: &Path) -> io::Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = format!("{folder}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() && path != "target" && path != ".git" {
                folders.push(path + "/");
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::root;

    #[test]
    fn files_come_with_their_text_in_order() {
        let files = read(&root()).expect("the repository can be read");
        let manifest = files.iter().find(|file| file.path == "Cargo.toml");
        assert!(manifest.is_some_and(|file| file.text.contains("[workspace]")));
        assert!(files.is_sorted_by(|one, next| one.path < next.path));
    }

    #[test]
    fn an_archive_without_git_is_walked() {
        let paths = walked(&root()).expect("the repository can be walked");
        assert!(paths.contains(&".ci/xtask/src/main.rs".to_string()));
        assert!(!paths.iter().any(|path| path.starts_with("target/") || path.starts_with(".git/")));
    }
}
