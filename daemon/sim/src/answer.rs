//! What clients are told, shown to the model.

use crate::client::Outcome;
use crate::shell::{Shell, content};
use crate::violation::{Clause, demand};
use holdfast_engine::{Completion, Mode, Operation};

/// What a request is told that can be withdrawn when its time is over.
const ETIMEDOUT: u16 = 110;

impl Shell<'_> {
    pub(crate) fn answered(&mut self, number: usize, completion: &Completion) {
        self.trace.mix(&[u64::from(completion.tag), u64::from(completion.errno), completion.failure_id]);
        let (asked, data) = self.clients.answered(number, completion);
        self.trace.line(
            self.now,
            format_args!("r{number} answer {}: {completion:?} last {}", asked.id, data.is_some()),
        );
        let volume = asked.request.volume.0;
        let shape = self.plan.volumes[usize::from(volume)].geometry;
        let harm = self.disk(volume).harm[&volume];
        let content = content(&self.disks, self.plan, volume);
        let (id, errno) = (asked.id, asked.errno);
        if asked.malformed {
            demand(Clause::Seam, completion.errno == 22, || {
                format!("{:?} got {}", asked.request, completion.errno)
            });
        } else if completion.errno == ETIMEDOUT {
            let timeout_ns = u64::from(asked.request.timeout_ms) * 1_000_000;
            let late = timeout_ns > 0 && self.now - asked.since >= timeout_ns;
            demand(Clause::M9, late, || format!("{:?} is out of time too soon", asked.request));
        } else if asked.request.operation == Operation::Flush && completion.errno != 0 {
            let named = [5, 28].contains(&completion.errno) && completion.failure_id != 0;
            demand(Clause::C3, named, || format!("a failed flush says {completion:?}"));
            let space = completion.errno == 5 || harm.space > 0;
            demand(Clause::C3, space, || format!("flush {id} says ENOSPC and there was space"));
            let own = |sector: u64| shape.owner(sector * 512) == number as u64;
            // What an operator gives up untried fails flushes though the disk is well.
            let excused = harm.total() > 0 || self.abandoned[usize::from(volume)];
            self.model.flush_failed(id, completion.errno, &own, &content, excused);
        }
        let Some(data) = data else { return };
        if !asked.malformed {
            match asked.request.operation {
                Operation::Write { .. } if errno == ETIMEDOUT => self.model.withdrawn(id),
                Operation::Read if errno == ETIMEDOUT => self.model.forget(id),
                Operation::Read => {
                    let domain = usize::from(self.plan.volumes[usize::from(volume)].domain);
                    let hung = self.disks[domain].hung_until(volume) >= asked.since;
                    self.model.read(id, errno, &data, harm.reads > asked.read_harm || hung);
                }
                Operation::Flush if errno == 0 => self.model.flushed(id, &content),
                Operation::Flush => self.model.forget(id),
                _ => {
                    let write = matches!(asked.request.operation, Operation::Write { .. });
                    if write && errno != 0 && asked.records[number] != 0 && !asked.outlived {
                        self.model.write_failed(id, &content);
                    }
                    // What a reset or a failed flush took from the device is not the write's to answer for.
                    let keeps = harm.resets == 0 && harm.flushes == 0;
                    let through = self.plan.volumes[usize::from(volume)].mode == Mode::WriteThrough;
                    if write && errno == 0 && through && keeps {
                        self.model.written_through(id, &content);
                    }
                    let abandoned = self.abandoned[usize::from(volume)];
                    let excused = abandoned || harm.total() > 0;
                    let refused = errno == 0 || errno == 95 || errno == ETIMEDOUT || excused;
                    demand(Clause::C6, refused, || {
                        format!("{:?} got {errno}, and its disk never refused", asked.request)
                    });
                    self.model.changed(id, errno, &content);
                }
            }
        }
        self.coverage.event(outcome_name(asked.request.operation, errno));
        let took_ns = self.now - asked.since;
        let outcome = Outcome { errno, failure_id: asked.failure_id, data, request: asked.request, took_ns };
        self.clients.outcomes.insert(id, outcome);
    }
}

fn outcome_name(operation: Operation, errno: u16) -> &'static str {
    match (operation, errno) {
        (_, 22) => "malformed request",
        (Operation::Read, ETIMEDOUT) => "read out of time",
        (Operation::Write { .. }, ETIMEDOUT) => "write out of time",
        (Operation::Flush, ETIMEDOUT) => "flush out of time",
        (_, ETIMEDOUT) => "zeroes out of time",
        (Operation::Read, 0) => "read",
        (Operation::Read, _) => "read failed",
        (Operation::Write { fua: false }, 0) => "write",
        (Operation::Write { fua: true }, 0) => "write fua",
        (Operation::Write { .. }, _) => "write failed",
        (Operation::Flush, 0) => "flush",
        (Operation::Flush, 28) => "flush failed with ENOSPC",
        (Operation::Flush, _) => "flush failed with EIO",
        (_, 0) => "zeroes",
        (_, 95) => "zeroes not supported",
        (_, _) => "zeroes failed",
    }
}
