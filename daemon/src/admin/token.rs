//! The token that opens the page over TCP.

use std::hint::black_box;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The fewest letters: 16 random ones are more than anybody tries.
const LETTERS_MIN: usize = 16;
/// The most.
const LETTERS_MAX: usize = 512;

/// A secret word. It is compared in a time that does not depend on it, and never shown.
pub struct Token(Vec<u8>);

/// Why a token file is not used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error(
        "the token file '{path}' cannot be read: {source}; make one: (umask 077; head -c 32 /dev/urandom | base64 > {path})"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others can read or change it.
    #[error(
        "the token file '{path}' has mode {mode:04o} and belongs to user {uid}: others know the token; type 'chmod 0600 \
         {path}', or 'chown' it to the daemon's user"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// It does not hold a token.
    #[error(
        "the token file '{path}' holds {letters} letters, or some that no header can carry: write one word of {LETTERS_MIN} \
         to {LETTERS_MAX} visible ASCII letters"
    )]
    NoToken {
        /// The file.
        path: PathBuf,
        /// How many there are without the blanks around them.
        letters: usize,
    },
}

impl Token {
    /// Reads the token from a file that only the daemon's user, or root, can read. Blanks around it do not count.
    ///
    /// # Errors
    /// [`TokenError`], with what to do.
    pub fn read(path: &Path) -> Result<Token, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        // Of the open file: what the path means may change in between.
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(unreadable(io::Error::other("it is no regular file")));
        }
        let (mode, uid) = (found.mode() & 0o7777, found.uid());
        if mode & 0o077 != 0 || (uid != 0 && uid != rustix::process::geteuid().as_raw()) {
            return Err(TokenError::Open { path: path.to_owned(), mode, uid });
        }
        let mut bytes = Vec::new();
        file.take(2 * LETTERS_MAX as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        let word = bytes.trim_ascii();
        if !(LETTERS_MIN..=LETTERS_MAX).contains(&word.len()) || !word.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::NoToken { path: path.to_owned(), letters: word.len() });
        }
        Ok(Token(word.to_vec()))
    }

    /// Whether `offered` is the token. Takes the same time whatever is offered.
    pub(super) fn is(&self, offered: &[u8]) -> bool {
        let letter = |word: &[u8], at: usize| word.get(at).copied().unwrap_or_default();
        let mut differences = u8::from(self.0.len() != offered.len());
        for at in 0..LETTERS_MAX {
            differences |= black_box(letter(&self.0, at) ^ letter(offered, at));
        }
        black_box(differences) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("token");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        (directory, path)
    }

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let (_directory, path) = file(" abcdefghijklmnop\n", 0o600);
        let token = Token::read(&path).expect("a token");
        assert!(token.is(b"abcdefghijklmnop"));
        for other in [&b"abcdefghijklmno"[..], b"abcdefghijklmnop\0", b"abcdefghijklmnoP", b"", &[b'a'; 600]]
        {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660, 0o610, 0o601] {
            let (_directory, path) = file("abcdefghijklmnop", mode);
            let error = Token::read(&path).expect_err("open to others");
            assert!(error.to_string().contains(&format!("has mode {mode:04o}")), "{error}");
            assert!(error.to_string().contains("chmod 0600"), "{error}");
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        for text in ["", "short", "a b c d e f g h i j", &"x".repeat(513), "abcdefghijklmn\u{7f}op"] {
            let (_directory, path) = file(text, 0o600);
            let error = Token::read(&path).expect_err("no token");
            assert!(error.to_string().contains("write one word of 16 to 512"), "{error}");
        }
        let missing = Token::read(Path::new("/nowhere/token")).expect_err("no file");
        assert!(missing.to_string().contains("umask 077"), "{missing}");
        let directory = Token::read(Path::new("/")).expect_err("a directory");
        assert!(directory.to_string().contains("no regular file"), "{directory}");
    }
}
