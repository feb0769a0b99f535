//! The audit log: who changed what, when, from where.
//!
//! A page holds at most `limit` entries. It holds fewer, and still says where the next one begins,
//! where a filter wants few of many: the work of one request is bounded. The last page, and only
//! that, has no `next` and no `Link`.

use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use granary_engine::AuditRange;
use granary_engine::model::{AuditEntry, Timestamp};

use super::error::ApiError;
use super::limits::{AUDIT_ENTRIES_DEFAULT, AUDIT_ENTRIES_MAX};
use super::openapi::failures::Restricted;
use super::openapi::parameters::PageOfAudit;
use super::path::parse_pk;
use super::query;
use super::respond::{json_text, long_json};
use super::state::AppState;
use super::wire::audit::AuditShape;
use crate::permission::{Action, Object, Principal, allow};

/// Lists entries of the audit log.
///
/// For administrators. Every change that was answered with success has an entry, which is as durable
/// as the change; so have logins, and refusals of changes and logins as far as they are not too many.
/// Filters are combined; an entry must fit all of them. A page may hold fewer entries than asked for;
/// the last page, and only that, has a `next` of null and no `Link`.
#[utoipa::path(
    get,
    path = "/v1/audit",
    params(PageOfAudit),
    responses(
        (
            status = OK,
            description = "The entries.",
            body = AuditShape,
            headers(("Link" = String, description = "Where the next page is, if there is one.")),
        ),
        Restricted,
    ),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    principal: Principal,
    uri: Uri,
) -> Result<Response, ApiError> {
    drop(allow(&app.snapshot()?, &principal, Action::ReadAudit, Object::Server)?);
    let (wanted, range) = (Wanted::read(&uri)?, range(&uri)?);
    let snapshot = app.snapshot()?;
    let look = move || snapshot.audit(range, |entry| wanted.fits(entry));
    let page = tokio::task::spawn_blocking(look).await.map_err(ApiError::internal)??;
    let link = page.next.map(|next| link(&uri, next));
    let text = json_text(&AuditShape::from(page))?;
    let mut response = long_json(&app, StatusCode::OK, text).await?;
    if let Some(link) = link {
        let link = HeaderValue::try_from(link).map_err(ApiError::internal)?;
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

fn range(uri: &Uri) -> Result<AuditRange, ApiError> {
    let limit = query::number(uri, "limit", 1..=AUDIT_ENTRIES_MAX)?;
    let newest_first = match query::text(uri, "order")?.as_deref() {
        None | Some("newest") => true,
        Some("oldest") => false,
        Some(_) => return Err(query::wrong("order", "Must be newest or oldest.")),
    };
    let limit = limit.unwrap_or(AUDIT_ENTRIES_DEFAULT);
    Ok(AuditRange { after: number(uri, "after")?, newest_first, limit })
}

/// What entries a reader wants.
#[derive(Debug)]
struct Wanted {
    user: Option<u64>,
    username: Option<String>,
    action: Option<String>,
    team: Option<u64>,
    dataset: Option<u64>,
    request: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Wanted {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        Ok(Self {
            user: number(uri, "user")?,
            username: query::text(uri, "username")?,
            action: query::text(uri, "action")?,
            team: number(uri, "team")?,
            dataset: number(uri, "dataset")?,
            request: query::text(uri, "request_id")?,
            since: time(uri, "from")?,
            until: time(uri, "to")?,
        })
    }

    fn fits(&self, entry: &AuditEntry) -> bool {
        let AuditEntry { at, origin, subject, .. } = entry;
        let user = origin.user.as_ref();
        is(self.user.as_ref(), user.map(|(id, _)| &id.0))
            && is(self.username.as_ref(), user.map(|(_, name)| name))
            && is(self.action.as_ref(), Some(&origin.action))
            && is(self.team.as_ref(), subject.team.as_ref().map(|team| &team.0))
            && is(self.dataset.as_ref(), subject.dataset.as_ref().map(|dataset| &dataset.0))
            && is(self.request.as_ref(), Some(&origin.request))
            && self.since.is_none_or(|since| *at >= since)
            && self.until.is_none_or(|until| *at < until)
    }
}

/// Whether something is what is wanted, if anything particular is.
fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none() || wanted == found
}

/// A primary key, or an entry's number.
fn number(uri: &Uri, name: &'static str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query::text(uri, name)? else { return Ok(None) };
    let number = parse_pk(&text).ok_or_else(|| query::wrong(name, "Must be a whole number."))?;
    Ok(Some(number))
}

fn time(uri: &Uri, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
    // A plus is part of an offset here, and no blank.
    let Some(text) = query::text(uri, name)?.map(|text| text.replace(' ', "+")) else {
        return Ok(None);
    };
    let wrong = || query::wrong(name, "Must be a time such as 2027-01-01T00:00:00Z.");
    let time: jiff::Timestamp = text.parse().map_err(|_no_time| wrong())?;
    Ok(Some(Timestamp(time.as_microsecond())))
}

/// Where the next page is, relative to the server: the same query, from another entry on.
fn link(uri: &Uri, next: u64) -> String {
    let is_kept = |pair: &&str| !pair.is_empty() && pair.split('=').next() != Some("after");
    let kept = uri.query().unwrap_or_default().split('&').filter(is_kept);
    let query: Vec<String> = kept.map(str::to_owned).chain([format!("after={next}")]).collect();
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_has_the_same_query_from_another_entry_on() {
        let uri: Uri = "/v1/audit?limit=2&after=9&action=files_add_file".parse().unwrap();
        let expected = "</v1/audit?limit=2&action=files_add_file&after=7>; rel=\"next\"";
        assert_eq!(link(&uri, 7), expected);
        assert_eq!(link(&"/v1/audit".parse().unwrap(), 7), "</v1/audit?after=7>; rel=\"next\"");
    }
}
