//! What `NBD_CMD_BLOCK_STATUS` tells: which ranges are holes, and which are dirty, failed or lost.

use super::protocol::{Refusal, error};
use crate::device::{Backing, BackingKind};
use holdfast_engine::{ByteRange, ListState};
use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Ranges that are looked at for one answer; a client asks on from where it ends.
const RANGES_MAX: usize = 1024;

/// The namespaces of metadata contexts: one of the protocol, one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// `base:allocation`: holes, which read as zeroes.
    Allocation,
    /// `holdfast:dirty`: not yet written back, failed or not.
    Dirty,
    /// `holdfast:failed`: refused by the device, and held.
    Failed,
    /// `holdfast:lost`: given up; reading it is an error.
    Lost,
}

impl Context {
    pub(super) const ALL: [Context; 4] =
        [Context::Allocation, Context::Dirty, Context::Failed, Context::Lost];

    /// Its number on the wire.
    pub(super) fn id(self) -> u32 {
        self as u32 + 1
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Context::Allocation => "base:allocation",
            Context::Dirty => "holdfast:dirty",
            Context::Failed => "holdfast:failed",
            Context::Lost => "holdfast:lost",
        }
    }

    /// Whether a client's query means it. When listing, a namespace alone means all that is in it.
    pub(super) fn matches(self, query: &[u8], listing: bool) -> bool {
        let name = self.name().as_bytes();
        name == query || (listing && query.ends_with(b":") && name.starts_with(query))
    }
}

/// `base:allocation`: the flags of a hole that reads as zeroes.
const HOLE_AND_ZERO: u32 = 0b11;
/// Of our own contexts: the range is in that state.
const IN_STATE: u32 = 1;

/// Where the states of ranges come from.
pub(super) trait States {
    /// Ranges of `state` from byte `from` on, in order, at most `limit`; and from where on nothing is told, if anywhere.
    ///
    /// # Errors
    /// The daemon cannot tell now.
    fn list(
        &self,
        state: ListState,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<ByteRange>, Option<u64>), Refusal>;
}

/// The backing that a volume has when it is asked: `volume reopen` gives it another one, and until then it may have none.
#[derive(Clone)]
pub struct BackingNow(Arc<dyn Fn() -> Option<Arc<Backing>> + Send + Sync>);

impl BackingNow {
    /// `tell` says which backing the volume has.
    pub fn new(tell: impl Fn() -> Option<Arc<Backing>> + Send + Sync + 'static) -> BackingNow {
        BackingNow(Arc::new(tell))
    }
}

impl fmt::Debug for BackingNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackingNow")
    }
}

/// The volume's backing, to be asked for its holes.
pub(super) struct Holes(BackingNow);

impl Holes {
    /// Of the backing that a volume has when it is asked.
    pub(super) fn of(now: &BackingNow) -> Holes {
        Holes(now.clone())
    }

    /// The file that is the backing now; nothing of a block device, which says nothing about holes, and while there is none.
    /// A description of our own, because the one that the daemon's I/O uses is never shared (M1), and for one answer only: one
    /// that stayed open would keep the file system of a volume that has left it from being unmounted.
    fn file(&self) -> Option<File> {
        let now = (self.0.0)().filter(|backing| backing.kind() == BackingKind::File)?;
        // By its description, not its path: that may name another file by now.
        File::open(format!("/proc/self/fd/{}", now.fd().as_raw_fd())).ok()
    }

    /// Ranges of data in `range`, in order, at most [`RANGES_MAX`], and from where on nothing is told.
    fn data(&self, range: ByteRange) -> (Vec<ByteRange>, Option<u64>) {
        let whole = (vec![range], None);
        let Some(file) = self.file() else { return whole };
        let mut found = Vec::new();
        let mut at = range.offset;
        while at < range.end() {
            if found.len() == RANGES_MAX {
                return (found, Some(at));
            }
            let data = match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) if data < range.end() => data,
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(_) => return whole,
            };
            let Ok(hole) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)) else { return whole };
            // A file that is punched meanwhile may answer with a hole where data was.
            let end = hole.min(range.end()).max(data);
            found.push(ByteRange { offset: data, length: end - data });
            at = end.max(at + 1);
        }
        (found, None)
    }
}

