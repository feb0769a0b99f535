//! What a list is asked for: the filter in the body, the page in the query.

use axum::http::Uri;
use serde_json::Value;

use super::filter::read_filter;
use crate::filter::{Filter, Kind};
use crate::http::error::ApiError;
use crate::http::limits::PAGE_ROWS_MAX;
use crate::http::lists::Cursor;
use crate::http::query;

/// What a list shows.
#[derive(Debug)]
pub(crate) struct ListRequest {
    pub(crate) filter: Filter,
    /// Rows at most; all if the caller reads no pages.
    pub(crate) rows: Option<usize>,
    /// The place in the order behind which the page begins.
    pub(crate) after: Option<Vec<u8>>,
    /// Whether datasets are to have the map of their files; `?files=false` leaves it out.
    pub(crate) with_files: bool,
}

impl ListRequest {
    /// Reads a body and a query for a list of this kind.
    pub(crate) fn read(body: Value, uri: &Uri, kind: Kind) -> Result<Self, ApiError> {
        let filter = Filter::compile(&read_filter(body)?, kind);
        let filter = filter.map_err(|error| ApiError::bad_request(error.to_string()))?;
        let rows = query::number(uri, "limit", 1..=PAGE_ROWS_MAX)?;
        let after = query::text(uri, "after")?;
        if after.is_some() && rows.is_none() {
            return Err(query::wrong("after", "Goes with 'limit', the rows of a page."));
        }
        let after = after.map(|text| place(&text, &filter)).transpose()?;
        let with_files = query::with_files(uri)?;
        Ok(Self { filter, rows, after, with_files })
    }
}

fn place(text: &str, filter: &Filter) -> Result<Vec<u8>, ApiError> {
    let cursor = Cursor::decode(text, &filter.order_name());
    let cursor = cursor.ok_or_else(|| {
        query::wrong(
            "after",
            "Must be a cursor from the Link header of a page of this list with the same \
             'order_by'.",
        )
    })?;
    Ok(cursor.into_place())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(query: &str) -> Result<ListRequest, ApiError> {
        let uri = format!("/v1/datasets/list{query}").parse().unwrap();
        ListRequest::read(json!({}), &uri, Kind::Dataset)
    }

    #[test]
    fn a_page_has_from_one_to_ten_thousand_rows() {
        for (query, expected) in [
            ("", None),
            ("?files=false", None),
            ("?limit=1", Some(1)),
            ("?files=false&limit=10000", Some(10_000)),
        ] {
            assert_eq!(read(query).unwrap().rows, expected, "{query}");
        }
        for query in [
            "?limit=0",
            "?limit=10001",
            "?limit=-1",
            "?limit=",
            "?limit=x",
            "?limit=99999999999999999999",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_cursor_goes_with_a_limit() {
        let cursor = Cursor::of(&7_u64.to_be_bytes()).encode("Dataset");
        let request = read(&format!("?limit=2&after={cursor}")).unwrap();
        assert_eq!(request.after.as_deref(), Some(&7_u64.to_be_bytes()[..]));
        assert!(read(&format!("?after={cursor}")).is_err());
        assert!(read("?limit=2&after=x").is_err());
        assert!(read("?limit=2&after=").is_err());
    }
}
