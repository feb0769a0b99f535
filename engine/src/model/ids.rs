//! Numbers that name things, one type for each kind, so that no two can be confused.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

id! {
    /// Primary key of a dataset; never used twice.
    DatasetId
}
id! {
    /// Primary key of a project; never used twice.
    ProjectId
}
id! {
    /// Primary key of a team; never used twice.
    TeamId
}
id! {
    /// Primary key of a user; never used twice.
    UserId
}
id! {
    /// Primary key of a licence; never used twice.
    LicenceId
}
id! {
    /// Primary key of a licence's subdescriptor among those of its kind; never used twice.
    SubdescriptorId
}
id! {
    /// Primary key of a node; never used twice.
    NodeId
}
id! {
    /// Primary key of an access token; never used twice.
    AccessTokenId
}
id! {
    /// One layer of a dataset's file tree.
    LayerId
}
id! {
    /// Place of a change in the one order of all changes; the first is 1.
    Sequence
}
id! {
    /// A large change set that travels in parts; unique in the store.
    SetId
}

impl Sequence {
    /// Before every change.
    pub const ZERO: Self = Self(0);

    /// The sequence after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl SetId {
    /// The n-th set of uploaded files of a process.
    pub(crate) fn of_upload(start: u64, number: u64) -> Self {
        Self(start << 32 | number << 1)
    }

    /// The n-th fold of a process.
    pub(crate) fn of_fold(start: u64, number: u64) -> Self {
        Self(start << 32 | number << 1 | 1)
    }
}
