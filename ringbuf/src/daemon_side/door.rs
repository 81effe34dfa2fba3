//! The listening Unix socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Pending;

/// Where clients knock. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file we made: another daemon's is left alone.
    identity: (u64, u64),
}

impl Door {
    /// Listens at `path` with the permission bits `mode`, which say who may connect at all.
    ///
    /// A socket that nobody listens on any more is replaced. Never blocks.
    ///
    /// # Errors
    /// `AddrInUse` if another process listens there, or the file is no socket; else what the system reports.
    pub fn bind(path: impl AsRef<Path>, mode: u32) -> io::Result<Self> {
        let path = path.as_ref();
        refuse_occupied(path)?;
        // Made under another name and renamed when its mode is right: at no time can anybody connect whom the mode
        // excludes, and the old socket is replaced in one step.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        let ready = listener
            .set_nonblocking(true)
            .and_then(|()| fs::set_permissions(&fresh, Permissions::from_mode(mode)))
            .and_then(|()| fs::rename(&fresh, path))
            .and_then(|()| fs::symlink_metadata(path));
        let file = ready.inspect_err(|_| drop(fs::remove_file(&fresh)))?;
        Ok(Self { listener, path: path.to_owned(), identity: (file.dev(), file.ino()) })
    }

    /// The next client that knocks, or `None`. Never blocks; poll [`Door::as_fd`] for readability.
    ///
    /// # Errors
    /// What the system reports, such as too many open files; the door stays open.
    pub fn accept(&self) -> io::Result<Option<Pending>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A client that has gone again is no trouble of ours.
                let none = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                );
                return if none { Ok(None) } else { Err(error) };
            }
        };
        Pending::of(stream).map(Some)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn refuse_occupied(path: &Path) -> io::Result<()> {
    let in_use = |what: &str| {
        let text = format!("{}: {what}", path.display());
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            in_use("is a file and no socket; remove it or choose another path")
        }
        Ok(_) => match listens(path) {
            Ok(()) | Err(Errno::AGAIN) => {
                in_use("another process listens here; stop it or choose another path")
            }
            Err(Errno::CONNREFUSED) => Ok(()),
            Err(errno) => Err(errno.into()),
        },
    }
}

/// Never waits: a listener that is stopped, and whose queue is full, is EAGAIN.
fn listens(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}
