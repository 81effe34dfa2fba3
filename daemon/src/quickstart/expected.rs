//! What every sector may hold: a model of the volume that knows the promises and nothing of the daemon.

use super::pattern::{LINE, PLAYGROUND, SECTOR};
use holdfast_ctl::api::Extent;
use std::ops::Range;

/// Bytes as they lie on a disk.
type Image = Vec<u8>;

/// The playground as it may be found.
///
/// Two images are enough, because no sector is written more often than twice: the newest acknowledged write, and what
/// is older. Writes on top that were answered with an error may show or not.
pub(super) struct Expected {
    older: Image,
    newest: Image,
    refused: Vec<(Range<usize>, Image)>,
    /// Whether a refused write of the disk's may have left some of its sectors: not so where it is refused whole.
    torn: bool,
}

/// What a line that was read or looked at holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The newest acknowledged write, whole.
    Newest,
    /// A write that was answered with an error, in part or whole.
    Refused,
    /// Something older: what no read may ever return.
    Older,
    /// Nothing that was ever written there.
    Foreign,
}

impl Expected {
    /// A playground that holds `image`, on a disk that may tear what it refuses or not.
    pub(super) fn of(image: Image, torn: bool) -> Expected {
        Expected { older: image.clone(), newest: image, refused: Vec::new(), torn }
    }

    /// A write was acknowledged.
    pub(super) fn acknowledged(&mut self, offset: u64, bytes: &[u8]) {
        let range = indices(offset, bytes.len() as u64);
        self.older[range.clone()].copy_from_slice(&self.newest[range.clone()]);
        self.newest[range].copy_from_slice(bytes);
    }

    /// A write was answered with an error: it may show, in part or whole, or never.
    pub(super) fn was_refused(&mut self, offset: u64, bytes: &[u8]) {
        self.refused.push((indices(offset, bytes.len() as u64), bytes.to_vec()));
    }

    /// What a line that was read holds.
    pub(super) fn judge_line(&self, offset: u64, bytes: &[u8]) -> Found {
        let at = indices(offset, LINE);
        if bytes == &self.newest[at.clone()] {
            return Found::Newest;
        }
        let found = |sector: usize| sector_of(bytes, sector - at.start);
        let refused = |sector: usize| self.is_refused(sector, found(sector));
        let newest = |sector: usize| sector_of(&self.newest, sector) == found(sector);
        let older = |sector: usize| sector_of(&self.older, sector) == found(sector);
        let mut sectors = at.clone().step_by(SECTOR);
        if sectors.clone().all(|sector| newest(sector) || refused(sector)) {
            Found::Refused
        } else if sectors.all(|sector| newest(sector) || refused(sector) || older(sector)) {
            Found::Older
        } else {
            Found::Foreign
        }
    }

    /// Lines of `disk` that hold what they must not, once all is flushed and the loss of `lost` is acknowledged.
    ///
    /// What is not lost is the newest acknowledged write. What is lost was never written: it is what was there before, on
    /// a disk that tears the newest write may show in part.
    pub(super) fn wrong_lines(&self, disk: &[u8], lost: &[Extent]) -> Vec<u64> {
        let wrong = |offset: &u64| {
            let at = indices(*offset, LINE);
            let right = |sector: usize| {
                let found = sector_of(disk, sector);
                let newest = found == sector_of(&self.newest, sector);
                let older = found == sector_of(&self.older, sector);
                let refused = self.is_refused(sector, found);
                let lost = covers(lost, sector as u64);
                if lost { older || (self.torn && (newest || refused)) } else { newest || refused }
            };
            !at.step_by(SECTOR).all(right)
        };
        super::pattern::lines(0..PLAYGROUND).filter(wrong).collect()
    }

    fn is_refused(&self, sector: usize, found: &[u8]) -> bool {
        let shows = |(range, bytes): &(Range<usize>, Image)| {
            range.contains(&sector) && sector_of(bytes, sector - range.start) == found
        };
        self.refused.iter().any(shows)
    }

