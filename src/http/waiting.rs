//! Work on the blocking pool that ends when nobody waits for it.

use std::sync::{Arc, Weak};

use super::error::ApiError;

/// Somebody who waits for an answer; dropped with the request when it is answered or the connection ends.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Arc<()>);

/// Tells the work whether its caller waits still.
#[derive(Debug)]
pub(crate) struct Watched(Weak<()>);

impl Waiting {
    pub(crate) fn watch(&self) -> Watched {
        Watched(Arc::downgrade(&self.0))
    }
}

impl Watched {
    /// Ends work that nobody waits for.
    pub(crate) fn expect_waits(&self) -> Result<(), ApiError> {
        if self.0.strong_count() > 0 {
            return Ok(());
        }
        Err(ApiError::unavailable("The caller has gone."))
    }
}