/// Describes the bytes of `range` from its beginning on, at least one run, each `(bytes, flags)`; not always to its end.
///
/// # Errors
/// The daemon cannot tell now.
pub(super) fn describe(
    context: Context,
    states: &impl States,
    holes: &Holes,
    range: ByteRange,
) -> Result<Vec<(u64, u32)>, Refusal> {
    let list = |state| states.list(state, range.offset, RANGES_MAX);
    let (marked, told, flags) = match context {
        Context::Allocation => {
            let (data, told) = allocated(states, holes, range)?;
            (data, told, (0, HOLE_AND_ZERO))
        }
        Context::Dirty => with_flags(list(ListState::Dirty)?),
        Context::Failed => with_flags(list(ListState::Failed)?),
        Context::Lost => with_flags(list(ListState::Lost)?),
    };
    let end = told.map_or(range.end(), |told| told.min(range.end()));
    if end <= range.offset {
        return Err(Refusal::new(
            error::EIO,
            "the states of this range change too fast to be told; ask again",
        ));
    }
    Ok(runs(&marked, range.offset, end, flags))
}

type Marked = (Vec<ByteRange>, Option<u64>, (u32, u32));

fn with_flags((ranges, told): (Vec<ByteRange>, Option<u64>)) -> Marked {
    (ranges, told, (IN_STATE, 0))
}

/// What is not a hole: data in the file, and what the cache has that the file does not. The cache is asked first: what
/// the device has accepted by then is in the file, and what it has not, it tells. A line that changes its state between two
/// lists is in a later one, or has been accepted: for that the states are asked for in this order.
fn allocated(
    states: &impl States,
    holes: &Holes,
    range: ByteRange,
) -> Result<(Vec<ByteRange>, Option<u64>), Refusal> {
    let mut ranges = Vec::new();
    let mut told: Option<u64> = None;
    let nearer = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    for state in [ListState::Dirty, ListState::Unstable, ListState::Failed, ListState::Lost] {
        let (more, until) = states.list(state, range.offset, RANGES_MAX)?;
        ranges.extend(more);
        told = nearer(told, until);
    }
    let (data, until) = holes.data(range);
    ranges.extend(data);
    ranges.sort_unstable_by_key(|range| range.offset);
    Ok((ranges, nearer(told, until)))
}

