//! The NVMe status table, for devices that answer with their own status instead of an errno (passthrough).

use crate::ErrorClass;

const GENERIC: u8 = 0;
const COMMAND_SPECIFIC: u8 = 1;
const PATH_RELATED: u8 = 3;

/// The class of an NVMe completion status: `sct` is the status code type (3 bits), `sc` the status code (8
/// bits), as in the status field of the NVM Express Base Specification 2.x.
///
/// | sct | sc | class |
/// |---|---|---|
/// | 0 generic | 81h capacity exceeded | space |
/// | | 04h data transfer error, 05h power loss notification, 07h abort requested, 08h queue deleted, 19h keep-alive expired, 1Bh preempt and abort, 1Dh sanitize in progress, 21h interrupted, 22h transient transport error, 24h media not ready, 82h namespace not ready, 84h format in progress | transient |
/// | | 0Bh invalid namespace, 15h operation denied, 1Ch sanitize failed, 20h write protected, 23h locked down, 25h invalid key tag, 26h, 27h host not known, 28h incorrect key, 80h LBA out of range (the namespace shrank), 83h reservation conflict | gone |
/// | 1 command | 15h insufficient capacity | space |
/// | | BDh, BEh too many active or open zones | transient |
/// | 2 media | all | medium |
/// | 3 path | 01h persistent loss of access | gone |
/// | | all others: internal, inaccessible, in transition, controller or host pathing error, aborted by host | transient |
///
/// All that is not named is `medium`, for the reason given at [`class_of_errno`](crate::class_of_errno). A
/// status of success (0, 0) is no failure; asking for its class is harmless and means nothing.
pub const fn class_of_nvme_status(sct: u8, sc: u8) -> ErrorClass {
    match (sct, sc) {
        (GENERIC, 0x81) | (COMMAND_SPECIFIC, 0x15) => ErrorClass::Space,
        (GENERIC, 0x04 | 0x05 | 0x07 | 0x08 | 0x19 | 0x1b | 0x1d | 0x21 | 0x22 | 0x24 | 0x82 | 0x84)
        | (COMMAND_SPECIFIC, 0xbd | 0xbe) => ErrorClass::Transient,
        (GENERIC, 0x0b | 0x15 | 0x1c | 0x20 | 0x23 | 0x25..=0x28 | 0x80 | 0x83) | (PATH_RELATED, 0x01) => {
            ErrorClass::Gone
        }
        (PATH_RELATED, _) => ErrorClass::Transient,
        _ => ErrorClass::Medium,
    }
}
