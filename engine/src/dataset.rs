//! What one dataset's actor promises: its mutations take effect in mailbox order, each planned on
//! the state that its predecessors leave (I5).
//!
//! The actor plans on what is committed plus what is in flight, hands the change to the committer
//! and returns a ticket at once; whoever asked awaits it. So a hot dataset is not limited to one
//! change a sync, and an actor that dies takes no answer with it.

pub(crate) mod actor;

mod committed;

mod free_names;

pub(crate) mod message;

mod overlay;

mod plan;

pub(crate) mod planner;

pub(crate) use committed::plan_free_names;
pub(crate) use free_names::{FreeNames, Standing};
