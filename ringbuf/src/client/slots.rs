//! What a queue knows about each of its requests: which parts are out, and how the answered ones ended.

use super::{Error, Failure};
use crate::request::Completion;
use crate::volume::FailureId;

/// One request in flight, split into at most one part for each reactor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    /// One bit a reactor whose part is not answered.
    pending: u64,
    /// The same for all parts: each goes through another ring.
    sequence: u64,
    failed: Option<Failure>,
}

impl Slot {
    #[inline]
    pub(super) fn idle(&self) -> bool {
        self.pending == 0
    }

    #[inline]
    pub(super) fn begin(&mut self, sequence: u64) {
        *self = Self { pending: 0, sequence, failed: None };
    }

    /// When it was asked, as far as sequences say.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether a reactor owes an answer.
    pub(super) fn awaits(&self, reactor: usize) -> bool {
        self.pending & 1 << reactor != 0
    }

    /// It is sent again: what is answered stays answered.
    pub(super) fn renew(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// It will never be answered.
    pub(super) fn withdraw(&mut self) {
        self.pending = 0;
    }

    #[inline]
    pub(super) fn sent(&mut self, reactor: usize) {
        self.pending |= 1 << reactor;
    }

    /// Takes a part's answer; the whole's answer if it was the last part.
    #[inline]
    pub(super) fn answer(
        &mut self,
        reactor: usize,
        completion: &Completion,
    ) -> Result<Option<Result<(), Failure>>, Error> {
        let expected = self.pending & 1 << reactor != 0 && self.sequence == completion.sequence;
        if !expected || completion.status < 0 {
            return Err(Error::Protocol("an answer to a request that was not asked"));
        }
        self.pending &= !(1 << reactor);
        if completion.status > 0 {
            let failure = (completion.failure_id != 0).then_some(FailureId(completion.failure_id));
            let part = Failure { errno: completion.status, failure };
            self.failed = Some(self.failed.map_or(part, |before| before.join(part)));
        }
        Ok(self.idle().then(|| self.failed.map_or(Ok(()), Err)))
    }
}
