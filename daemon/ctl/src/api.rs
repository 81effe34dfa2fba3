//! The daemon's HTTP/JSON interface as types, shared by both ends of the admin socket.
//!
//! Every answer is a [`Versioned`] object: it has `version: 1` beside its own fields. Sizes and offsets are numbers of
//! bytes and end in `_bytes` (or are the fields of a [`Range`]); points in time are [`Time`]s, with both forms; numbers
//! that do not fit a JSON reader's floating point (failure ids) are strings. An answer with an HTTP status of 400 or
//! more is [`Versioned<Failure>`](Failure). Answers may gain fields; requests with unknown fields are refused.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/volumes` | | [`Volumes`] |
//! | `GET /v1/volumes/{v}/extents?state=&from=&limit=` | | [`Extents`] |
//! | `GET /v1/explain?limit=` | | [`Reports`] |
//! | `GET /v1/explain/{id}?from=&limit=` | | [`Explanation`] |
//! | `GET /v1/stats` | | [`Stats`] |
//! | `GET /v1/events?since=&limit=` | | [`Events`] |
//! | `GET /v1/audit?since=&limit=` | | [`Audit`] |
//! | `GET /v1/operations` | | [`Operations`] |
//! | `GET /v1/operations/{id}` | | [`Started`] |
//! | `POST /v1/operations/{id}/cancel` | `{}` | 202, [`Started`] |
//! | `GET /v1/sessions` | | [`Sessions`] |
//! | `DELETE /v1/sessions/{id}` | | 202, [`SessionEnded`] |
//! | `GET`, `POST /v1/volumes/{v}/policy` | [`PolicyChange`] to post | [`VolumePolicy`] |
//! | `POST /v1/volumes/{v}/resize` | [`ResizeRequest`] | [`Resized`] |
//! | `POST /v1/volumes` | [`VolumeAddRequest`] | [`VolumeAdded`] |
//! | `POST /v1/volumes/{v}/remove` | [`VolumeRemoveRequest`] | [`VolumeRemoved`] |
//! | `POST /v1/volumes/{v}/budget` | [`BudgetRequest`] | [`Reloaded`] |
//! | `POST /v1/volumes/{v}/release` | `{}` | [`Released`] |
//! | `POST /v1/volumes/{v}/reopen` | [`ReopenRequest`] | [`Reopened`] |
//! | `POST /v1/reload` | [`ReloadRequest`] | [`Reloaded`] |
//! | `POST /v1/volumes/{v}/retry` | [`RetryRequest`] | 202, [`Started`] |
//! | `POST /v1/volumes/{v}/drop` | [`DropRequest`] | 202, [`Started`] |
//! | `POST /v1/volumes/{v}/ack-loss` | [`AckLossRequest`] | 202, [`Started`] |
//! | `POST /v1/volumes/{v}/drain` | `{}` | 202, [`Started`] |
//! | `GET`, `POST`, `DELETE /v1/volumes/{v}/fault` | [`Fault`] to post | [`Faults`] |
//! | `POST /v1/volumes/{v}/grow-thin` | [`GrowThinRequest`] | [`ThinGrown`] |
//! | `POST /v1/shutdown` | [`ShutdownRequest`] | 202, [`ShuttingDown`] |

mod code;
mod device;
mod extent;
mod health;
mod map;
mod operation;
mod policy;
mod salvage;
mod session;
mod stats;
mod status;
mod volume;

pub use code::*;
pub use device::*;
pub use extent::*;
pub use health::*;
pub use map::*;
pub use operation::*;
pub use policy::*;
pub use salvage::*;
pub use session::*;
pub use stats::*;
pub use status::*;
pub use volume::*;

use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the interface. It changes when a field changes its meaning or goes, not when one is added.
pub const VERSION: u32 = 1;

/// The path of the admin socket unless it is configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/holdfast/admin.sock";

