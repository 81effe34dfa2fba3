//! Verbs that change how the daemon works: for root and the daemon's user.

use super::ask::{self, Body, Named, Nothing};
use super::listing::all_done;
use super::look::answer;
use super::refusal::Refusal;
use super::{Peer, PolicyView, Shared, VolumeView, policy, view};
use crate::config::{flush_in_words, rule_in_words};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Extension, Json, Router};
use holdfast_ctl::api::{
    Difference, PolicyChange, Released, ReloadRequest, Reloaded, ReopenRequest, Reopened, ResizeRequest,
    Resized, SessionEnded, Versioned, VolumePolicy, VolumeState,
};
use holdfast_engine::SECTOR_BYTES;
use holdfast_policy::ErrorClass;
use std::path::PathBuf;
use std::sync::Arc;

type Answer<T> = Result<Json<Versioned<T>>, Refusal>;
type Accepted<T> = Result<(StatusCode, Json<Versioned<T>>), Refusal>;
type SharedState = State<Arc<Shared>>;

/// The routes of this file; whoever mounts them puts [`super::peer::owners_only`] before them.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/volumes/{volume}/policy", post(set_policy))
        .route("/v1/volumes/{volume}/resize", post(resize))
        .route("/v1/volumes/{volume}/release", post(release))
        .route("/v1/volumes/{volume}/reopen", post(reopen))
        .route("/v1/reload", post(reload))
        .route("/v1/sessions/{id}", delete(end_session))
}

async fn set_policy(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(change): Body<PolicyChange>,
) -> Answer<VolumePolicy> {
    let volume = ask::volume(&shared, &name)?;
    let before = shared.backend.policy(volume.id)?;
    let after = policy::changed(&before, &change)?;
    let unconfirmed = if change.yes_lose_data { None } else { at_stake(&volume, &before, &after) };
    if let Some(message) = unconfirmed.clone().filter(|_| !change.dry_run) {
        return Err(not_confirmed(&name, message));
    }
    let differences = differences(&name, &before, &after);
    if !change.dry_run && !differences.is_empty() {
        served(&volume)?;
        let answers = shared.backend.set_policy(volume.id, after, peer)?;
        all_done(answers, shared.backend.daemon().reactors.len()).await?;
    }
    let (policy, dry_run) = (policy::view(&after), change.dry_run);
    answer(VolumePolicy { volume: name, policy, differences, dry_run, unconfirmed })
}

/// Held data that the new policy may give up is only put at its mercy by somebody who says so.
fn at_stake(volume: &VolumeView, before: &PolicyView, after: &PolicyView) -> Option<String> {
    let (name, lines) = (&volume.name, volume.stats.failed);
    (lines > 0 && policy::may_give_up_sooner(before, after)).then(|| {
        format!(
            "Volume '{name}' holds {lines} lines that its device refused, and the new policy may give them up, or sooner; \
             that was not confirmed."
        )
    })
}

fn not_confirmed(name: &str, message: String) -> Refusal {
    let remedy = format!(
        "Nothing was changed. Save what is held with 'holdfastctl export {name} --dirty --to FILE'; then confirm it with \
         --yes-lose-data ('yes_lose_data': true)."
    );
    Refusal::unconfirmed(message, remedy)
}

fn served(volume: &VolumeView) -> Result<(), Refusal> {
    if matches!(volume.state, VolumeState::Serving) {
        return Ok(());
    }
    let (name, why) = (&volume.name, volume.why.as_deref().unwrap_or("it is not open"));
    Err(Refusal::busy(format!("Volume '{name}' is not served: {why}"), "See 'holdfastctl status'."))
}

fn differences(name: &str, before: &PolicyView, after: &PolicyView) -> Vec<Difference> {
    let difference = |key: String, before: String, after: String| {
        let differs = before != after;
        differs.then_some(Difference { key, before, after, needs_restart: false })
    };
    let rules = ErrorClass::ALL.into_iter().map(|class| {
        let words = |policy: &PolicyView| rule_in_words(policy.rules.for_class(class));
        difference(format!("volume.{name}.on_failure.{}", class.name()), words(before), words(after))
    });
    let words = |policy: &PolicyView| flush_in_words(policy.flush_on_failure);
    let flush = difference(format!("volume.{name}.flush_on_failure"), words(before), words(after));
    rules.chain([flush]).flatten().collect()
}

async fn reload(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Body(ReloadRequest { dry_run }): Body<ReloadRequest>,
) -> Answer<Reloaded> {
    let reloaded = ask::apart(&shared, move |backend| backend.reload(dry_run, peer)).await??;
    let differences = reloaded.differences.into_iter().map(view::difference).collect();
    answer(Reloaded { config: reloaded.config, differences, dry_run })
}

async fn release(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(Nothing {}): Body<Nothing>,
) -> Answer<Released> {
    let volume = ask::volume(&shared, &name)?;
    served(&volume)?;
    let id = volume.id;
    ask::apart(&shared, move |backend| backend.release(id, peer)).await??;
    answer(Released { volume: name, path: volume.path })
}

async fn reopen(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(ReopenRequest { path, dry_run }): Body<ReopenRequest>,
) -> Answer<Reopened> {
    let volume = ask::volume(&shared, &name)?;
    served(&volume)?;
    if let Some(path) = path.as_ref().filter(|path| !path.starts_with('/') || path.contains('\0')) {
        let message = format!("{path:?} is not an absolute path.");
        return Err(Refusal::bad_request(
            message,
            "Nothing was changed. Write it from the root on, as /dev/sdb.",
        ));
    }
    let (id, path) = (volume.id, path.map(PathBuf::from));
    let opened = ask::apart(&shared, move |backend| backend.reopen(id, path, dry_run, peer)).await??;
    let path = opened.display().to_string();
    answer(Reopened { volume: name, moved: path != volume.path, path, dry_run })
}

async fn end_session(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(text): Named,
) -> Accepted<SessionEnded> {
    let ended = text.parse().ok().and_then(|id| shared.backend.end_session(id, peer));
    let session = ended.ok_or_else(|| {
        let message = format!("There is no session {text}.");
        Refusal::not_found(message, "'holdfastctl sessions' lists them; it may have ended by itself.")
    })?;
    Ok((StatusCode::ACCEPTED, Json(Versioned::of(SessionEnded { session: view::session(session) }))))
}

async fn resize(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Body(ResizeRequest { size_bytes, dry_run }): Body<ResizeRequest>,
) -> Answer<Resized> {
    let volume = ask::volume(&shared, &name)?;
    served(&volume)?;
    let before = volume.size_bytes;
    if size_bytes <= before || size_bytes % SECTOR_BYTES != 0 {
        let message = format!("Volume '{name}' has {before} bytes and cannot be resized to {size_bytes}.");
        let remedy = format!(
            "Nothing was changed. A volume only grows, in multiples of {SECTOR_BYTES} bytes: what lies behind a smaller end \
             would be lost."
        );
        return Err(Refusal::bad_request(message, remedy));
    }
    let id = volume.id;
    let resized = ask::apart(&shared, move |backend| backend.resize(id, size_bytes, dry_run, peer)).await?;
    let (before_bytes, answers) = resized?;
    if let Some(answers) = answers {
        all_done(answers, shared.backend.daemon().reactors.len()).await?;
    }
    answer(Resized { volume: name, before_bytes, size_bytes, dry_run })
}
