//! The cache's memory: named files that outlive the process.
//!
//! ```text
//! PATH/superblock        what this arena is: version, layout, arena id, boot id
//! PATH/notes             its volumes, and what reactors remember beside headers
//! PATH/shard-N.headers   reactor N's table of 32-byte headers
//! PATH/shard-N.slots.K   reactor N's slots, in segments of at most 1 GiB
//! ```
//! The directory is on hugetlbfs, or on tmpfs (slower and swappable, otherwise the same). Any other file system is
//! refused: its pages would be written back to some disk, and ordinary file pages cannot be registered with io_uring.
//! An anonymous memfd was rejected: it dies with the daemon, and with it every write that was acknowledged.
//!
//! One daemon owns the directory by an `flock` on it. An arena that an earlier daemon left behind is examined before
//! anything is touched, and taken over if it is this configuration's (see [`Arena::create`]).

mod create;
mod error;
mod existing;
mod layout;
mod memory;
mod place;
mod remains;
mod slots;
mod superblock;
mod volumes;

pub use create::{Arena, Origin, Shard, known_volumes};
pub use error::{ArenaError, ArenaWarning, HeldData};
pub use layout::{ArenaLayout, ArenaVolume, DeviceNote, SEGMENT_BYTES_MAX};
pub use memory::{give_back_words, zeroed_words};
pub use remains::Remains;
pub use slots::{SegmentMemory, SlotAddresses, Slots};
pub use volumes::{KnownVolume, VolumeTable};
