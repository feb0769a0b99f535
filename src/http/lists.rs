//! All lists: one path from a filter and a page to rows, whatever is listed.
//!
//! Rows that the caller may not retrieve do not exist here: they are dropped before the filter
//! looks at them. Where no order is asked for, rows are read in order of primary key from the
//! cursor on, and reading stops behind the page. Where one is, keys are sorted in bounded memory
//! and the rows are read again one by one. A list is of one state of the store (I8), unless it
//! takes longer than `LIST_STATE_TIME_MAX`; see [`View`].

mod cursor;

mod resource;

mod sorting;

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use granary_engine::Snapshot;

use super::body::{Incoming, Json};
use super::error::ApiError;
use super::limits::LIST_STATE_TIME_MAX;
use super::respond::{Rows, spooled_with};
use super::state::AppState;
use super::waiting::{Waiting, Watched};
use super::wire::list::ListRequest;
use crate::filter::{Scope, pk_of};
use crate::permission::{Object, Principal, allow};
pub(crate) use cursor::Cursor;
use resource::Resource;
pub(crate) use resource::{Datasets, Licences, Nodes, Projects, Teams, Users};
use sorting::Sorting;

/// Answers with a list of any kind of thing.
pub(crate) async fn list<R: Resource>(
    app: AppState,
    principal: Principal,
    uri: Uri,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    let allowed = allow(&app.snapshot()?, &principal, R::ACTION, Object::Server)?;
    let Json { value, text_bytes, turn: large } = incoming.json(&app).await?;
    let request = ListRequest::read(value, &uri, R::KIND)?;
    // What is left of the body: texts that it had, of which no change makes more.
    let large = large.map(|memory| AppState::shrunk_memory(memory, text_bytes));
    app.expect_still(&allowed)?;
    let principal = app.renewed(&principal)?;
    let turn = if request.filter.is_ordered() { Some(app.sorted_list_turn().await?) } else { None };
    let next = Next::of(&uri, &request);
    let state = app.clone();
    let caller = Waiting::default();
    let watched = caller.watch();
    let (mut response, place) = spooled_with(&app, StatusCode::OK, move |out| {
        // Held by the work itself, which goes on for a row if the caller goes away.
        let _turns = (turn, large);
        let view = View::take(state, &principal, watched, LIST_STATE_TIME_MAX)?;
        write::<R>(view, &request, out)
    })
    .await?;
    if let Some(place) = place {
        let link = HeaderValue::try_from(next.link(&place)).map_err(ApiError::internal)?;
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// Where the next page is.
struct Next {
    path: String,
    rows: Option<usize>,
    with_files: bool,
    order: String,
}

impl Next {
    fn of(uri: &Uri, request: &ListRequest) -> Self {
        Self {
            path: uri.path().to_owned(),
            rows: request.rows,
            with_files: request.with_files,
            order: request.filter.order_name(),
        }
    }

    fn link(&self, place: &[u8]) -> String {
        let Self { path, order, .. } = self;
        let files = if self.with_files { "" } else { "files=false&" };
        let rows = self.rows.unwrap_or_default();
        let after = Cursor::of(place).encode(order);
        format!("<{path}?{files}limit={rows}&after={after}>; rel=\"next\"")
    }
}

/// One caller's view of the store: a state that is exchanged for a later one when it has been held
/// for long, between two rows, so that each row is of one state (I8) and old pages of the index
/// become free again.
struct View {
    app: AppState,
    principal: Principal,
    caller: Watched,
    snapshot: Snapshot,
    held_since: Instant,
    held_max: Duration,
    /// How often the state was exchanged.
    exchanges: u64,
    /// Times of logins and the like are those of the state's beginning.
    holds_times: bool,
}

impl View {
    fn take(
        app: AppState,
        principal: &Principal,
        caller: Watched,
        held_max: Duration,
    ) -> Result<Self, ApiError> {
        // A turn may have been waited for.
        let principal = app.renewed(principal)?;
        let snapshot = app.snapshot()?;
        let held_since = Instant::now();
        let (exchanges, holds_times) = (0, false);
        Ok(Self { app, principal, caller, snapshot, held_since, held_max, exchanges, holds_times })
    }

    /// Shows times of logins and the like as they are now, though they go on: rows are read twice.
    fn hold_times(&mut self) {
        self.snapshot.hold_times();
        self.holds_times = true;
    }

    fn is_old(&self) -> bool {
        self.held_since.elapsed() >= self.held_max
    }

    /// Goes on with the store as it is now, and with the caller as they are.
    fn exchange(&mut self) -> Result<(), ApiError> {
        self.principal = self.app.renewed(&self.principal)?;
        self.snapshot = self.app.snapshot()?;
        if self.holds_times {
            self.hold_times();
        }
        self.held_since = Instant::now();
        self.exchanges += 1;
        Ok(())
    }

    /// Visits the rows that are asked for in order of primary key, until told to stop.
    fn visit<R: Resource>(
        &mut self,
        request: &ListRequest,
        mut from: u64,
        mut visit: impl FnMut(&mut Scope<'_>, &R::Row) -> Result<ControlFlow<()>, ApiError>,
    ) -> Result<(), ApiError> {
        loop {
            let mut scope = Scope::of(&self.snapshot, &self.principal);
            let mut behind = None;
            for row in R::rows_from(&self.snapshot, from)? {
                self.caller.expect_waits()?;
                let row = row?;
                if admits::<R>(request, &mut scope, &row)? && visit(&mut scope, &row)?.is_break() {
                    return Ok(());
                }
                if self.is_old() {
                    behind = R::pk(&row).checked_add(1);
                    break;
                }
            }
            match behind {
                None => return Ok(()),
                Some(next) => {
                    from = next;
                    self.exchange()?;
                }
            }
        }
    }
}

/// Whether the caller may see a row, and wants to. In this order: what may not be seen is not
/// looked at.
fn admits<R: Resource>(
    request: &ListRequest,
    scope: &mut Scope<'_>,
    row: &R::Row,
) -> Result<bool, ApiError> {
    let filter = &request.filter;
    Ok((filter.include_inactive || R::is_active(row))
        && R::may_be_seen(&mut scope.rights, row)?
        && filter.wants(scope, &R::record(row))?)
}

/// Writes a list, or a page of it; gives the place of the last row if there are more.
fn write<R: Resource>(
    view: View,
    request: &ListRequest,
    out: &mut dyn Write,
) -> Result<Option<Vec<u8>>, ApiError> {
    let mut rows = Rows::begin(out);
    let next = if request.filter.is_ordered() {
        write_sorted::<R>(view, request, &mut rows)?
    } else {
        write_in_order_of_pk::<R>(view, request, &mut rows)?
    };
    rows.end()?;
    Ok(next)
}

fn write_in_order_of_pk<R: Resource>(
    mut view: View,
    request: &ListRequest,
    rows: &mut Rows<'_>,
) -> Result<Option<Vec<u8>>, ApiError> {
    // No row has the largest number as its key, so nothing is behind it.
    let from = request.after.as_deref().and_then(pk_of).map_or(0, |pk| pk.saturating_add(1));
    let (mut written, mut last, mut more) = (0, 0, false);
    view.visit::<R>(request, from, |scope, row| {
        if request.rows == Some(written) {
            more = true;
            return Ok(ControlFlow::Break(()));
        }
        R::write(rows.next()?, scope.snapshot, row, request.with_files)?;
        (written, last) = (written + 1, R::pk(row));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(more.then(|| last.to_be_bytes().to_vec()))
}

fn write_sorted<R: Resource>(
    mut view: View,
    request: &ListRequest,
    rows: &mut Rows<'_>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let (places, more) = sort::<R>(&mut view, request)?;
    let last = places.last().cloned().filter(|_| more);
    write_places::<R>(view, request, places, rows)?;
    Ok(last)
}

/// The places of the rows that are asked for, and whether there are more.
fn sort<R: Resource>(
    view: &mut View,
    request: &ListRequest,
) -> Result<(Vec<Vec<u8>>, bool), ApiError> {
    view.hold_times();
    let mut sorting = Sorting::new(request.rows, request.after.as_deref());
    view.visit::<R>(request, 0, |scope, row| {
        sorting.take(request.filter.place(scope, &R::record(row), R::pk(row))?)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sorting.finish())
}

fn write_places<R: Resource>(
    mut view: View,
    request: &ListRequest,
    places: Vec<Vec<u8>>,
    rows: &mut Rows<'_>,
) -> Result<(), ApiError> {
    let mut places = places.into_iter();
    loop {
        let mut scope = Scope::of(&view.snapshot, &view.principal);
        let mut is_old = false;
        for place in places.by_ref() {
            view.caller.expect_waits()?;
            let row = pk_of(&place).map(|pk| R::row(&view.snapshot, pk)).transpose()?.flatten();
            // A row may have gone from a later state than that in which it was sorted in, or from the
            // caller's sight.
            if let Some(row) = row
                && (view.exchanges == 0 || admits::<R>(request, &mut scope, &row)?)
            {
                R::write(rows.next()?, &view.snapshot, &row, request.with_files)?;
            }
            is_old = view.is_old();
            if is_old {
                break;
            }
        }
        if !is_old {
            return Ok(());
        }
        view.exchange()?;
    }
}

#[cfg(test)]
mod tests;
