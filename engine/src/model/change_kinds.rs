//! Names of all kinds of changes, so that tests can prove that a workload leaves none out.

use super::change::{CatalogueChange, Change, SetPurpose};

/// Gives a name to each variant, and all names. A variant that is not listed does not compile.
macro_rules! kinds {
    ($type:ident, $prefix:literal, [$($variant:ident),* $(,)?]) => {
        impl $type {
            /// Names of all kinds.
            #[cfg(feature = "simulation")]
            pub(crate) const KINDS: &[&str] = &[$(concat!($prefix, stringify!($variant))),*];

            fn own_kind(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => concat!($prefix, stringify!($variant)),)*
                }
            }
        }
    };
}

kinds!(
    Change,
    "",
    [
        AddFiles,
        DeleteFile,
        SetMetadata,
        ClearDataset,
        CreateDataset,
        UpdateDataset,
        DestroyDataset,
        ReinstateDataset,
        HardDeleteDataset,
        CopyDataset,
        CopyFiles,
        MergeShared,
        MergeFiles,
        StageFiles,
        CommitSet,
        AbortSet,
        Relocate,
        Catalogue,
        DeleteFiles,
        SetManyMetadata,
        RenameFile,
        PurgeDataset,
        StageDeletions,
        StageMetadata,
        ReplaceFile,
        SetMetadataIf,
        Witness,
        MergeLayers,
    ]
);

kinds!(SetPurpose, "CommitSet ", [AddFiles, Merge, Copy, DeleteFiles, SetMetadata, MergeLayers]);

kinds!(
    CatalogueChange,
    "Catalogue ",
    [
        CreateUser,
        SetPassword,
        CreateTeam,
        AddMember,
        CreateProject,
        CreateLicence,
        CreateNode,
        Touch,
        UpdateUser,
        UpdateTeam,
        DestroyTeam,
        ReinstateTeam,
        HardDeleteTeam,
        UpdateMember,
        RemoveMember,
        UpdateProject,
        DestroyProject,
        ReinstateProject,
        HardDeleteProject,
        UpdateLicence,
        EditSubdescriptors,
        DeleteLicence,
        UpdateNode,
        DeleteNode,
        CreateAccessToken,
        RevokeAccessToken,
        TouchAccessTokens,
        SetQuota,
    ]
);

impl Change {
    /// The change's kind, that of what it contains where it contains one.
    pub(crate) fn kind(&self) -> &'static str {
        if let Self::Catalogue(change) = self {
            change.own_kind()
        } else if let Self::CommitSet { purpose, .. } = self {
            purpose.own_kind()
        } else {
            self.own_kind()
        }
    }

    /// What [`Change::kind`] may give.
    #[cfg(feature = "simulation")]
    pub(crate) fn all_kinds() -> impl Iterator<Item = &'static str> {
        let containers = ["Catalogue", "CommitSet"];
        let own = Self::KINDS.iter().copied().filter(move |kind| !containers.contains(kind));
        own.chain(SetPurpose::KINDS.iter().copied()).chain(CatalogueChange::KINDS.iter().copied())
    }
}
