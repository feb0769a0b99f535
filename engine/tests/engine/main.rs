//! The engine from outside: what it promises its callers.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

/// Datasets and files through one engine, and through its next opening.
mod basics;

/// Users, teams, projects, licences and nodes.
mod catalogue;

/// Who changed what.
mod audit;

/// What the audit log must tell.
mod told;

/// What is reclaimed beside the changes.
mod background;

/// What is folded and swept beside the changes.
mod stacks;

/// What is moved beside the changes.
mod compaction;

/// What takes the space, and what is given back to who asks for it.
mod space;

/// Stores and backups of earlier versions.
mod formats;

/// Many clients at once.
mod concurrency;

/// Archives that come in beside other clients.
mod intakes;

/// Disks that fail, stores that are damaged, actors that panic.
mod faults;

/// Disks that are full.
mod full_disk;

/// More than a disk keeps up with.
mod overload;

/// What changes in flight refuse.
mod refusals;

/// Contents that rot: found, kept apart, healed.
mod rot;

/// Power cuts at every operation of the disk.
mod crash;

/// Faults of the disk and power cuts, each from one seed.
mod storms;

/// Random operations against plain maps.
mod model;

/// Sequences of steps on an engine and on the reference.
mod sequence;

/// Workloads on a disk that stops.
mod power_cut;

/// The seeds of the fuzz targets.
mod seeds;

/// The reference's operations on an engine.
mod driver;

/// The store as plain maps.
mod reference;

/// Changes of the records around datasets, one of each kind.
mod records;

/// What tests need before they can begin.
mod support;
