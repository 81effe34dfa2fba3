//! Verbs that change nothing.

use super::Peer;
use super::ask::{self, Asked, Named};
use super::operation::unknown;
use super::refusal::Refusal;
use super::{
    AuditPage, EventsPage, ReportView, Shared, VolumeView, health, listing, page_data, policy, view,
};
use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use holdfast_ctl::api::{
    Audit, Events, Explanation, ExtentState, Extents, FailureId, Fault, Faults, Operations, Range, Reason,
    Report, Reports, Sessions, Started, Stats, Status, Time, Versioned, Volume, VolumeCount, VolumePolicy,
    VolumeState, Volumes,
};
use holdfast_engine::ByteRange;
use serde::Deserialize;
use std::sync::Arc;

/// The most extents in one answer: about 1.5 MB of JSON.
pub(super) const EXTENTS_MAX: usize = 4096;
/// The most reports in one answer: each is compared with all that its volume holds.
const REPORTS_MAX: usize = 100;
/// The most events in one answer.
pub(super) const EVENTS_MAX: usize = 1000;

pub(super) type Answer<T> = Result<Json<Versioned<T>>, Refusal>;
pub(super) type SharedState = State<Arc<Shared>>;

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/volumes", get(volumes))
        .route("/v1/volumes/{volume}/extents", get(extents))
        .route("/v1/volumes/{volume}/fault", get(faults))
        .route("/v1/explain", get(reports))
        .route("/v1/explain/{id}", get(explain))
        .route("/v1/stats", get(stats))
        .route("/v1/events", get(events))
        .route("/v1/audit", get(audit))
        .route("/v1/sessions", get(sessions))
        .route("/v1/volumes/{volume}/policy", get(policy))
        .route("/v1/operations", get(operations))
        .route("/v1/operations/{id}", get(operation))
}

pub(super) fn answer<T>(body: T) -> Answer<T> {
    Ok(Json(Versioned::of(body)))
}

async fn status(State(shared): SharedState) -> Answer<Status> {
    let (daemon, views) = (shared.backend.daemon(), shared.backend.volumes());
    let (reasons, notes) = (health::reasons(&daemon, &views), health::notes(&daemon, &views));
    let volumes = judged(&views, &reasons, daemon.line_bytes);
    let health = health::worst(&reasons, None);
    answer(Status { health, reasons, notes, daemon: view::daemon(&daemon), volumes })
}

async fn volumes(State(shared): SharedState) -> Answer<Volumes> {
    let (daemon, views) = (shared.backend.daemon(), shared.backend.volumes());
    let reasons = health::reasons(&daemon, &views);
    answer(Volumes { volumes: judged(&views, &reasons, daemon.line_bytes) })
}

fn judged(views: &[VolumeView], reasons: &[Reason], line_bytes: u32) -> Vec<Volume> {
    let judge = |one: &VolumeView| view::volume(one, line_bytes, health::worst(reasons, Some(&one.name)));
    views.iter().map(judge).collect()
}

