//! The class tables against lists that were written by hand, and the sets of classes.

use holdfast_policy::ErrorClass::{Gone, Medium, Space, Transient};
use holdfast_policy::{ClassSet, ErrorClass, FailedExtent, class_of_errno, class_of_nvme_status, errno};

const SPACE: [u16; 2] = [28, 122];
const TRANSIENT: [u16; 22] =
    [4, 11, 12, 16, 62, 67, 70, 71, 100, 101, 102, 103, 104, 105, 107, 110, 111, 112, 113, 114, 115, 125];
const GONE: [u16; 15] = [1, 2, 6, 13, 19, 30, 52, 108, 116, 123, 124, 126, 127, 128, 129];

#[test]
fn every_errno_has_the_class_of_the_list() {
    for number in 0..=u16::MAX {
        let wanted = match number {
            _ if SPACE.contains(&number) => Space,
            _ if TRANSIENT.contains(&number) => Transient,
            _ if GONE.contains(&number) => Gone,
            _ => Medium,
        };
        assert_eq!(class_of_errno(number), wanted, "errno {number}");
    }
}

/// The constants against the numbers that the operating system itself uses.
#[cfg(target_os = "linux")]
#[test]
fn the_numbers_are_those_of_linux() {
    use std::io::{Error, ErrorKind};
    let kind = |errno: u16| Error::from_raw_os_error(i32::from(errno)).kind();
    assert_eq!(kind(errno::ENOSPC), ErrorKind::StorageFull);
    assert_eq!(kind(errno::EDQUOT), ErrorKind::QuotaExceeded);
    assert_eq!(kind(errno::EROFS), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(kind(errno::ESTALE), ErrorKind::StaleNetworkFileHandle);
    assert_eq!(kind(errno::ETIMEDOUT), ErrorKind::TimedOut);
    assert_eq!(kind(errno::EHOSTUNREACH), ErrorKind::HostUnreachable);
    assert_eq!(kind(errno::EBUSY), ErrorKind::ResourceBusy);
    assert_eq!(kind(errno::EFBIG), ErrorKind::FileTooLarge);
    assert_eq!(kind(errno::ECONNRESET), ErrorKind::ConnectionReset);
}

#[test]
fn known_errnos_have_names() {
    assert_eq!(errno::name(28), Some("ENOSPC"));
    assert_eq!(errno::name(5), Some("EIO"));
    assert_eq!(errno::name(0), None);
    let listed = SPACE.iter().chain(&TRANSIENT).chain(&GONE);
    listed.for_each(|number| assert!(errno::name(*number).is_some(), "errno {number} has no name"));
}

#[test]
fn every_nvme_status_has_the_class_of_the_list() {
    let transient = [0x04, 0x05, 0x07, 0x08, 0x19, 0x1b, 0x1d, 0x21, 0x22, 0x24, 0x82, 0x84];
    let gone = [0x0b, 0x15, 0x1c, 0x20, 0x23, 0x25, 0x26, 0x27, 0x28, 0x80, 0x83];
    for sct in 0..8 {
        for sc in 0..=u8::MAX {
            let wanted = match (sct, sc) {
                (0, 0x81) | (1, 0x15) => Space,
                (0, _) if transient.contains(&sc) => Transient,
                (0, _) if gone.contains(&sc) => Gone,
                (1, 0xbd | 0xbe) => Transient,
                (3, 0x01) => Gone,
                (3, _) => Transient,
                _ => Medium,
            };
            assert_eq!(class_of_nvme_status(sct, sc), wanted, "sct {sct} sc {sc:#x}");
        }
    }
}

#[test]
fn numbers_and_names_are_fixed() {
    for (number, name) in [(1, "transient"), (2, "space"), (3, "medium"), (4, "gone")] {
        let class = ErrorClass::from_u8(number).unwrap();
        assert_eq!((class as u8, class.name()), (number, name));
        assert_eq!(ErrorClass::from_name(name), Some(class));
        assert_eq!(format!("{class:>9}"), format!("{name:>9}"));
    }
    assert!([0, 5, 255].into_iter().all(|number| ErrorClass::from_u8(number).is_none()));
    assert!(["", "any", "Space", "space "].into_iter().all(|name| ErrorClass::from_name(name).is_none()));
}

#[test]
fn only_medium_gates_nobody() {
    assert_eq!(ErrorClass::ALL.map(ErrorClass::gates), [true, true, false, true]);
}

/// Both floors, not either: a burst of attempts is not patience, and a long sleep is not an attempt.
#[test]
fn for_good_needs_both_floors() {
    for class in ErrorClass::ALL {
        let floor = class.floor();
        assert!(floor.attempts > 1 && floor.elapsed_ms > 0, "{class}: one refusal is never final");
        let extent = |attempts, age_ms| FailedExtent { class, errno: errno::EIO, attempts, age_ms };
        assert!(extent(floor.attempts, floor.elapsed_ms).for_good());
        assert!(extent(u32::MAX, u64::MAX).for_good());
        assert!(!extent(floor.attempts - 1, u64::MAX).for_good());
        assert!(!extent(u32::MAX, floor.elapsed_ms - 1).for_good());
    }
}

#[test]
fn sets_hold_what_was_put_in() {
    for bits in 0..16_u8 {
        let chosen: Vec<_> =
            ErrorClass::ALL.into_iter().filter(|class| bits & (1 << (*class as u8 - 1)) != 0).collect();
        let set = ClassSet::from_classes(&chosen);
        assert_eq!(set.iter().collect::<Vec<_>>(), chosen);
        assert_eq!(chosen.iter().copied().collect::<ClassSet>(), set);
        assert_eq!(set.is_empty(), chosen.is_empty());
        let mut inserted = ClassSet::EMPTY;
        chosen.iter().for_each(|class| inserted.insert(*class));
        assert_eq!(inserted, set);
        let rest = ClassSet::ANY.difference(set);
        for class in ErrorClass::ALL {
            assert_eq!(set.contains(class), chosen.contains(&class));
            assert_ne!(set.contains(class), rest.contains(class));
        }
        assert_eq!(set.union(rest), ClassSet::ANY);
    }
    assert_eq!(format!("{:?}", ClassSet::from(Space)), "{Space}");
}
