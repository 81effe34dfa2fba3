//! Checks the header of a store's file before redb sees it.
//!
//! redb verifies its pages' checksums only when it repairs, and asserts, rather than reports, that a file is as long as
//! its header says. Here a damaged file must give an error with words. So the header is checked against the length, and
//! two of its flags are set in the copy in memory that redb gets (never in the file): "needs repair", so that every
//! checksum is verified; and "two-phase", which all our commits are, so that a commit with a bad checksum is damage and
//! is not silently rolled back to the one before, which would forget what a client was told.
//! The layout is that of redb's file format 3, as its design document gives it.

const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
const FLAGS_AT: usize = 9;
const FLAG_PRIMARY: u8 = 1;
const FLAG_REPAIR: u8 = 2;
const FLAG_TWO_PHASE: u8 = 4;
const PAGE_SIZE_AT: usize = 12;
const HEADER_BYTES: usize = 320;
/// The page size that redb uses everywhere.
const PAGE_BYTES: u64 = 4096;

/// Checks the header and sets the two flags; or says what is wrong.
pub(super) fn prepare(file: &mut [u8]) -> Result<(), String> {
    let length = file.len() as u64;
    if file.len() < HEADER_BYTES {
        return Err(format!("it has {length} bytes, and its header alone has {HEADER_BYTES}"));
    }
    if file[..MAGIC.len()] != MAGIC {
        return Err("it does not begin like a redb file".to_owned());
    }
    if file[FLAGS_AT] & !(FLAG_PRIMARY | FLAG_REPAIR | FLAG_TWO_PHASE) != 0 {
        return Err(format!("its header has unknown flags {:#04x}", file[FLAGS_AT]));
    }
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
    file[FLAGS_AT] |= FLAG_REPAIR | FLAG_TWO_PHASE;
    Ok(())
}
