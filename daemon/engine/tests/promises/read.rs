//! C5, M3, M4: reads never go back.

use crate::shell::*;
use holdfast_engine::*;
use holdfast_policy::errno::EIO;

/// M4: a write of part of a line whose fill is in flight wins over the fill, sector by sector.
#[test]
fn a_partial_write_merges_with_the_fill_in_flight() {
    let mut shell = Shell::new(Plan::default());
    shell.disk().hold(IoKind::Read);
    let read = shell.send(0, 1, Operation::Read, 0, LINE);
    shell.turn();
    shell.put(512, 1024, 7);
    shell.put(1024, 512, 8);
    assert_eq!(shell.get(512, 512).unwrap(), all(7, 512), "what is valid is read without the device");
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.errno(read), Some(0));
    let data = shell.data(read);
    assert_eq!((data[0], data[512], data[1024], data[1536]), (0xd5, 7, 8, 0xd5));
    let again = shell.get(0, LINE).unwrap();
    assert_eq!((again[0], again[512], again[1024], again[1536]), (0xd5, 7, 8, 0xd5));
    assert_eq!(shell.disk().attempts(IoKind::Read), 1, "the line is whole now");
}

/// C5: a partial line is completed from the device when more of it is read, and the newest sectors win.
#[test]
fn a_read_of_a_partly_written_line_merges_the_newest() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, 512, 1);
    shell.put(3584, 512, 2);
    let data = shell.get(0, LINE).unwrap();
    assert_eq!((data[0], data[512], data[3583], data[3584]), (1, 0xd5, 0xd5, 2));
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.disk().stable[..4096], data[..]);
}

/// Reads of any run of sectors, across lines, see exactly those.
#[test]
fn sectors_are_read_one_by_one() {
    let mut shell = Shell::new(Plan::default());
    for sector in 0..24u8 {
        shell.put(u64::from(sector) * 512, 512, sector);
    }
    for first in 0..24u64 {
        for count in 1..=(24 - first) {
            let data = shell.get(first * 512, count * 512).unwrap();
            let expected: Vec<u8> =
                (first..first + count).flat_map(|sector| all(sector as u8, 512)).collect();
            assert_eq!(data, expected);
        }
    }
}

/// A line with gaps goes out piece by piece, and the gaps keep what the device has.
#[test]
fn a_line_with_gaps_is_written_without_them() {
    let mut shell = Shell::new(Plan::default());
    for sector in [0, 2, 5] {
        shell.put(sector * 512, 512, 1);
    }
    assert_eq!(shell.flushed(), 0);
    let disk = shell.disk();
    let sectors: Vec<u8> = (0..8).map(|sector| disk.stable[sector * 512]).collect();
    assert_eq!(sectors, [1, 0xd5, 1, 0xd5, 0xd5, 1, 0xd5, 0xd5]);
}

/// C5: a refused read is an error of its own lines only, and nothing is remembered of it.
#[test]
fn a_refused_read_fails_whole_and_is_forgotten() {
    let mut shell = Shell::new(Plan::default());
    shell.put(LINE, LINE, 1);
    shell.disk().refuse(IoKind::Read, EIO);
    assert_eq!(shell.get(0, 2 * LINE), Err(EIO));
    assert_eq!(shell.get(LINE, LINE).unwrap(), all(1, 4096), "a hit needs no device");
    shell.disk().heal();
    assert_eq!(shell.get(0, LINE).unwrap(), all(0xd5, 4096));
    assert_eq!(shell.stats().gate_class, 0);
    assert_eq!(shell.flushed(), 0);
}

/// Many reads of one missing line share one device read, more than wait on one operation.
#[test]
fn reads_of_one_missing_line_share_the_fill() {
    let mut shell = Shell::new(Plan::default());
    let reads: Vec<u32> = (0..20).map(|_| shell.send(0, 1, Operation::Read, 0, LINE)).collect();
    shell.settle();
    assert!(reads.iter().all(|&read| shell.errno(read) == Some(0) && shell.data(read)[0] == 0xd5));
    assert_eq!(shell.disk().attempts(IoKind::Read), 1);
}

