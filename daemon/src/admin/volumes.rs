//! Verbs by which volumes come, go, and get another budget: for root and the daemon's user.

use super::ask::{self, Body, Named};
use super::look::answer;
use super::refusal::Refusal;
use super::{Peer, Shared, view};
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use holdfast_ctl::api::{
    BudgetRequest, Reloaded, Versioned, VolumeAddRequest, VolumeAdded, VolumeRemoveRequest, VolumeRemoved,
};
use std::sync::Arc;

type Answer<T> = Result<Json<Versioned<T>>, Refusal>;
type SharedState = State<Arc<Shared>>;

/// The routes of this file; whoever mounts them puts [`super::peer::owners_only`] before them.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/volumes", post(add))
        .route("/v1/volumes/{volume}/remove", post(remove))
        .route("/v1/volumes/{volume}/budget", post(budget))
}

async fn add(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Body(VolumeAddRequest { toml, dry_run }): Body<VolumeAddRequest>,
) -> Answer<VolumeAdded> {
    let added = ask::apart(&shared, move |backend| backend.add_volume(&toml, dry_run, peer)).await??;
    let super::AddedView { name, config, toml, lost_bytes } = added;
    answer(VolumeAdded { volume: name, config, toml, lost_bytes, dry_run })
}

async fn remove(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(request): Body<VolumeRemoveRequest>,
) -> Answer<VolumeRemoved> {
    let VolumeRemoveRequest { abandon, yes_lose_data, dry_run } = request;
    let id = ask::volume(&shared, &name)?.id;
    if abandon && !yes_lose_data && !dry_run {
        let message = format!(
            "To remove '{name}' with 'abandon' loses what its device refuses; that was not confirmed."
        );
        let remedy =
            "Nothing was changed. Confirm it with --yes-lose-data ('yes_lose_data': true).".to_owned();
        return Err(Refusal::unconfirmed(message, remedy));
    }
    let removed =
        ask::apart(&shared, move |backend| backend.remove_volume(id, abandon, dry_run, peer)).await??;
    let super::RemovedView { name, sessions, given_up_bytes, lost_bytes, config } = removed;
    answer(VolumeRemoved { volume: name, sessions, given_up_bytes, lost_bytes, config, dry_run })
}

async fn budget(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(BudgetRequest { budget, dry_run }): Body<BudgetRequest>,
) -> Answer<Reloaded> {
    let id = ask::volume(&shared, &name)?.id;
    let set = ask::apart(&shared, move |backend| backend.set_budget(id, &budget, dry_run, peer)).await??;
    let differences = set.differences.into_iter().map(view::difference).collect();
    answer(Reloaded { config: set.config, differences, dry_run })
}
