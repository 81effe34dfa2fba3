//! Reading requests: everything that comes over the socket is checked here before anybody acts on it.

use super::refusal::Refusal;
use super::{Backend, Shared, VolumeView, view};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use holdfast_ctl::api::{Fault, FaultOperation, Range};
use holdfast_engine::{ByteRange, SECTOR_BYTES};
use holdfast_policy::{ClassSet, ErrorClass};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Requests that wait for a disk on threads of their own, at a time.
pub(super) const APART_MAX: usize = 8;

/// A JSON body; an empty one is `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Refusal> {
        let bytes = Bytes::from_request(request, state).await?;
        parse(&bytes).map(Body).map_err(|error| {
            let message = format!("The body makes no sense: {error}.");
            Refusal::bad_request(message, "Send JSON with the fields that this request has, and no others.")
        })
    }
}

/// A body without fields.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    // Through a map, because a derived struct would take an array of its fields, too.
    let object = serde_json::from_slice::<Map<String, Value>>(text);
    object.and_then(|object| T::deserialize(Value::Object(object)))
}

/// A query string.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Refusal> {
        let Query(query) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Asked(query))
    }
}

/// The one word in a path that is not fixed: a volume's name, an id, a number.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Refusal> {
        let named = Path::<String>::from_request_parts(parts, state).await;
        named.map(|Path(name)| Named(name)).map_err(|rejection| {
            let message = format!("The path makes no sense: {}.", rejection.body_text());
            Refusal::bad_request(message, "Names are UTF-8 text, percent-encoded where a path needs it.")
        })
    }
}

/// Has a thread of its own do what waits for a disk. A disk that hangs keeps that thread, not the server.
///
/// # Errors
/// A [`Refusal`] if as many are waiting already as may.
pub(super) async fn apart<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&dyn Backend) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let busy = || {
        let message = format!("{APART_MAX} requests wait for a disk, which is the most.");
        Refusal::busy(message, "See 'holdfastctl status' for a ledger that is stuck or a device that hangs.")
    };
    let place = Arc::clone(&shared.apart).try_acquire_owned().map_err(|_| busy())?;
    let backend = Arc::clone(&shared.backend);
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&*backend);
        drop(place);
        result
    });
    done.await.map_err(|error| Refusal::internal(format!("A thread of the server ended early: {error}.")))
}

/// The volume with this name.
pub(super) fn volume(shared: &Shared, name: &str) -> Result<VolumeView, Refusal> {
    let mut volumes = shared.backend.volumes();
    match volumes.iter().position(|volume| volume.name == name) {
        Some(at) => Ok(volumes.swap_remove(at)),
        None => {
            let known: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
            Err(Refusal::unknown_volume(name, &known))
        }
    }
}

/// `limit` if it is 1 to `most`, `most` if there is none.
pub(super) fn limit(limit: Option<usize>, most: usize) -> Result<usize, Refusal> {
    match limit.unwrap_or(most) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => {
            let message = format!("A page cannot have {limit} entries.");
            Err(Refusal::bad_request(message, format!("Ask for 1 to {most}, and for the next page after.")))
        }
    }
}

/// A range that lies in the volume, in whole sectors.
pub(super) fn range(range: Option<Range>, volume: &VolumeView) -> Result<Option<Range>, Refusal> {
    let Some(Range { offset, length }) = range else { return Ok(None) };
    let (name, size) = (&volume.name, volume.size_bytes);
    let inside = offset.checked_add(length).is_some_and(|end| end <= size);
    let whole = offset % SECTOR_BYTES == 0 && length % SECTOR_BYTES == 0;
    if inside && whole && length > 0 {
        return Ok(range);
    }
    let message =
        format!("The range {offset}:{length} is no range of volume '{name}', which has {size} bytes.");
    let remedy = format!(
        "Offset and length are multiples of {SECTOR_BYTES}, the length is not 0, and both lie in it."
    );
    Err(Refusal::bad_request(message, remedy))
}

/// Error classes by name; all if none is named.
pub(super) fn classes(names: &[String]) -> Result<ClassSet, Refusal> {
    if names.is_empty() {
        return Ok(ClassSet::ANY);
    }
    let class = |name: &String| {
        ErrorClass::from_name(name).ok_or_else(|| {
            let known = ErrorClass::ALL.map(ErrorClass::name).join(", ");
            Refusal::bad_request(format!("There is no error class '{name}'."), format!("There are: {known}."))
        })
    };
    names.iter().map(class).collect()
}

/// The letters of a fault's sequence.
const SEQUENCE_LETTERS: &str = "xwXWh";
/// The longest sequence.
const SEQUENCE_LETTERS_MAX: usize = 64;

/// A fault that makes sense on `volume`.
pub(super) fn fault(fault: Fault, volume: &VolumeView) -> Result<super::FaultView, Refusal> {
    let Some(errno) = view::errno_number(&fault.errno) else {
        let message = format!("'{}' is no error number.", fault.errno);
        return Err(Refusal::bad_request(
            message,
            "Name one as ENOSPC or EIO, or as a number from 1 to 4095.",
        ));
    };
    if fault.operation == FaultOperation::Flush && fault.range.is_some() {
        let message = "A flush has no range.".to_owned();
        return Err(Refusal::bad_request(message, "Leave the range out: a fault on flushes meets them all."));
    }
    sequence(&fault.sequence)?;
    let range = range(fault.range, volume)?
        .map_or(ByteRange::ALL, |range| ByteRange { offset: range.offset, length: range.length });
    Ok(super::FaultView { operation: fault.operation, errno, range, sequence: fault.sequence })
}

fn sequence(sequence: &str) -> Result<(), Refusal> {
    let known = sequence.chars().all(|letter| SEQUENCE_LETTERS.contains(letter));
    let forever = sequence.find(['X', 'W']);
    let last = forever.is_none_or(|at| at + 1 == sequence.len());
    if known && last && (1..=SEQUENCE_LETTERS_MAX).contains(&sequence.len()) {
        return Ok(());
    }
    let message = format!("'{sequence}' is no sequence of faults.");
    let remedy = format!(
        "Use 1 to {SEQUENCE_LETTERS_MAX} letters: x fails one, w passes one, h hangs one, and as the last letter X fails or W \
         passes all from then on."
    );
    Err(Refusal::bad_request(message, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_ends_with_what_holds_forever() {
        for good in ["x", "xw", "wwxX", "hW", "X", &"x".repeat(64)] {
            assert_eq!(sequence(good), Ok(()), "{good}");
        }
        for bad in ["", "Xw", "XX", "a", "x x", &"x".repeat(65)] {
            assert_eq!(sequence(bad).unwrap_err().code, "bad_request", "{bad}");
        }
    }

    #[test]
    fn a_page_has_one_entry_at_least_and_no_more_than_the_most() {
        assert_eq!(limit(None, 100), Ok(100));
        assert_eq!(limit(Some(1), 100), Ok(1));
        assert!(limit(Some(0), 100).is_err());
        assert!(limit(Some(101), 100).is_err());
    }
}
