//! A notice: what is told, and its JSON.

use super::Kind;
use holdfast_ctl::{api, size};
use holdfast_engine::VolumeStats;
use serde_json::{Value, json};

/// The version of the JSON; it grows when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// Something that somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: Kind,
    /// Of which volume.
    pub volume: String,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// In one sentence.
    pub message: String,
    /// What of the volume was where.
    pub bytes: api::StateBytes,
}

impl Notice {
    /// What happened to a volume whose counters are these.
    pub fn new(kind: Kind, volume: &str, unix_ms: u64, stats: &VolumeStats, line_bytes: u32) -> Notice {
        let bytes = crate::admin::state_bytes(stats, line_bytes);
        Notice { kind, volume: volume.to_owned(), unix_ms, message: message(kind, volume, bytes), bytes }
    }

    /// The JSON: one object, one line.
    pub fn json(&self) -> Value {
        json!({
            "version": VERSION,
            "event": self.kind.name(),
            "volume": self.volume,
            "time": api::Time::from_unix_ms(self.unix_ms),
            "message": self.message,
            "command": self.command(),
            "bytes": self.bytes,
        })
    }

    /// What to type next.
    fn command(&self) -> String {
        match self.kind {
            Kind::FirstFailure => format!("holdfastctl extents {} --state failed", self.volume),
            Kind::Lost => format!("holdfastctl extents {} --state lost", self.volume),
            Kind::Healed | Kind::Budget | Kind::Drained => "holdfastctl status".to_owned(),
        }
    }
}

fn message(kind: Kind, volume: &str, bytes: api::StateBytes) -> String {
    match kind {
        Kind::FirstFailure => format!(
            "The device of volume '{volume}' refuses: {} are held in the cache.",
            size::binary(bytes.failed_bytes)
        ),
        Kind::Lost => {
            format!("Volume '{volume}' has lost {} of acknowledged data.", size::binary(bytes.lost_bytes))
        }
        Kind::Healed => format!("Volume '{volume}' is well again: nothing of it is held or lost."),
        Kind::Budget => format!(
            "Data of volume '{volume}' that is not on stable media takes {} of its budget of {}.",
            size::binary(bytes.not_clean_bytes),
            size::binary(bytes.budget_bytes)
        ),
        Kind::Drained => format!("Volume '{volume}' is drained: all of it is on stable media."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_says_what_where_when_and_what_to_type() {
        let stats = VolumeStats { failed: 16, not_clean: 20, budget: 100, ..VolumeStats::default() };
        let notice = Notice::new(Kind::FirstFailure, "vm1", 1_767_323_045_000, &stats, 4096);
        let json = notice.json();
        assert_eq!((json["version"].as_u64(), json["event"].as_str()), (Some(1), Some("first_failure")));
        assert_eq!(json["time"]["rfc3339"], "2026-01-02T03:04:05.000Z");
        assert_eq!(json["message"], "The device of volume 'vm1' refuses: 64.0 KiB are held in the cache.");
        assert_eq!(json["command"], "holdfastctl extents vm1 --state failed");
        assert_eq!(
            (json["bytes"]["failed_bytes"].as_u64(), json["volume"].as_str()),
            (Some(65_536), Some("vm1"))
        );
    }
}