/// M3: a line that is overwritten while it is written keeps what the device reads until its operation ends, and the
/// newer slot carries all that is not stable.
#[test]
fn an_overwrite_leaves_the_write_in_flight_alone() {
    let mut shell = Shell::new(Plan::default());
    shell.put(0, LINE, 1);
    shell.disk().hold(IoKind::Write);
    shell.flush();
    shell.settle();
    let free = shell.engine.cache_stats().free;
    shell.put(512, 512, 2);
    assert_eq!(shell.engine.cache_stats().free, free - 1, "the slot in flight is not freed");
    shell.disk().refuse(IoKind::Write, EIO);
    shell.disk().release();
    shell.settle();
    assert_eq!(shell.engine.cache_stats().free, free, "its operation has ended");
    let data = shell.get(0, LINE).unwrap();
    assert_eq!((data[0], data[512], data[1024]), (1, 2, 1));
    shell.disk().heal();
    shell.run_ms(500);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.disk().stable[..4096], data[..], "the refused sectors went out with the newer ones");
}

/// The last line of a volume may be a part of one.
#[test]
fn a_volume_ends_inside_a_line() {
    let mut shell = Shell::new(Plan { volume_bytes: 10 * LINE + 1536, ..Plan::default() });
    let last = 10 * LINE;
    assert_eq!(shell.get(last, 1536).unwrap(), all(0xd5, 1536));
    shell.put(last + 1024, 512, 4);
    assert_eq!(shell.flushed(), 0);
    assert_eq!(shell.stable(last as usize + 1024), 4);
    let zeroes = shell.send(0, 1, Operation::WriteZeroes { fua: false }, 9 * LINE, LINE + 1536);
    shell.settle();
    assert_eq!(shell.errno(zeroes), Some(0));
    assert_eq!(shell.get(last, 1536).unwrap(), all(0, 1536));
    let beyond = shell.send(0, 1, Operation::Read, last + 1024, 1024);
    shell.turn();
    assert_eq!(shell.errno(beyond), Some(holdfast_policy::errno::EINVAL));
}

/// The last multiple of a sector that a request can name.
const SECTORS_END: u64 = u64::MAX - 511;

/// C12: requests that make no sense are answered with EINVAL and change nothing.
#[test]
fn nonsense_is_refused() {
    let mut shell = Shell::new(Plan::default());
    let operations = [
        Operation::Read,
        Operation::Write { fua: false },
        Operation::Write { fua: true },
        Operation::Discard,
        Operation::WriteZeroes { fua: true },
    ];
    let ranges = [
        (0, 0),
        (1, 512),
        (0, 511),
        (u64::MAX - 511, 512),
        (SECTORS_END, SECTORS_END),
        (0, SECTORS_END),
        (4 << 20, 512),
        ((4 << 20) - 512, 1024),
        (512, 4 << 20),
    ];
    for operation in operations {
        for (offset, length) in ranges {
            let request = Request {
                session: SessionId(1),
                tag: 1,
                sequence: 1,
                volume: VolumeId(0),
                operation,
                offset,
                length,
                buffer: u64::MAX - 511,
                replay: 0,
                timeout_ms: 0,
            };
            shell.events.push_back(Event::Request(request));
            shell.turn();
            let answer = shell.done.remove(&1).expect("answered at once");
            assert_eq!(answer.errno, holdfast_policy::errno::EINVAL, "{operation:?} of {length} at {offset}");
        }
    }
    let unknown = shell.send(9, 1, Operation::Flush, 0, 0);
    shell.settle();
    assert_eq!(shell.errno(unknown), Some(holdfast_policy::errno::ENXIO));
    assert_eq!(shell.engine.cache_stats().free, 256);
    assert!(shell.disk().log.is_empty());
}

/// Replacement takes clean lines only, and a line that was used since the hand came by survives.
#[test]
fn replacement_takes_clean_lines_that_were_not_used() {
    let mut shell = Shell::new(Plan { budget: 64, ..Plan::default() });
    for line in 0..40 {
        shell.put(line * LINE, LINE, 1);
    }
    shell.get(100 * LINE, LINE).unwrap();
    for line in 200..600 {
        shell.get(line * LINE, LINE).unwrap();
        shell.get(100 * LINE, LINE).unwrap();
    }
    assert!(shell.engine.cache_stats().evictions > 0);
    let reads = shell.disk().attempts(IoKind::Read);
    shell.get(100 * LINE, LINE).unwrap();
    for line in 0..40 {
        assert_eq!(shell.get(line * LINE, LINE).unwrap(), all(1, 4096));
    }
    assert_eq!(shell.disk().attempts(IoKind::Read), reads, "all of them were still there");
}
