//! Testbeds: where a job runs, in TOML.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::job::{opening_comment, size};

/// Cores, memory and storage. What is left out is found on the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Testbed {
    /// The comment at the head of the file, in one line.
    #[serde(skip)]
    pub description: String,
    /// Where clients run, one after the other, again from the first if there are more clients. Empty: the last core.
    #[serde(default)]
    pub client_cores: Vec<usize>,
    /// One reactor of a daemon that is started is pinned to each; the floor's other process to the first. Empty: the
    /// first core.
    #[serde(default)]
    pub reactor_cores: Vec<usize>,
    /// What reactors do without work: as `daemon.idle`.
    #[serde(default)]
    pub idle: Idle,
    /// Where the cache's memory is: a folder on hugetlbfs or tmpfs. Left out: huge pages if enough are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arena_path: Option<PathBuf>,
    /// Size of the cache.
    #[serde(default = "usual_cache", deserialize_with = "cache")]
    pub cache: u64,
    /// Where the files are: the volume, what it is compared with, the ledger.
    #[serde(default = "usual_directory")]
    pub directory: PathBuf,
    /// A block device for the volume, of which the job's span is overwritten, instead of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
}

/// As the daemon's configuration calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Sleeps after a while.
    #[default]
    Adaptive,
    /// Never does.
    Spin,
}

impl Default for Testbed {
    fn default() -> Self {
        Self::parse("").expect("every key has a default")
    }
}

impl Testbed {
    /// Reads a testbed.
    ///
    /// # Errors
    /// With line and key.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let mut testbed: Self = toml::from_str(text)?;
        testbed.description = opening_comment(text);
        Ok(testbed)
    }

    /// Chooses what was left out, of the cores that this process may use.
    ///
    /// # Panics
    /// If there are no cores.
    pub fn settle(&mut self, cores: &[usize]) {
        if self.client_cores.is_empty() {
            self.client_cores.push(cores[cores.len() - 1]);
        }
        if self.reactor_cores.is_empty() {
            self.reactor_cores.push(cores[0]);
        }
    }

    /// Where a cache of so many bytes is put.
    #[must_use]
    pub fn arena(&self, cache: u64, huge_pages_free: u64) -> &Path {
        match &self.arena_path {
            Some(path) => path,
            None if huge_pages_free << 21 >= cache && Path::new("/dev/hugepages").is_dir() => {
                Path::new("/dev/hugepages")
            }
            None => Path::new("/dev/shm"),
        }
    }
}

fn usual_cache() -> u64 {
    256 << 20
}

fn usual_directory() -> PathBuf {
    std::env::temp_dir()
}

fn cache<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let bytes = size("cache", from)?;
    if bytes > 0 && bytes.is_multiple_of(2 << 20) {
        return Ok(bytes);
    }
    Err(D::Error::custom(format!("cache = {bytes} is not a multiple of 2MiB")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_found_on_the_machine() {
        let mut testbed = Testbed::default();
        testbed.settle(&[2, 3, 5]);
        assert_eq!((testbed.client_cores.as_slice(), testbed.reactor_cores.as_slice()), (&[5][..], &[2][..]));
        assert_eq!(testbed.arena(2 << 20, 0), Path::new("/dev/shm"));
    }

    #[test]
    fn unknown_keys_and_odd_sizes_are_refused_with_line_and_key() {
        for wrong in ["cores = [1]", "cache = \"3MiB\"", "idle = \"never\""] {
            let error = Testbed::parse(&format!("# Here.\n{wrong}\n")).unwrap_err().to_string();
            let key = wrong.split(' ').next().unwrap();
            assert!(error.contains("line 2") && error.contains(key), "{error}");
        }
    }

    #[test]
    fn the_testbeds_of_the_suite_are_testbeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbeds");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!Testbed::parse(&text).unwrap().description.is_empty(), "{text}");
            count += 1;
        }
        assert!(count > 0);
    }
}
