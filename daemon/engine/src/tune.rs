//! What an operator changes while the volume is in use: at once, between two events, so that no request sees half of it.

use crate::engine::Engine;
use crate::volume::FlushStage;
use crate::{Answer, FlushOnFailure, Instant, Tuning};
use holdfast_policy::errno;

impl Engine<'_> {
    /// Puts other settings in force. What has failed is judged by them at once, what is stalled or
    /// parked from the next turn on.
    pub(crate) fn set_policy(&mut self, index: usize, tuning: Tuning) -> Answer {
        let volume = &mut self.volumes[index];
        let Tuning { rules, flush_on_failure, parked_flushes_max, .. } = tuning;
        volume.setup.rules = rules;
        volume.setup.flush_on_failure = flush_on_failure;
        volume.setup.parked_flushes_max = parked_flushes_max;
        volume.setup.io_timeout_ms = tuning.io_timeout_ms;
        volume.setup.write_back_from = tuning.write_back_from;
        volume.setup.write_back_after_ms = tuning.write_back_after_ms;
        if flush_on_failure == FlushOnFailure::Report {
            for wait in &mut volume.flushes {
                if let FlushStage::Parked { until } = &mut wait.stage {
                    *until = Instant(0);
                }
            }
        }
        self.judge_again(index);
        Answer::Done
    }

    /// Makes the volume larger, as far as its index reaches; it never becomes smaller.
    pub(crate) fn grow(&mut self, index: usize, bytes: u64) -> Answer {
        let volume = &mut self.volumes[index];
        let geometry = crate::Geometry { volume_bytes: bytes, ..volume.setup.geometry };
        // A last line that is not whole would change its meaning for what is in flight.
        let whole_lines = volume.setup.geometry.volume_bytes.is_multiple_of(u64::from(geometry.line_bytes));
        let whole = whole_lines && bytes.is_multiple_of(u64::from(geometry.block_bytes));
        let fits = geometry.local_lines() <= volume.setup.index_lines;
        if bytes < volume.setup.geometry.volume_bytes || !whole || !fits {
            return Answer::Refused { errno: errno::EINVAL };
        }
        volume.setup.geometry = geometry;
        Answer::Done
    }
}
