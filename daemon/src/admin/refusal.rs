//! Refusals: an HTTP status for programs, the thing, the cause and the way out for people.

use super::BackendError;
use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use holdfast_ctl::api::{ApiError, Failure, Versioned};

/// A request that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// 400 nonsense, 403 not permitted, 404 no such thing, 409 not for this volume or configuration, 413 too large,
    /// 429 too many, 503 not now, 500 our bug.
    pub(super) status: StatusCode,
    /// The stable word.
    pub(super) code: &'static str,
    /// The thing and the cause.
    pub(super) message: String,
    /// The way out.
    pub(super) remedy: String,
}

impl Refusal {
    pub(super) fn bad_request(message: String, remedy: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, code: "bad_request", message, remedy: remedy.into() }
    }

    pub(super) fn unknown_volume(name: &str, known: &[&str]) -> Refusal {
        let remedy = match known {
            [] => "The configuration has no volume.".to_owned(),
            _ => format!("There are: {}.", known.join(", ")),
        };
        let message = format!("There is no volume '{name}'.");
        Refusal { status: StatusCode::NOT_FOUND, code: "unknown_volume", message, remedy }
    }

    pub(super) fn not_found(message: String, remedy: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::NOT_FOUND, code: "not_found", message, remedy: remedy.into() }
    }

    pub(super) fn unconfirmed(message: String, remedy: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, code: "unconfirmed", message, remedy: remedy.into() }
    }

    pub(super) fn busy(message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        let (message, remedy) = (message.into(), remedy.into());
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, code: "busy", message, remedy }
    }

    pub(super) fn too_many(message: String, remedy: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::TOO_MANY_REQUESTS, code: "too_many", message, remedy: remedy.into() }
    }

    /// A reactor answered what no reactor answers.
    pub(super) fn internal(message: String) -> Refusal {
        let remedy = "This is a bug of the daemon: please report it with its log.".to_owned();
        Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, code: "internal", message, remedy }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = ApiError { code: self.code.to_owned(), message: self.message, remedy: self.remedy };
        (self.status, Json(Versioned::of(Failure { error }))).into_response()
    }
}

impl From<BackendError> for Refusal {
    fn from(error: BackendError) -> Refusal {
        match error {
            BackendError::Senseless { what, remedy } => Refusal::bad_request(what, remedy),
            BackendError::Refused { what, remedy } => {
                Refusal { status: StatusCode::CONFLICT, code: "refused", message: what, remedy }
            }
            BackendError::Busy { what, remedy } => Refusal::busy(what, remedy),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Refusal {
        let message = format!("The query makes no sense: {}.", rejection.body_text());
        Refusal::bad_request(message, "Offsets and counts are plain numbers, offsets in bytes.")
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Refusal {
        if rejection.status() != StatusCode::PAYLOAD_TOO_LARGE {
            let message = format!("The body could not be read: {}.", rejection.body_text());
            return Refusal::bad_request(message, "Send it whole, with its length.");
        }
        Refusal {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "too_large",
            message: format!("The body is larger than {} bytes.", super::BODY_BYTES_MAX),
            remedy: "No request needs so much: send only the fields that the interface names.".to_owned(),
        }
    }
}
