//! Access tokens: what a program proves with that it may act for a user, in one team.

use serde::{Deserialize, Serialize};

use super::{AccessTokenId, PermissionLevel, TeamId, Timestamp, UserId};

/// A token, without the secret that it is proved by.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct AccessToken {
    pub id: AccessTokenId,
    /// What its owner calls it; not unique.
    pub name: String,
    /// Whoever shows it acts for this user.
    pub user: UserId,
    /// The one team in which it is good.
    pub team: TeamId,
    /// What it is good for there, as far as the user may do it too.
    pub level: PermissionLevel,
    /// SHA-256 of the secret, which nobody keeps; a secret is random and long, so a fast hash of it
    /// is as good as a slow one.
    pub secret_hash: [u8; 32],
    pub creation_time: Timestamp,
    /// From then on it is good for nothing.
    pub expiry_time: Option<Timestamp>,
    pub last_use: Option<Timestamp>,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = formatter.debug_struct("AccessToken");
        text.field("id", &self.id).field("user", &self.user).field("team", &self.team);
        text.field("level", &self.level).finish_non_exhaustive()
    }
}

impl AccessToken {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expiry_time.is_some_and(|expiry| expiry <= now)
    }
}

/// What a caller gives to make a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `AccessToken`")]
pub struct NewAccessToken {
    pub name: String,
    pub user: UserId,
    pub team: TeamId,
    pub level: PermissionLevel,
    pub secret_hash: [u8; 32],
    pub expiry_time: Option<Timestamp>,
}

impl std::fmt::Debug for NewAccessToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = formatter.debug_struct("NewAccessToken");
        text.field("user", &self.user).field("team", &self.team).finish_non_exhaustive()
    }
}
