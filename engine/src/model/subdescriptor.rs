//! What a licence says in single words: permissions, conditions, limitations, domains.
//!
//! Each word is a record with a primary key, unique by name among those of its kind, and never
//! renamed or removed; so a licence's row may hold the names themselves.

use serde::{Deserialize, Serialize};

use super::{Licence, SubdescriptorId};

/// What a subdescriptor says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SubdescriptorKind {
    Permission,
    Condition,
    Limitation,
    Domain,
}

impl SubdescriptorKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Permission, Self::Condition, Self::Limitation, Self::Domain];

    /// The kind in keys of the index; stores hold these numbers.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Permission => 0,
            Self::Condition => 1,
            Self::Limitation => 2,
            Self::Domain => 3,
        }
    }

    /// The kind's name, which its primary keys are counted under too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Condition => "condition",
            Self::Limitation => "limitation",
            Self::Domain => "domain",
        }
    }
}

impl std::fmt::Display for SubdescriptorKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Names a subdescriptor of a known kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubdescriptorRef {
    /// By its name; adding makes one that is not there.
    Name(String),
    /// By its primary key.
    Id(SubdescriptorId),
}

/// What becomes of the named subdescriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubdescriptorEdit {
    /// The licence has them too; those that it has stay where they are.
    Add,
    /// The licence has them no longer.
    Remove,
}

impl Licence {
    /// The names of one kind, in the order in which they were added.
    pub fn subdescriptors(&self, kind: SubdescriptorKind) -> &[String] {
        match kind {
            SubdescriptorKind::Permission => &self.permissions,
            SubdescriptorKind::Condition => &self.conditions,
            SubdescriptorKind::Limitation => &self.limitations,
            SubdescriptorKind::Domain => &self.domains,
        }
    }

    /// As [`Self::subdescriptors`], to be changed.
    pub(crate) fn subdescriptors_mut(&mut self, kind: SubdescriptorKind) -> &mut Vec<String> {
        match kind {
            SubdescriptorKind::Permission => &mut self.permissions,
            SubdescriptorKind::Condition => &mut self.conditions,
            SubdescriptorKind::Limitation => &mut self.limitations,
            SubdescriptorKind::Domain => &mut self.domains,
        }
    }
}