/// Turns sorted ranges, which may overlap, into runs over `from..end`: `flags.0` inside, `flags.1` between.
fn runs(ranges: &[ByteRange], from: u64, end: u64, flags: (u32, u32)) -> Vec<(u64, u32)> {
    let mut runs: Vec<(u64, u32)> = Vec::new();
    let mut push = |bytes: u64, flag: u32| match runs.last_mut() {
        _ if bytes == 0 => {}
        Some(last) if last.1 == flag => last.0 += bytes,
        _ => runs.push((bytes, flag)),
    };
    let mut at = from;
    for range in ranges {
        let (start, stop) = (range.offset.clamp(at, end), range.end().clamp(at, end));
        push(start - at, flags.1);
        push(stop - start, flags.0);
        at = stop;
    }
    push(end - at, flags.1);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::BackingSpec;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::Mutex;

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange { offset, length }
    }

    struct Fixed {
        state: ListState,
        ranges: Vec<ByteRange>,
        told: Option<u64>,
    }

    impl States for Fixed {
        fn list(&self, state: ListState, _: u64, _: usize) -> Result<(Vec<ByteRange>, Option<u64>), Refusal> {
            if state == self.state { Ok((self.ranges.clone(), self.told)) } else { Ok((vec![], None)) }
        }
    }

    #[test]
    fn runs_cover_the_range_and_neighbours_with_one_flag_are_one() {
        let ranges = [range(0, 4096), range(4096, 4096), range(12288, 4096), range(12288, 8192)];
        assert_eq!(runs(&ranges, 0, 32768, (1, 0)), [(8192, 1), (4096, 0), (8192, 1), (12288, 0)]);
        assert_eq!(runs(&ranges, 4096, 8192, (1, 0)), [(4096, 1)]);
        assert_eq!(runs(&[], 512, 1024, (1, 0)), [(512, 0)]);
    }

    #[test]
    fn nothing_is_said_beyond_what_was_told() {
        let of = ListState::Dirty;
        let states = Fixed { state: of, ranges: vec![range(0, 4096)], told: Some(8192) };
        let told = describe(Context::Dirty, &states, &Holes::of(&none()), range(0, 1 << 20));
        assert_eq!(told, Ok(vec![(4096, 1), (4096, 0)]));
        let stuck = Fixed { state: of, ranges: vec![], told: Some(0) };
        assert!(describe(Context::Dirty, &stuck, &Holes::of(&none()), range(0, 4096)).is_err());
    }

    #[test]
    fn what_only_the_cache_has_is_no_hole() {
        let directory = tempfile::tempdir().expect("a directory");
        let backing = sparse(&directory.path().join("vm1"), 65536);
        let hole = HOLE_AND_ZERO;
        let expected =
            vec![(65536, hole), (65536, 0), (131_072, hole), (4096, 0), ((1 << 20) - 266_240, hole)];
        let states = |state| Fixed { state, ranges: vec![range(262_144, 4096)], told: None };
        let now = BackingNow::new(move || Some(Arc::clone(&backing)));
        let holes = Holes::of(&now);
        // Failed data above all: a copy that takes it for a hole leaves out what only the cache has.
        for state in [ListState::Dirty, ListState::Unstable, ListState::Failed, ListState::Lost] {
            let told = describe(Context::Allocation, &states(state), &holes, range(0, 1 << 20));
            assert_eq!(told, Ok(expected.clone()), "{state:?}");
        }
        let unknown =
            describe(Context::Allocation, &states(ListState::Dirty), &Holes::of(&none()), range(0, 1 << 20));
        assert_eq!(unknown, Ok(vec![(1 << 20, 0)]), "without a file all of it is data");
    }

    /// A connection lasts longer than a device: after `volume reopen` the backing that is in use is asked, not the one that
    /// the volume had when the client came, which may show a hole where there is data by now.
    #[test]
    fn the_backing_that_is_in_use_now_is_asked_for_holes() {
        let directory = tempfile::tempdir().expect("a directory");
        let [before, after] = [0, 524_288].map(|at| sparse(&directory.path().join(format!("at{at}")), at));
        let current = Arc::new(Mutex::new(Some(before)));
        let seen = Arc::clone(&current);
        let now = BackingNow::new(move || seen.lock().expect("a lock").clone());
        let holes = Holes::of(&now);
        let states = Fixed { state: ListState::Dirty, ranges: vec![], told: None };
        let told = || describe(Context::Allocation, &states, &holes, range(0, 1 << 20)).expect("words");
        assert_eq!(told(), [(65536, 0), ((1 << 20) - 65536, HOLE_AND_ZERO)]);
        let old = current.lock().expect("a lock").take().map(|old| Arc::downgrade(&old));
        assert_eq!(told(), [(1 << 20, 0)], "while its device is let go of, nothing is known to be a hole");
        assert!(
            old.is_some_and(|old| old.upgrade().is_none()),
            "who asked for holes does not keep the device's lock"
        );
        *current.lock().expect("a lock") = Some(after);
        let hole = HOLE_AND_ZERO;
        assert_eq!(told(), [(524_288, hole), (65536, 0), (524_288 - 65536, hole)]);
    }

    /// A backing of 1 MiB with 64 KiB of data at `at`.
    fn sparse(path: &Path, at: u64) -> Arc<Backing> {
        let file = File::create(path).expect("a file");
        file.set_len(1 << 20).expect("sparse");
        file.write_all_at(&[1; 65536], at).expect("room");
        let (kind, path) = (BackingKind::File, path.to_owned());
        let spec = BackingSpec {
            kind,
            path,
            size: None,
            create: false,
            buffered_allowed: true,
            thin_limit: None,
            read_only: false,
        };
        Arc::new(Backing::open(&spec).expect("a backing"))
    }

    fn none() -> BackingNow {
        BackingNow::new(|| None)
    }

    #[test]
    fn a_namespace_is_a_query_for_lists_only() {
        assert!(Context::Dirty.matches(b"holdfast:", true) && !Context::Dirty.matches(b"holdfast:", false));
        assert!(Context::Dirty.matches(b"holdfast:dirty", false));
        assert!(!Context::Allocation.matches(b"holdfast:", true));
        assert!(!Context::Allocation.matches(b"", true) && !Context::Allocation.matches(b"base", true));
    }
}
