//! The generator over a target that is a byte array.

use std::cell::UnsafeCell;
use std::ptr::NonNull;

use super::*;

/// Answers at every second poll, in the opposite order, so that tags do not come back as they went.
struct Array {
    blocks: Vec<u64>,
    windows: Vec<UnsafeCell<[u64; 512]>>,
    queued: Vec<(u32, Operation, u64)>,
    polls: u32,
    most_in_flight: usize,
    writes: u64,
    /// The block whose reads return something else.
    bad_block: Option<usize>,
}

impl Array {
    fn new(blocks: usize, depth: usize) -> Self {
        Self {
            blocks: vec![0; blocks],
            windows: (0..depth).map(|_| UnsafeCell::new([0; 512])).collect(),
            queued: Vec::new(),
            polls: 0,
            most_in_flight: 0,
            writes: 0,
            bad_block: None,
        }
    }

    fn perform(&mut self, tag: u32, operation: Operation, block: usize) {
        let window = self.windows[tag as usize].get_mut();
        match operation {
            Operation::Write => {
                assert!(window.iter().all(|word| *word == window[0]), "a window that is not filled");
                self.blocks[block] = window[0];
                self.writes += 1;
            }
            Operation::Read => *window = [self.blocks[block]; 512],
        }
        if self.bad_block == Some(block) {
            window[511] ^= 1;
        }
    }
}

impl Target for Array {
    #[allow(unsafe_code, reason = "a window over the test's own array")]
    fn window(&self, tag: u32) -> Window<'_> {
        let start = NonNull::new(self.windows[tag as usize].get()).unwrap();
        // SAFETY: the cell has 512 words and lives as long as `&self`.
        unsafe { Window::new(start.cast()) }
    }

    fn submit(&mut self, tag: u32, operation: Operation, offset: u64) -> Result<(), LoadError> {
        assert!(self.queued.iter().all(|queued| queued.0 != tag), "tag {tag} is in flight");
        self.queued.push((tag, operation, offset));
        self.most_in_flight = self.most_in_flight.max(self.queued.len());
        Ok(())
    }

    fn publish(&mut self) {}

    fn poll(&mut self, done: &mut Vec<u32>) -> Result<(), LoadError> {
        self.polls += 1;
        if self.polls.is_multiple_of(2) {
            while let Some((tag, operation, offset)) = self.queued.pop() {
                self.perform(tag, operation, usize::try_from(offset / BLOCK_BYTES).unwrap());
                done.push(tag);
            }
        }
        Ok(())
    }
}

fn load(operation: Operation, depth: u32, blocks: u64) -> Load {
    let span_bytes = blocks * BLOCK_BYTES;
    Load { operation, depth, seed: 11, span_bytes, duration: Duration::from_millis(5) }
}

#[test]
fn the_warm_up_writes_every_block_once_with_its_stamp() {
    for (blocks, depth) in [(1usize, 32), (100, 1), (100, 32), (32, 32)] {
        let mut array = Array::new(blocks, 32);
        warm_up(&mut array, &load(Operation::Write, depth, blocks as u64)).unwrap();
        assert_eq!(array.writes, blocks as u64);
        assert!((0..blocks).all(|block| array.blocks[block] == stamp(block as u64 * BLOCK_BYTES, 11)));
        assert!(array.queued.is_empty());
    }
}

#[test]
fn a_round_keeps_the_depth_and_leaves_nothing_in_flight() {
    for (operation, depth) in [(Operation::Write, 1), (Operation::Write, 32), (Operation::Read, 32)] {
        let mut array = Array::new(64, depth as usize);
        warm_up(&mut array, &load(Operation::Write, 1, 64)).unwrap();
        array.most_in_flight = 0;
        let round = run_round(&mut array, &load(operation, depth, 64)).unwrap();
        assert_eq!(array.most_in_flight, depth as usize);
        assert!(array.queued.is_empty());
        assert!(round.rate_per_s > 0.0 && round.p50_ns > 0.0 && round.p99_ns >= round.p50_ns, "{round:?}");
    }
}

#[test]
fn a_read_of_wrong_data_ends_the_round_with_its_offset() {
    let mut array = Array::new(16, 4);
    warm_up(&mut array, &load(Operation::Write, 4, 16)).unwrap();
    array.bad_block = Some(3);
    let error = run_round(&mut array, &load(Operation::Read, 4, 16)).unwrap_err();
    assert!(matches!(error, LoadError::WrongData { offset: 12_288, .. }), "{error}");
}
