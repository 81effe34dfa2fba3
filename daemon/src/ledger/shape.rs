//! Checks the header of a store's file before redb sees it, and leaves redb no choice but to verify everything.
//!
//! redb asserts, rather than reports, that a file is as long as its header says; verifies checksums only of a file that
//! was not closed; and takes back a commit whose checksums are wrong. Here a damaged file must give an error with words,
//! and taking back a commit would forget what a client was told. So, in the copy in memory that redb gets:
//! - "needs repair" is set and "two-phase" cleared: then every checksum is verified;
//! - both commit slots are the one that is to be read: then there is nothing to fall back to.
//!
//! Which slot that is: our commits are of two phases, so the slot that the header points to is whole. The other one is
//! the newer if the power failed between the phases, and then whole or torn, and told to nobody. It is tried first
//! nevertheless: the bit that points to the slot has no checksum, and if that is wrong, the newer one is the truth.
//! The layout is that of redb's file format 3, as its design document gives it.

const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
const FLAGS_AT: usize = 9;
const FLAG_SECOND_SLOT: u8 = 1;
const FLAG_REPAIR: u8 = 2;
const FLAG_TWO_PHASE: u8 = 4;
const PAGE_SIZE_AT: usize = 12;
const SLOTS_AT: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
/// Where a slot has the number of its transaction.
const TRANSACTION_AT: usize = 104;
const HEADER_BYTES: usize = SLOTS_AT[1] + SLOT_BYTES;
/// The page size that redb uses everywhere.
const PAGE_BYTES: u64 = 4096;

/// Checks the header; says which commit slots to try, in this order, or what is wrong.
pub(super) fn check(file: &[u8]) -> Result<Vec<usize>, String> {
    let length = file.len() as u64;
    if file.len() < HEADER_BYTES {
        return Err(format!("it has {length} bytes, and its header alone has {HEADER_BYTES}"));
    }
    if file[..MAGIC.len()] != MAGIC {
        return Err("it does not begin like a redb file".to_owned());
    }
    let flags = file[FLAGS_AT];
    if flags & !(FLAG_SECOND_SLOT | FLAG_REPAIR | FLAG_TWO_PHASE) != 0 {
        return Err(format!("its header has unknown flags {flags:#04x}"));
    }
    check_length(file)?;
    let primary = usize::from(flags & FLAG_SECOND_SLOT != 0);
    let other = 1 - primary;
    let newer = transaction(file, other) > transaction(file, primary);
    Ok(if newer { vec![other, primary] } else { vec![primary] })
}

/// Makes `slot` the only commit of a checked file, and "needs repair" its state.
pub(super) fn keep_only(file: &mut [u8], slot: usize) {
    let kept = SLOTS_AT[slot]..SLOTS_AT[slot] + SLOT_BYTES;
    file.copy_within(kept, SLOTS_AT[1 - slot]);
    file[FLAGS_AT] = (file[FLAGS_AT] | FLAG_REPAIR) & !FLAG_TWO_PHASE;
}

/// Whether the file has all the pages that its header speaks of.
fn check_length(file: &[u8]) -> Result<(), String> {
    let length = file.len() as u64;
    let number = |index: usize| {
        let at = PAGE_SIZE_AT + index * 4;
        let bytes = file[at..at + 4].try_into().expect("four bytes of a header that is all there");
        u64::from(u32::from_le_bytes(bytes))
    };
    let [page, region_header, region_pages, full, trailing] = [0, 1, 2, 3, 4].map(number);
    if page != PAGE_BYTES {
        return Err(format!("its header says pages of {page} bytes, not {PAGE_BYTES}"));
    }
    let region = region_header + region_pages;
    let tail = if trailing > 0 { region_header + trailing } else { 0 };
    let pages = full.checked_mul(region).and_then(|pages| pages.checked_add(tail + 1));
    let needed = pages.and_then(|pages| pages.checked_mul(PAGE_BYTES));
    if full + trailing == 0 || trailing > region_pages || needed.is_none_or(|needed| needed > length) {
        return Err(format!(
            "its header speaks of {full} regions of {region} pages and {trailing} more, but the file has {length} bytes"
        ));
    }
    Ok(())
}

/// The number of the transaction in a slot.
fn transaction(file: &[u8], slot: usize) -> u64 {
    let at = SLOTS_AT[slot] + TRANSACTION_AT;
    u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes of a header that is all there"))
}
