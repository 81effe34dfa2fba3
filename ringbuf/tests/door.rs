//! The listening socket's file.
#![allow(missing_docs)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use holdfast_ringbuf::daemon_side::Door;

#[test]
fn a_door_has_its_mode_and_takes_its_file_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("door");
    let door = Door::bind(&path, 0o620).expect("bound");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o620);
    assert!(door.accept().expect("nobody").is_none());
    let _client = UnixStream::connect(&path).expect("open");
    assert!(door.accept().expect("somebody").is_some());
    drop(door);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

#[test]
fn an_occupied_path_is_left_alone_and_a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("door");
    fs::write(&path, "precious").expect("written");
    assert_eq!(Door::bind(&path, 0o600).expect_err("a file").kind(), ErrorKind::AddrInUse);
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    fs::remove_file(&path).expect("removed");

    let other = UnixListener::bind(&path).expect("bound");
    let error = Door::bind(&path, 0o600).expect_err("a listener");
    assert!(error.to_string().contains("another process listens here"), "{error}");
    drop(other);
    let door = Door::bind(&path, 0o600).expect("the socket is stale");

    // Somebody else has taken the place: his file survives our end.
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "not ours").expect("written");
    drop(door);
    assert_eq!(fs::read_to_string(&path).expect("still there"), "not ours");
}
