//! Quotas of teams: how much their datasets may hold, and what they hold.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use granary_engine::Snapshot;
use granary_engine::model::{Dataset, TeamId, Usage};

use super::body::Incoming;
use super::error::ApiError;
use super::openapi::failures::{FieldsBody, Growing, Guarded};
use super::path;
use super::respond::json;
use super::state::AppState;
use super::wire::quotas::{QuotaFields, QuotaShape, read_quota};
use crate::permission::{Action, Allowed, Object, Principal, allow};

/// Shows how much a team may hold, and what it holds.
///
/// For members and administrators. All datasets of the team count, soft-deleted ones too until they
/// are removed for good; a file counts as often as a dataset names it, whatever is stored once.
#[utoipa::path(
    get,
    path = "/v1/teams/{pk}/quota",
    responses((status = OK, description = "The quota.", body = QuotaShape), Guarded),
)]
pub(crate) async fn retrieve_quota(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (team, _allowed) = open(&app, &principal, Action::RetrieveQuota, &uri)?;
    shown(&app.snapshot()?, team)
}

/// Says how much a team may hold.
///
/// For administrators. What is null or left out has no bound. A team that holds more already keeps
/// it; what would grow it is refused with 507, by uploads, archives, copies and merges, and by
/// moving datasets or projects to it. Changes under way when the quota is set obey it too.
#[utoipa::path(
    put,
    path = "/v1/teams/{pk}/quota",
    request_body = Option<QuotaFields>,
    responses(
        (status = OK, description = "The quota.", body = QuotaShape),
        Guarded, Growing, FieldsBody,
    ),
)]
pub(crate) async fn update_quota(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let (team, allowed) = open(&app, &principal, Action::SetQuota, &uri)?;
    let quota = read_quota(incoming.fields(&app).await?)?;
    app.engine(&allowed)?.set_quota(team, quota).await?;
    shown(&app.snapshot()?, team)
}

fn open(
    app: &AppState,
    principal: &Principal,
    action: Action,
    uri: &Uri,
) -> Result<(TeamId, Allowed), ApiError> {
    let snapshot = app.snapshot()?;
    let team = snapshot.team(path::team(uri)?)?.ok_or_else(|| ApiError::no_record("Team"))?;
    let allowed = allow(&snapshot, principal, action, Object::Team(team.id))?;
    Ok((team.id, allowed))
}

fn shown(snapshot: &Snapshot, team: TeamId) -> Result<Response, ApiError> {
    json(StatusCode::OK, &QuotaShape::of(snapshot.team_quota(team)?, snapshot.team_usage(team)?))
}

/// Refuses a body before it is read if its team has no room for it; what has no length, or packs
/// more than it weighs, is refused when it has come.
pub(super) fn expect_room(
    snapshot: &Snapshot,
    dataset: &Dataset,
    length: Option<u64>,
) -> Result<(), ApiError> {
    let added = Usage { files: 1, bytes: length.unwrap_or_default() };
    Ok(snapshot.expect_room(dataset.project, added)?)
}

/// As [`expect_room`], for a body that may take the place of a file.
pub(super) fn expect_room_to_replace(
    snapshot: &Snapshot,
    dataset: &Dataset,
    filename: &str,
    length: Option<u64>,
) -> Result<(), ApiError> {
    let length = length.unwrap_or_default();
    let added = match snapshot.file(dataset, filename)? {
        Some(before) => Usage { files: 0, bytes: length.saturating_sub(before.length) },
        None => Usage { files: 1, bytes: length },
    };
    Ok(snapshot.expect_room(dataset.project, added)?)
}
