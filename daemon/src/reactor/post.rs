//! A letter box between threads: a bounded lock-free queue, and a bell for a reader who sleeps.

use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

/// Many may push, one thread takes. Pushing never blocks: not on the queue, and not on the bell, whose eventfd belongs to
/// this process alone and is not blocking.
#[derive(Debug)]
pub struct Post<T> {
    queue: ArrayQueue<T>,
    sleeping: AtomicBool,
    bell: OwnedFd,
}

impl<T> Post<T> {
    /// A box for `capacity` letters.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn new(capacity: usize) -> io::Result<Post<T>> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Post { queue: ArrayQueue::new(capacity), sleeping: AtomicBool::new(false), bell })
    }

    /// Puts a letter in and wakes the reader if it sleeps.
    ///
    /// # Errors
    /// The letter, if the box is full.
    pub fn push(&self, letter: T) -> Result<(), T> {
        self.queue.push(letter)?;
        // SYNC POINT bell: the letter is in before the flag is read; pairs with the fence in `prepare_sleep`. One of
        // the two sides sees the other.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.ring();
        }
        Ok(())
    }

    /// Puts letters in, the first of them first, until the box is full; whether all are in. The others stay where they are.
    pub fn push_all(&self, letters: &mut VecDeque<T>) -> bool {
        while let Some(letter) = letters.pop_front() {
            if let Err(back) = self.push(letter) {
                letters.push_front(back);
                return false;
            }
        }
        true
    }

    /// As [`Post::push_all`], and while the box is full waits for the reader, `patience` at most. Not for a reactor that turns.
    pub fn push_all_within(&self, letters: &mut VecDeque<T>, patience: Duration) -> bool {
        let began = Instant::now();
        while !self.push_all(letters) {
            if began.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Wakes the reader without a letter. A bell that has rung too often to count is ringing.
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// The oldest letter.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether there is no letter.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Letters waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Announces that the reader is about to sleep; `false` if there is a letter, then it must not.
    pub fn prepare_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = self.queue.is_empty();
        if !may_sleep {
            self.awake();
        }
        may_sleep
    }

    /// Ends what [`Post::prepare_sleep`] announced.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Stops the bell.
    pub fn hush(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
    }

    /// Becomes readable when the bell rings.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Sleeps until there is a letter or a ring, or for `timeout`. For threads that are not reactors.
    pub fn wait(&self, timeout: Duration) {
        if self.prepare_sleep() {
            let mut poll = [rustix::event::PollFd::new(&self.bell, rustix::event::PollFlags::IN)];
            let timeout = rustix::event::Timespec::try_from(timeout).ok();
            // An interrupted or failed wait only comes back early; the caller looks again.
            let _ = rustix::event::poll(&mut poll, timeout.as_ref());
            self.awake();
        }
        self.hush();
    }
}

impl<T> Post<T> {
    /// As [`Post::wait`], and until `other` becomes readable.
    pub fn wait_with(&self, other: &impl AsFd, timeout: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if self.prepare_sleep() {
            let mut fds = [PollFd::new(&self.bell, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
            let timeout = Timespec::try_from(timeout).ok();
            // An interrupted or failed wait only comes back early; the caller looks again.
            let _ = poll(&mut fds, timeout.as_ref());
            self.awake();
        }
        self.hush();
    }
}

#[cfg(test)]
mod tests {
    use super::Post;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn what_does_not_fit_stays_in_order_and_is_waited_for_as_long_as_told() {
        let post = Post::new(2).expect("an eventfd");
        let mut letters: VecDeque<u32> = (0..5).collect();
        assert!(!post.push_all(&mut letters));
        assert!(!post.push_all_within(&mut letters, Duration::from_millis(3)), "nobody reads");
        assert_eq!(letters, [2, 3, 4]);
        assert_eq!([post.pop(), post.pop(), post.pop()], [Some(0), Some(1), None]);
        assert!(!post.push_all(&mut letters));
        assert_eq!((post.pop(), post.push_all(&mut letters)), (Some(2), true));
        assert_eq!([post.pop(), post.pop(), post.pop()], [Some(3), Some(4), None]);
    }

    /// A reader that sleeps between letters gets every one of many, in order, and never sleeps through one for good.
    #[test]
    fn no_letter_is_slept_through() {
        let post = Arc::new(Post::new(4).expect("an eventfd"));
        let writer = Arc::clone(&post);
        let thread = std::thread::spawn(move || {
            for mut number in 0..20_000u32 {
                while let Err(back) = writer.push(number) {
                    number = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < 20_000 {
            match post.pop() {
                Some(number) => {
                    assert_eq!(number, expected);
                    expected += 1;
                }
                None => post.wait(Duration::from_secs(30)),
            }
        }
        thread.join().expect("the writer ends");
    }
}