    /// How many lines of a range of `disk` still hold what is older than the newest write.
    pub(super) fn older_lines(&self, disk: &[u8], range: Range<u64>) -> usize {
        let older = |offset: &u64| {
            let at = indices(*offset, LINE);
            disk[at.clone()] == self.older[at.clone()] && disk[at.clone()] != self.newest[at]
        };
        super::pattern::lines(range).filter(older).count()
    }
}

/// Whether the byte at `offset` is in one of the extents.
pub(super) fn covers(extents: &[Extent], offset: u64) -> bool {
    extents.iter().any(|extent| (extent.offset..extent.offset + extent.length).contains(&offset))
}

/// Bytes of all extents.
pub(super) fn total(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.length).sum()
}

fn indices(offset: u64, length: u64) -> Range<usize> {
    assert!(offset + length <= PLAYGROUND, "{length} bytes at {offset} are not in the playground");
    let index = |at: u64| usize::try_from(at).expect("the playground is small");
    index(offset)..index(offset + length)
}

fn sector_of(image: &[u8], at: usize) -> &[u8] {
    &image[at..at + SECTOR]
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use crate::quickstart::pattern::{B, Ink};
    use holdfast_ctl::api::ExtentState;

    const A: Ink = Ink { letter: b'A', salt: 7 };
    const NEW: Ink = Ink { letter: b'B', salt: 7 };

    fn played() -> Expected {
        let mut expected = Expected::of(vec![0; PLAYGROUND as usize], false);
        expected.acknowledged(B.start, &A.bytes(B.start, 4096));
        expected.acknowledged(B.start, &NEW.bytes(B.start, LINE));
        expected
    }

    fn lost() -> Extent {
        Extent { offset: B.start, length: LINE, state: ExtentState::Lost, refusal: None }
    }

    #[test]
    fn only_the_newest_write_is_the_newest() {
        let expected = played();
        let new = NEW.bytes(B.start, LINE);
        assert_eq!(expected.judge_line(B.start, &new), Found::Newest);
        let mut torn = new.clone();
        torn[..4096].copy_from_slice(&A.bytes(B.start, 4096));
        assert_eq!(expected.judge_line(B.start, &torn), Found::Older);
        assert_eq!(expected.judge_line(B.start, &NEW.bytes(B.start + LINE, LINE)), Found::Foreign);
        assert_eq!(expected.judge_line(B.start, &[0; LINE as usize]), Found::Foreign);
    }

    #[test]
    fn a_refused_write_may_show_in_part() {
        let mut expected = played();
        let refused = Ink { letter: b'C', salt: 7 }.bytes(B.start, LINE);
        expected.was_refused(B.start, &refused);
        let mut mixed = NEW.bytes(B.start, LINE);
        mixed[512..1024].copy_from_slice(&refused[512..1024]);
        assert_eq!(expected.judge_line(B.start, &mixed), Found::Refused);
        assert_eq!(expected.judge_line(B.start, &refused), Found::Refused);
    }

    #[test]
    fn the_disk_holds_what_is_older_only_where_the_loss_is_listed() {
        let expected = played();
        let mut disk = vec![0; PLAYGROUND as usize];
        let at = B.start as usize;
        disk[at..at + 4096].copy_from_slice(&A.bytes(B.start, 4096));
        assert_eq!(expected.wrong_lines(&disk, &[]), [B.start]);
        assert_eq!(expected.wrong_lines(&disk, &[lost()]), [] as [u64; 0]);
        assert_eq!(expected.older_lines(&disk, B), 1);
        disk[at..at + LINE as usize].copy_from_slice(&NEW.bytes(B.start, LINE));
        assert_eq!(expected.wrong_lines(&disk, &[]), [] as [u64; 0]);
        assert_eq!(expected.wrong_lines(&disk, &[lost()]), [B.start], "lost, and there all the same");
    }
}
