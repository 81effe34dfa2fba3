//! The errno table: Linux numbers, and the class each belongs to.
//!
//! The numbers are those of `asm-generic/errno-base.h` and `asm-generic/errno.h` (x86, Arm, RISC-V, POWER,
//! s390). They are written out so that this crate needs no libc and the tables are the same in simulation and
//! in production.

use crate::ErrorClass;

macro_rules! errnos {
    ($($name:ident = $number:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: u16 = $number;)*

        /// The name of an errno that the class table knows, for messages (`"ENOSPC"`); `None` for any other
        /// number.
        pub const fn name(errno: u16) -> Option<&'static str> {
            match errno {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

errnos! {
    EPERM = 1, "We are not (or no longer) allowed to do this.";
    ENOENT = 2, "What we had open is not there.";
    EINTR = 4, "A signal came first; nothing was decided.";
    EIO = 5, "The device failed this transfer and says no more.";
    ENXIO = 6, "No such device, or the transfer lies beyond its end.";
    EAGAIN = 11, "Not now.";
    ENOMEM = 12, "The kernel had no memory for the request.";
    EACCES = 13, "We have no right to this.";
    EBUSY = 16, "The device or a path of it is busy.";
    ENODEV = 19, "The device was removed or is offline.";
    EINVAL = 22, "The device does not take a transfer of this form here.";
    EFBIG = 27, "The file may not have a byte at this offset; lower offsets can still be written.";
    ENOSPC = 28, "No space left: thin pool, file system, NVMe capacity.";
    EROFS = 30, "The file system went read-only.";
    EBADE = 52, "Another host holds a reservation (the block layer's reservation conflict).";
    ENODATA = 61, "Unrecoverable medium error (the block layer's name for it).";
    ETIME = 62, "A command ran into its duration limit.";
    ENOLINK = 67, "The transport lost the link.";
    ECOMM = 70, "The transport failed while sending.";
    EPROTO = 71, "The transport's two ends disagree.";
    EBADMSG = 74, "What was read fails its checksum.";
    EILSEQ = 84, "Protection information does not match.";
    EOPNOTSUPP = 95, "The device does not know this operation.";
    ENETDOWN = 100, "The network below the device is down.";
    ENETUNREACH = 101, "The network below the device cannot be reached.";
    ENETRESET = 102, "The network below the device was reset.";
    ECONNABORTED = 103, "The connection to the device was aborted.";
    ECONNRESET = 104, "The connection to the device was reset.";
    ENOBUFS = 105, "The network below the device had no buffer.";
    ENOTCONN = 107, "There is no connection to the device at the moment.";
    ESHUTDOWN = 108, "The device or its connection was shut down; nobody reconnects.";
    ETIMEDOUT = 110, "The device did not answer in time.";
    ECONNREFUSED = 111, "The target refuses the connection: it restarts, or is gone.";
    EHOSTDOWN = 112, "The host of the device is down.";
    EHOSTUNREACH = 113, "The host of the device cannot be reached.";
    EALREADY = 114, "Somebody is already at it.";
    EINPROGRESS = 115, "It was begun and is not done.";
    ESTALE = 116, "The server no longer knows the file.";
    EUCLEAN = 117, "The file system found its own structures damaged here.";
    EREMOTEIO = 121, "The target failed this transfer.";
    EDQUOT = 122, "The quota is used up.";
    ENOMEDIUM = 123, "The drive is there, its medium is not.";
    EMEDIUMTYPE = 124, "The medium is not one this drive can use.";
    ECANCELED = 125, "The request was cancelled before it was carried out.";
    ENOKEY = 126, "The key of an encrypted volume is not loaded.";
    EKEYEXPIRED = 127, "The key of an encrypted volume expired.";
    EKEYREVOKED = 128, "The key of an encrypted volume was revoked.";
    EKEYREJECTED = 129, "The key of an encrypted volume was rejected.";
}

/// The class of a positive Linux errno.
///
/// | class | errno |
/// |---|---|
/// | space | ENOSPC EDQUOT |
/// | transient | EINTR EAGAIN ENOMEM EBUSY ETIME ENOLINK ECOMM EPROTO ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ECANCELED |
/// | medium | EIO EINVAL EFBIG ENODATA EBADMSG EILSEQ EOPNOTSUPP EUCLEAN EREMOTEIO |
/// | gone | EPERM ENOENT ENXIO EACCES ENODEV EROFS EBADE ESHUTDOWN ESTALE ENOMEDIUM EMEDIUMTYPE ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED |
///
/// Any other number is `medium`: an error that we do not understand must not hold up blocks that it does not
/// name. A short read has no errno; it means that the device ends earlier than it did, and its class is
/// `gone`.
pub const fn class_of_errno(errno: u16) -> ErrorClass {
    match errno {
        ENOSPC | EDQUOT => ErrorClass::Space,
        EINTR | EAGAIN | ENOMEM | EBUSY | ETIME | ENOLINK | ECOMM | EPROTO | ENETDOWN | ENETUNREACH
        | ENETRESET | ECONNABORTED | ECONNRESET | ENOBUFS | ENOTCONN | ETIMEDOUT | ECONNREFUSED
        | EHOSTDOWN | EHOSTUNREACH | EALREADY | EINPROGRESS | ECANCELED => ErrorClass::Transient,
        EPERM | ENOENT | ENXIO | EACCES | ENODEV | EROFS | EBADE | ESHUTDOWN | ESTALE | ENOMEDIUM
        | EMEDIUMTYPE | ENOKEY | EKEYEXPIRED | EKEYREVOKED | EKEYREJECTED => ErrorClass::Gone,
        // EIO, EINVAL, EFBIG, ENODATA, EBADMSG, EILSEQ, EOPNOTSUPP, EUCLEAN, EREMOTEIO, and whatever we do
        // not know.
        _ => ErrorClass::Medium,
    }
}
