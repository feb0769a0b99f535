//! What the fuzz targets do with their bytes.
//!
//! Each module has one function, `run`, that panics where a promise is broken. The tests of the
//! engine and of the server replay `seeds/` through the same functions, so that neither rots.

pub mod codec;

pub mod filename;

pub mod filter;

pub mod intake;

pub mod journal;

pub mod operations;

pub mod server;

pub mod upload;

#[path = "../../engine/tests/engine/driver.rs"]
pub mod driver;

#[path = "../../engine/tests/engine/records.rs"]
pub mod records;

#[path = "../../engine/tests/engine/reference.rs"]
pub mod reference;

#[path = "../../engine/tests/engine/support.rs"]
pub mod support;

#[path = "../../engine/tests/engine/told.rs"]
pub mod told;
