//! Making the socket: one that a dead daemon left is replaced, one that a living daemon serves is not.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why a socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers on it.
    #[error("another process serves the socket '{0}': stop it, or configure another path")]
    Served(PathBuf),
    /// There is something else in its place.
    #[error("'{0}' is in the place of a socket and is none: move it away, or configure another path")]
    NoSocket(PathBuf),
    /// The kernel refuses.
    #[error(
        "the socket '{path}' cannot be made: {source}; its directory must exist and be writable to the daemon"
    )]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes the socket at `path` with this file mode, of `group` if one is given: with 0660 its members may look.
///
/// Two daemons that start at the same moment are kept apart by the lock of the arena, not here.
///
/// # Errors
/// [`BindError`], with what to do.
pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    chown(path, None, group).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::Served(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("admin.sock");
        let living = bind(&path, 0o660, None).expect("a fresh socket");
        assert_eq!(path.metadata().expect("a socket").permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&path, 0o660, None), Err(BindError::Served(_))));
        drop(living);
        bind(&path, 0o660, None).expect("nobody listens any more");
    }

    #[test]
    fn something_else_in_its_place_is_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("admin.sock");
        std::fs::write(&path, "precious").expect("a file");
        assert!(matches!(bind(&path, 0o660, None), Err(BindError::NoSocket(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
        let nowhere = directory.path().join("none/admin.sock");
        assert!(matches!(bind(&nowhere, 0o660, None), Err(BindError::Io { .. })));
    }
}
