//! Verbs that change something: for root and the daemon's user.

use super::ask::{self, Body, Named, Nothing};
use super::look::{answer, faults_of};
use super::operation::{Order, unknown};
use super::refusal::Refusal;
use super::{Peer, Shared, VolumeView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, post};
use axum::{Extension, Json, Router};
use holdfast_ctl::api::{
    AckLossRequest, DropRequest, Fault, Faults, GrowThinRequest, Held, OperationVerb, Range, RetryRequest,
    ShutdownRequest, ShuttingDown, Started, ThinGrown, Versioned, VolumeState,
};
use holdfast_engine::VolumeStats;
use holdfast_policy::ClassSet;
use std::sync::Arc;

type Answer<T> = Result<Json<Versioned<T>>, Refusal>;
type Accepted<T> = Result<(StatusCode, Json<Versioned<T>>), Refusal>;
type SharedState = State<Arc<Shared>>;

/// The routes of this file; whoever mounts them puts [`super::peer::owners_only`] before them.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let fault: MethodRouter<Arc<Shared>> = post(add_fault).delete(clear_faults);
    retry_routes()
        .route("/v1/volumes/{volume}/drop", post(give_up))
        .route("/v1/volumes/{volume}/ack-loss", post(ack_loss))
        .route("/v1/volumes/{volume}/drain", post(drain))
        .route("/v1/volumes/{volume}/fault", fault)
        .route("/v1/volumes/{volume}/grow-thin", post(grow_thin))
        .route("/v1/operations/{id}/cancel", post(cancel))
        .route("/v1/shutdown", post(shutdown))
}

/// The one change that loses nothing, whoever asks for it.
pub(super) fn retry_routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/volumes/{volume}/retry", post(retry))
}

fn accepted<T>(body: T) -> Accepted<T> {
    Ok((StatusCode::ACCEPTED, Json(Versioned::of(body))))
}

async fn retry(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(request): Body<RetryRequest>,
) -> Accepted<Started> {
    let classes = ask::classes(&request.classes)?;
    begin(&shared, &name, OperationVerb::Retry, request.range, classes, peer)
}

async fn give_up(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(request): Body<DropRequest>,
) -> Accepted<Started> {
    if !request.yes_lose_data {
        let message =
            format!("To drop what volume '{name}' holds is to lose it, and that was not confirmed.");
        return Err(Refusal::unconfirmed(
            message,
            "Confirm it with --yes-lose-data ('yes_lose_data': true).",
        ));
    }
    begin(&shared, &name, OperationVerb::Drop, request.range, ClassSet::ANY, peer)
}

async fn ack_loss(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(request): Body<AckLossRequest>,
) -> Accepted<Started> {
    if !request.yes {
        let message =
            format!("To accept what volume '{name}' lost makes its flushes succeed, and was not confirmed.");
        return Err(Refusal::unconfirmed(message, "Confirm it with --yes ('yes': true)."));
    }
    begin(&shared, &name, OperationVerb::AckLoss, request.range, ClassSet::ANY, peer)
}

async fn drain(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Accepted<Started> {
    begin(&shared, &name, OperationVerb::Drain, None, ClassSet::ANY, peer)
}

fn begin(
    shared: &Shared,
    name: &str,
    verb: OperationVerb,
    range: Option<Range>,
    classes: ClassSet,
    by: Peer,
) -> Accepted<Started> {
    let volume = ask::volume(shared, name)?;
    if matches!(volume.state, VolumeState::Waiting | VolumeState::Refused) {
        let why = volume.why.as_deref().unwrap_or("it is not open");
        let message = format!("Volume '{name}' is not served, there is nothing to {verb}: {why}");
        return Err(Refusal::busy(message, "See 'holdfastctl status'."));
    }
    let order = Order { verb, range: ask::range(range, &volume)?, classes };
    let operation = shared.operations.start(&shared.backend, &volume, order, by)?;
    accepted(Started { operation })
}

async fn add_fault(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(fault): Body<Fault>,
) -> Answer<Faults> {
    let volume = ask::volume(&shared, &name)?;
    let fault = ask::fault(fault, &volume)?;
    shared.backend.set_fault(volume.id, fault, peer)?;
    answer(faults_of(&shared, &volume)?)
}

async fn clear_faults(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
) -> Answer<Faults> {
    let volume = ask::volume(&shared, &name)?;
    shared.backend.clear_faults(volume.id, peer)?;
    answer(faults_of(&shared, &volume)?)
}

async fn grow_thin(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(request): Body<GrowThinRequest>,
) -> Answer<ThinGrown> {
    let volume = ask::volume(&shared, &name)?;
    if request.add_bytes == 0 {
        let message = format!("Volume '{name}' cannot grow by 0 bytes.");
        return Err(Refusal::bad_request(message, "Say how much is to be added, as 64MiB."));
    }
    let thin = shared.backend.grow_thin(volume.id, request.add_bytes, peer)?;
    answer(ThinGrown {
        volume: volume.name,
        limit_bytes: thin.limit_bytes,
        allocated_bytes: thin.allocated_bytes,
    })
}

async fn cancel(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(text): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Accepted<Started> {
    let id = text.parse().map_err(|_| unknown(&text))?;
    let operation = shared.operations.cancel(&*shared.backend, id, peer)?;
    accepted(Started { operation })
}

async fn shutdown(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Body(request): Body<ShutdownRequest>,
) -> Accepted<ShuttingDown> {
    let ShutdownRequest { abandon, yes_lose_data } = request;
    if abandon && !yes_lose_data {
        let message =
            "To abandon what cannot be written is to lose it, and that was not confirmed.".to_owned();
        return Err(Refusal::unconfirmed(
            message,
            "Confirm it with --yes-lose-data ('yes_lose_data': true).",
        ));
    }
    // Before it begins, because volumes go with it.
    let held = held(&shared);
    shared.backend.shutdown(abandon, peer);
    accepted(ShuttingDown { abandon, held })
}

/// What is not on stable media of volumes whose devices refuse, or do not answer.
fn held(shared: &Shared) -> Vec<Held> {
    let line_bytes = u64::from(shared.backend.daemon().line_bytes);
    let refused = |VolumeView { stats, .. }: &VolumeView| {
        stats.failed > 0 || stats.overdue > 0 || (stats.gate_class != 0 && stats.not_clean > 0)
    };
    let bytes = |stats: VolumeStats| stats.not_clean.max(stats.failed) * line_bytes;
    let volumes = shared.backend.volumes().into_iter().filter(refused);
    volumes.map(|volume| Held { bytes: bytes(volume.stats), volume: volume.name }).collect()
}
