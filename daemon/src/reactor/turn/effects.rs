//! A turn's effects, in the order that the engine asks for and no other.

use super::Reactor;
use crate::reactor::link::{Entry, Mail, Word};
use crate::reactor::{copy, wire};
use holdfast_engine::{Event, PeerMessage};
use holdfast_ringbuf::PeerFault;

impl Reactor<'_> {
    /// Performs what hits want, before the turn is over.
    pub(super) fn perform_hits(&mut self) {
        self.copy();
        self.engine.commit();
        self.answer();
        self.actions.clear();
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
                taken.seat.ring.note_begun(begun.tag, begun.sequence, begun.generation);
            }
        }
        for copy in &self.actions.copies {
            if let Some(session) = copy::perform(copy, &mut self.slots, &mut self.sessions) {
                self.ending.push((session, Some(PeerFault::MemoryLost)));
            }
        }
        !self.actions.copies.is_empty()
    }

    /// Answers clients.
    fn answer(&mut self) {
        for completion in &self.actions.completions {
            let Some(taken) = self.sessions.get(completion.session) else { continue };
            let (tag, sequence) = (completion.tag, completion.sequence);
            let answered =
                wire::answer(&mut taken.seat, tag, sequence, completion.errno, completion.failure_id);
            match answered {
                Ok(()) => self.stopwatch.answer(taken.seat.volume, taken.seat.begun(tag)),
                Err(fault) => self.ending.push((completion.session, Some(fault))),
            }
            self.sessions.touch_session(completion.session);
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
        self.late_mail.extend(peers.map(|(to, message)| (to, event_of(number, message))));
        let busy = !self.late_entries.is_empty() || !self.late_words.is_empty() || !self.late_mail.is_empty();
        self.outlets.ledger.push_all(&mut self.late_entries);
        self.outlets.words.push_all(&mut self.late_words);
        while let Some((to, event)) = self.late_mail.pop_front() {
            if let Err(Mail::Event(back)) = self.outlets.links[to as usize].inbox.push(Mail::Event(event)) {
                self.late_mail.push_front((to, back));
                break;
            }
        }
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
