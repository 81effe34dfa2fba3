//! What a client wants, in the model's words.

use holdfast_engine::{Operation, Request};

/// Which kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// To see sectors.
    Read,
    /// New content. With FUA it is stable when it is answered.
    Write {
        /// Whether it has FUA.
        fua: bool,
    },
    /// Zeroes, by whatever request.
    Zeroes {
        /// Whether it has FUA.
        fua: bool,
    },
    /// That everything acknowledged before is stable.
    Flush,
}

/// A request as the model knows it: sectors `from .. to` of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Whose it is.
    pub session: u32,
    /// Of which volume.
    pub volume: u16,
    /// What is wanted.
    pub what: What,
    /// The first sector.
    pub from: u64,
    /// The sector behind the last.
    pub to: u64,
}

impl Wish {
    pub(crate) fn is_zeroes(&self) -> bool {
        matches!(self.what, What::Zeroes { .. })
    }

    /// Whether it wants a sector to be zeroes.
    pub(crate) fn is_zeroes_over(&self, volume: u16, sector: u64) -> bool {
        self.is_zeroes() && self.volume == volume && (self.from..self.to).contains(&sector)
    }
}

impl From<&Request> for Wish {
    fn from(request: &Request) -> Wish {
        let what = match request.operation {
            Operation::Read => What::Read,
            Operation::Write { fua } => What::Write { fua },
            Operation::WriteZeroes { fua } => What::Zeroes { fua },
            Operation::Discard => What::Zeroes { fua: false },
            Operation::Flush => What::Flush,
        };
        let (from, to) = (request.offset / 512, (request.offset + request.length) / 512);
        Wish { session: request.session.0, volume: request.volume.0, what, from, to }
    }
}
