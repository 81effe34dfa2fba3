//! What will happen when: the simulated world's only clock.

use holdfast_engine::Event;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Something that the world will do by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A device operation of a reactor ends.
    Ends {
        /// Whose.
        reactor: usize,
        /// Which.
        op: u32,
    },
    /// A device operation ends whose daemon was killed.
    Lands {
        /// Whose it was.
        reactor: usize,
        /// The disk's name for it.
        key: u64,
    },
    /// Nothing of earlier lives is in flight on a volume: the life of this number has its lock.
    Settles {
        /// Which.
        volume: u16,
        /// Of which life.
        life: u64,
    },
    /// A client has found its way back to the life of this number.
    Reconnects {
        /// Which.
        session: u32,
        /// To which life.
        life: u64,
    },
    /// A volume that is added reaches a reactor of the life of this number.
    Plugs {
        /// Which reactor.
        reactor: usize,
        /// Which volume.
        volume: u16,
        /// Of which life.
        life: u64,
    },
    /// Nothing: whoever was meant is dead.
    Nothing,
    /// The ledger has a reactor's entries up to this one on disk.
    Durable {
        /// Whose.
        reactor: usize,
        /// The last one.
        up_to: u64,
    },
    /// An event reaches a reactor.
    Arrives {
        /// Which.
        reactor: usize,
        /// What.
        event: Box<Event>,
    },
    /// A disk loses its volatile cache.
    Reset {
        /// Which.
        domain: usize,
    },
    /// A thin pool gets more chunks.
    Grow {
        /// On which disk.
        domain: usize,
        /// How many.
        chunks: u64,
    },
}

/// Happenings in the order of their time; of the same time, in the order in which they were planned.
#[derive(Debug, Default)]
pub struct Queue {
    order: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: BTreeMap<u64, Happening>,
    count: u64,
}

impl Queue {
    /// Plans something.
    pub fn push(&mut self, time: u64, happening: Happening) {
        self.count += 1;
        self.order.push(Reverse((time, self.count)));
        self.waiting.insert(self.count, happening);
    }

    /// The daemon is killed: what its operations do they do all the same, what it told itself nobody hears. `key` is the
    /// disk's name for an operation.
    pub fn killed(&mut self, key: impl Fn(usize, u32) -> u64) {
        for happening in self.waiting.values_mut() {
            match *happening {
                Happening::Ends { reactor, op } => {
                    *happening = Happening::Lands { reactor, key: key(reactor, op) };
                }
                Happening::Durable { .. } | Happening::Arrives { .. } => *happening = Happening::Nothing,
                _ => {}
            }
        }
    }

    /// The host is dead: of all that was planned, the world's part is left.
    pub fn power_cut(&mut self) {
        for happening in self.waiting.values_mut() {
            if !matches!(happening, Happening::Reset { .. } | Happening::Grow { .. }) {
                *happening = Happening::Nothing;
            }
        }
    }

    /// When the next thing happens.
    pub fn next_time(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((time, _))| *time)
    }

    /// When the last of the operations ends that are in flight now.
    pub fn last_end(&self) -> Option<u64> {
        let ends =
            |count| matches!(self.waiting.get(count), Some(Happening::Ends { .. } | Happening::Lands { .. }));
        self.order.iter().filter(|Reverse((_, count))| ends(count)).map(|Reverse((time, _))| *time).max()
    }

    /// Takes the next thing if it is due.
    pub fn pop_due(&mut self, now: u64) -> Option<Happening> {
        if self.next_time()? > now {
            return None;
        }
        let Reverse((_, count)) = self.order.pop()?;
        self.waiting.remove(&count)
    }
}