/// An answer, with the version of the interface beside its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// [`VERSION`].
    pub version: u32,
    /// The answer's own fields, on the same level.
    #[serde(flatten)]
    pub body: T,
}

impl<T> Versioned<T> {
    /// `body` in the version of this build.
    pub const fn of(body: T) -> Versioned<T> {
        Versioned { version: VERSION, body }
    }
}

/// What an answer with an HTTP status of 400 or more says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The one failure.
    pub error: ApiError,
}

/// Why a request was refused or failed: the thing, the cause, the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// A stable word for programs: `unknown_volume`, `bad_request`, `not_permitted`, `busy`, ...
    pub code: String,
    /// What was refused and why, one sentence.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.message, self.remedy)
    }
}

/// A point in time, once for people and once for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// RFC 3339 in UTC with milliseconds, `2026-01-02T03:04:05.678Z`.
    pub rfc3339: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
}

impl Time {
    /// The point `unix_ms` milliseconds after 1970. What lies after the year 9999 is shown as that year's end.
    pub fn from_unix_ms(unix_ms: u64) -> Time {
        let shown = i64::try_from(unix_ms)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        Time { rfc3339: format!("{shown:.3}"), unix_ms }
    }
}

/// A range of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first byte.
    pub offset: u64,
    /// Bytes, at least 1.
    pub length: u64,
}

/// A Linux error number with its name and its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errno {
    /// The number, positive.
    pub number: u16,
    /// `ENOSPC`, or `errno 999` for a number without a name here.
    pub name: String,
    /// The C library's words: `No space left on device`.
    pub meaning: String,
}

/// The name of a reported failure; a client prints it, `holdfastctl explain` takes it.
///
/// Written as 16 hexadecimal digits, because a JSON reader may keep numbers in floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FailureId(pub u64);

impl fmt::Display for FailureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<FailureId> for String {
    fn from(id: FailureId) -> String {
        id.to_string()
    }
}

/// A text that is no failure id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no failure id: one is 1 to 16 hexadecimal digits, as an error message or a log shows it")]
pub struct BadFailureId(pub String);

impl TryFrom<String> for FailureId {
    type Error = BadFailureId;

    fn try_from(text: String) -> Result<FailureId, BadFailureId> {
        text.parse()
    }
}

impl std::str::FromStr for FailureId {
    type Err = BadFailureId;

    /// Hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<FailureId, BadFailureId> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(digits, 16) {
            Ok(number) if hexadecimal => Ok(FailureId(number)),
            _ => Err(BadFailureId(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_both_forms_and_survives_any_number() {
        let time = Time::from_unix_ms(1_767_323_045_678);
        assert_eq!(time.rfc3339, "2026-01-02T03:04:05.678Z");
        assert_eq!(Time::from_unix_ms(0).rfc3339, "1970-01-01T00:00:00.000Z");
        assert!(Time::from_unix_ms(u64::MAX).rfc3339.starts_with("9999-12-30"));
    }

    #[test]
    fn failure_ids_are_hexadecimal_whatever_they_look_like() {
        assert_eq!(FailureId(0x1f).to_string(), "000000000000001f");
        assert_eq!("000000000000001f".parse(), Ok(FailureId(0x1f)));
        assert_eq!("0x10".parse(), Ok(FailureId(16)));
        assert_eq!("10".parse(), Ok(FailureId(16)));
        for bad in ["", "0x", "+1f", "xyz", "12345678901234567"] {
            assert_eq!(bad.parse::<FailureId>(), Err(BadFailureId(bad.to_owned())));
        }
    }

    #[test]
    fn an_answer_has_its_version_beside_its_fields() {
        let range = Versioned::of(Range { offset: 4096, length: u64::MAX });
        let text = serde_json::to_string(&range).expect("plain data serializes");
        assert_eq!(text, r#"{"version":1,"offset":4096,"length":18446744073709551615}"#);
    }
}
