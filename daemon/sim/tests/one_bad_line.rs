//! One bad line among 10,000: another cache wrote 200,000 times and cleaned nothing. Here all good lines are clean after
//! one sweep, the bad one is listed, and it is tried a bounded number of times.

use holdfast_engine::{ByteRange, Command, ListState, VolumeId};
use holdfast_policy::{ClassSet, HoldForever, Policy, errno};
use holdfast_sim::{Kinds, Memory, Shell, Trace, Trouble, scene};

const LINES: u64 = 10_000;
const BAD: u64 = 4_711;

#[test]
fn every_good_line_is_clean_after_one_sweep_and_the_bad_one_is_listed() {
    let policy = Policy::HoldForever(HoldForever::default());
    let plan = scene::plan(1, 10_200, &[scene::volume(1, LINES, 10_100, policy)]);
    let memory = Memory::new(&plan);
    let mut shell = Shell::new(&plan, &memory, Trace::new(0, false));
    shell.fault(0, Kinds::WRITE, BAD..BAD + 1, Trouble::Refuse(errno::EIO), u64::MAX);
    let session = shell.clients.open(0);
    (0..LINES / 16).for_each(|at| assert_eq!(shell.write(session, at * 16, 16).errno, 0));
    let failed = shell.flush(session);
    assert_eq!(failed.errno, errno::EIO);
    shell.pass(3_000_000_000);
    shell
        .run_until("the end of an attempt", |shell| shell.reactors[0].engine.stats(VolumeId(0)).writing == 0);

    let stats = shell.reactors[0].engine.stats(VolumeId(0));
    assert_eq!((stats.not_clean, stats.failed), (1, 1), "{stats:?}");
    let lines_written = stats.device_write_bytes / scene::LINE;
    assert!((LINES - 1..=LINES * 105 / 100).contains(&lines_written), "{lines_written} lines for {LINES}");
    // A run of 16 lines is bisected in five refusals; after that 10 to 80 ms apart, in about three seconds.
    assert!(stats.device_writes_refused <= 5 + 3_200 / 50, "{stats:?}");
    assert_eq!(shell.list(0, ListState::Failed).iter().collect::<Vec<_>>(), [(BAD * 8, BAD * 8 + 8)]);

    shell.disks[0].heal();
    let token = shell.command(0, Command::Retry { range: ByteRange::ALL, classes: ClassSet::ANY });
    shell.reply(token);
    assert_eq!(shell.flush(session).errno, 0);
    assert!(shell.list(0, ListState::Failed).is_empty());
}