/// Which extents are asked for.
#[derive(Deserialize)]
struct ExtentsQuery {
    state: String,
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

async fn extents(
    State(shared): SharedState,
    Extension(peer): Extension<Peer>,
    Named(name): Named,
    Asked(query): Asked<ExtentsQuery>,
) -> Answer<Extents> {
    let volume = ask::volume(&shared, &name)?;
    let limit = ask::limit(query.limit, EXTENTS_MAX)?;
    let Some(state) = ExtentState::from_name(&query.state) else {
        let known = ExtentState::ALL.map(ExtentState::name).join(", ");
        let message = format!("There is no state '{}'.", query.state);
        return Err(Refusal::bad_request(message, format!("There are: {known}.")));
    };
    let backend = &*shared.backend;
    let unserved = matches!(volume.state, VolumeState::Waiting | VolumeState::Refused);
    let page = if unserved && state == ExtentState::Lost {
        let losses =
            ask::apart(&shared, move |backend| backend.recorded_losses(volume.id, query.from, limit)).await?;
        listing::Page { extents: losses.extents, next: losses.next }
    } else {
        listing::list(backend, volume.id, view::list_state(state), query.from, limit, peer).await?
    };
    let extents = view::extents(backend, &page.extents);
    answer(Extents { volume: volume.name, state, extents, next: page.next })
}

async fn faults(State(shared): SharedState, Named(name): Named) -> Answer<Faults> {
    answer(faults_of(&shared, &ask::volume(&shared, &name)?)?)
}

/// The faults of a volume, as the interface shows them.
pub(super) fn faults_of(shared: &Shared, volume: &VolumeView) -> Result<Faults, Refusal> {
    let whole = |range: ByteRange| range == ByteRange::ALL;
    let shown = |fault: super::FaultView| Fault {
        operation: fault.operation,
        errno: view::errno(fault.errno).name,
        range: (!whole(fault.range))
            .then_some(Range { offset: fault.range.offset, length: fault.range.length }),
        sequence: fault.sequence,
    };
    let faults = shared.backend.faults(volume.id)?.into_iter().map(shown).collect();
    Ok(Faults { volume: volume.name.clone(), faults })
}

/// Which page of extents is asked for.
#[derive(Deserialize)]
struct PageQuery {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

/// How many reports are asked for.
#[derive(Deserialize)]
struct ReportsQuery {
    limit: Option<usize>,
}

/// A front end whose protocol has no place for an id reports all the same: this is where its operator finds it.
async fn reports(State(shared): SharedState, Asked(query): Asked<ReportsQuery>) -> Answer<Reports> {
    let limit = ask::limit(query.limit, REPORTS_MAX)?;
    let found = ask::apart(&shared, move |backend| backend.reports(limit)).await?;
    let report = |one: ReportView| Report {
        id: FailureId(one.id),
        volume: one.volume,
        reported: Time::from_unix_ms(one.reported_unix_ms),
        unresolved: one.unresolved,
    };
    answer(Reports { reports: found.into_iter().map(report).collect() })
}

async fn explain(
    State(shared): SharedState,
    Named(text): Named,
    Asked(query): Asked<PageQuery>,
) -> Answer<Explanation> {
    let limit = ask::limit(query.limit, EXTENTS_MAX)?;
    let id: FailureId = text.parse().map_err(|error| {
        Refusal::bad_request(format!("{error}."), "Copy the id from the error that the client got.")
    })?;
    let backend = &*shared.backend;
    let page = ask::apart(&shared, move |backend| backend.explain(id.0, query.from, limit)).await?;
    let Some(page) = page else {
        let remedy = "'holdfastctl explain' without an id lists them; those of long ago are forgotten.";
        return Err(Refusal::not_found(format!("No failure with the id {id} is on record."), remedy));
    };
    answer(Explanation {
        id,
        volume: page.volume,
        errno: view::errno(page.errno),
        reported: Time::from_unix_ms(page.reported_unix_ms),
        unresolved: page.unresolved,
        extents: view::extents(backend, &page.extents),
        next: page.next,
    })
}

async fn stats(State(shared): SharedState) -> Answer<Stats> {
    let (daemon, views) = (shared.backend.daemon(), shared.backend.volumes());
    let count = |one: &VolumeView| VolumeCount {
        volume: one.name.clone(),
        counters: view::counters(&one.stats, daemon.line_bytes),
    };
    let volumes = views.iter().map(count).collect();
    let reactors = (0..).zip(&daemon.reactors).map(|(number, one)| view::reactor(number, one)).collect();
    let latencies = page_data::latencies_of(&shared, views);
    answer(Stats { at: view::now(), volumes, reactors, latencies })
}

/// Which events are asked for.
#[derive(Deserialize)]
struct EventsQuery {
    /// The newest without it.
    since: Option<u64>,
    limit: Option<usize>,
}

async fn events(State(shared): SharedState, Asked(query): Asked<EventsQuery>) -> Answer<Events> {
    let limit = ask::limit(query.limit, EVENTS_MAX)?;
    let page = ask::apart(&shared, move |backend| backend.events(query.since, limit)).await?;
    let next = page.events.last().map_or(query.since.unwrap_or(0), |event| event.number);
    let EventsPage { events, missed, earlier, later } = page;
    answer(Events { events: events.into_iter().map(view::event).collect(), next, missed, earlier, later })
}

/// Which rows are asked for.
#[derive(Deserialize)]
struct AuditQuery {
    /// The newest without it.
    since: Option<u64>,
    limit: Option<usize>,
}

async fn audit(State(shared): SharedState, Asked(query): Asked<AuditQuery>) -> Answer<Audit> {
    let limit = ask::limit(query.limit, EVENTS_MAX)?;
    let page = ask::apart(&shared, move |backend| backend.audit(query.since, limit)).await?;
    let next = page.rows.last().map_or(query.since.unwrap_or(0), |row| row.number);
    let AuditPage { rows, missed, earlier, later } = page;
    answer(Audit { rows: rows.into_iter().map(view::audit_row).collect(), next, missed, earlier, later })
}

async fn sessions(State(shared): SharedState) -> Answer<Sessions> {
    let sessions = shared.backend.sessions().into_iter().map(view::session).collect();
    answer(Sessions { sessions, sessions_max: shared.backend.daemon().sessions_max })
}

async fn policy(State(shared): SharedState, Named(name): Named) -> Answer<VolumePolicy> {
    let volume = ask::volume(&shared, &name)?;
    let policy = policy::view(&shared.backend.policy(volume.id)?);
    answer(VolumePolicy {
        volume: volume.name,
        policy,
        differences: Vec::new(),
        dry_run: false,
        unconfirmed: None,
    })
}

async fn operations(State(shared): SharedState) -> Answer<Operations> {
    answer(Operations { operations: shared.operations.all(&*shared.backend) })
}

async fn operation(State(shared): SharedState, Named(text): Named) -> Answer<Started> {
    let id = text.parse().map_err(|_| unknown(&text))?;
    let operation = shared.operations.get(&*shared.backend, id).ok_or_else(|| unknown(&text))?;
    answer(Started { operation })
}
