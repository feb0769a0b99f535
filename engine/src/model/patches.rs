//! Field by field changes of the records around datasets; `None` leaves a field as it is.

use serde::{Deserialize, Serialize};

use super::TeamId;

/// Change of a user; the rest of a user is not for callers to set.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `User`")]
pub struct UserPatch {
    pub username: Option<String>,
    pub password_hash: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub email: Option<String>,
    pub is_staff: Option<bool>,
    pub is_active: Option<bool>,
}

impl std::fmt::Debug for UserPatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As for `User`: no hash and no details in any log.
        formatter
            .debug_struct("UserPatch")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Change of a team.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Team`")]
pub struct TeamPatch {
    pub name: Option<String>,
}

/// Change of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Project`")]
pub struct ProjectPatch {
    pub name: Option<String>,
    pub team: Option<TeamId>,
}

/// Change of a licence; its subdescriptors have a change of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Licence`")]
pub struct LicencePatch {
    pub name: Option<String>,
    pub url: Option<String>,
}

/// Change of a node; `Some(None)` empties a field that may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `Node`")]
pub struct NodePatch {
    pub ip: Option<String>,
    pub index: Option<i64>,
    pub driver_version: Option<Option<String>>,
    pub hardware_generation: Option<Option<i64>>,
    pub gpu_mem: Option<Option<i64>>,
    pub cpu_mem: Option<i64>,
}
