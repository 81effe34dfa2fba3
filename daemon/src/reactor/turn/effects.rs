//! A turn's effects, in the order that the engine asks for and no other.

use super::Reactor;
use crate::reactor::copy;
use crate::reactor::link::{Entry, Mail, Word};
use holdfast_engine::{Event, PeerMessage};

impl Reactor {
    /// Performs what hits want, before the turn is over.
    pub(super) fn perform_hits(&mut self) {
        let writes = self.actions.begun.len();
        self.copy();
        self.engine.commit();
        self.answer();
        self.actions.clear();
        // Who asks for one thing at a time is busy with the answer now: as many slots as these writes took are brought near for
        // the next ones. Half of what a copy costs is waiting for the memory of the slot.
        for slot in self.engine.next_slots().take(writes) {
            self.slots.prefetch(slot);
        }
    }

    /// Performs what the engine wants. Whether there was anything.
    pub(super) fn perform(&mut self) -> bool {
        let busy = self.copy();
        self.engine.commit();
        let busy = busy | self.send();
        for io in &self.actions.ios {
            let first = io.first_segment as usize;
            self.stopwatch.submit(io, self.now);
            self.disk.submit(io, &self.actions.segments[first..first + io.segments as usize]);
        }
        let busy = busy | !self.actions.ios.is_empty() | !self.actions.completions.is_empty();
        self.answer();
        self.actions.clear();
        busy
    }

    /// Notes which writes were taken in, and moves their bytes and those of reads.
    fn copy(&mut self) -> bool {
        // What outlives the daemon says that a write was taken in, before its first header does.
        for begun in &self.actions.begun {
            if let Some(taken) = self.sessions.get(begun.session) {
                taken.seat.note_begun(begun.tag, begun.sequence, begun.generation);
            }
        }
        for copy in &self.actions.copies {
            if let Some((session, fault)) = copy::perform(copy, &mut self.slots, &mut self.sessions) {
                self.ending.push((session, Some(fault)));
            }
        }
        !self.actions.copies.is_empty()
    }

    /// Answers clients.
    fn answer(&mut self) {
        for index in 0..self.actions.completions.len() {
            let completion = self.actions.completions[index];
            self.pass_on(&completion);
        }
        self.sessions.publish();
    }

    /// Sends letters: those that were late first.
    fn send(&mut self) -> bool {
        let number = self.number;
        let entries = self.actions.ledger.drain(..).map(|(seq, entry)| Entry { reactor: number, seq, entry });
        self.late_entries.extend(entries);
        let answers = self.actions.answers.drain(..);
        self.late_words.extend(answers.map(|(token, answer)| Word::Answer {
            token,
            reactor: number,
            answer,
        }));
        let peers = self.actions.peers.drain(..);
        self.late_mail.extend(peers.map(|(to, message)| (to, Mail::Event(event_of(number, message)))));
        let busy = !self.late_entries.is_empty() || !self.late_words.is_empty() || !self.late_mail.is_empty();
        self.outlets.ledger.push_all(&mut self.late_entries);
        // Before the words: who hears an answer may rely on it that the other reactors have what came before it.
        self.post_mail();
        self.outlets.words.push_all(&mut self.late_words);
        busy
    }
}

/// What another reactor says, as the event that the engine there gets.
fn event_of(from: u32, message: PeerMessage) -> Event {
    match message {
        PeerMessage::FlushWanted { domain, number } => Event::FlushWanted { domain, from, number },
        PeerMessage::Flushed { domain, number, errno, verifier } => {
            Event::Flushed { domain, number, errno, verifier }
        }
        PeerMessage::DeviceChanged { domain } => Event::DeviceChanged { domain },
    }
}
