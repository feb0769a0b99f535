//! Access tokens.

use redb::ReadableTable;

use super::super::{Applied, Group, Stop};
use crate::codec;
use crate::error::{MutationError, RecordKind};
use crate::index::{IndexError, tables};
use crate::limits::ACCESS_TOKENS_MAX;
use crate::model::{AccessToken, AccessTokenId, NewAccessToken, TeamId, Timestamp};

impl Group<'_> {
    pub(super) fn create_access_token(
        &mut self,
        new: &NewAccessToken,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        self.user(new.user)?;
        self.active_team(new.team)?;
        let NewAccessToken { name, user, team, level, secret_hash, expiry_time } = new.clone();
        if self.access_tokens(|token| token.user == user)?.len() >= ACCESS_TOKENS_MAX {
            let (what, limit) = ("access tokens of one user", ACCESS_TOKENS_MAX);
            return Err(MutationError::TooMany { what, limit }.into());
        }
        let id = AccessTokenId(self.next_number("access token")?);
        let token = AccessToken {
            id,
            name,
            user,
            team,
            level,
            secret_hash,
            creation_time: at,
            expiry_time,
            last_use: None,
        };
        self.put_record(tables::ACCESS_TOKENS, id.0, &token)?;
        Ok(Applied::AccessToken(Box::new(token)))
    }

    /// Visits all tokens, of which there are few: making one is rare, and so is a team's end.
    fn access_tokens(
        &self,
        wanted: impl Fn(&AccessToken) -> bool,
    ) -> Result<Vec<AccessTokenId>, IndexError> {
        let mut found = Vec::new();
        for row in self.txn.open_table(tables::ACCESS_TOKENS)?.iter()? {
            let token: AccessToken = codec::decode(row?.1.value())?;
            if wanted(&token) {
                found.push(token.id);
            }
        }
        Ok(found)
    }

    pub(super) fn revoke_access_token(&mut self, id: AccessTokenId) -> Result<Applied, Stop> {
        let token = self.expect_record(tables::ACCESS_TOKENS, RecordKind::AccessToken, id.0)?;
        self.remove_record(tables::ACCESS_TOKENS, id.0)?;
        Ok(Applied::AccessToken(Box::new(token)))
    }

    /// Those of a team that is removed for good are good for nothing.
    pub(super) fn revoke_access_tokens_of(&mut self, team: TeamId) -> Result<(), Stop> {
        for id in self.access_tokens(|token| token.team == team)? {
            self.remove_record(tables::ACCESS_TOKENS, id.0)?;
        }
        Ok(())
    }

    /// Writes what was remembered in memory; tokens that have gone since are passed over.
    pub(super) fn touch_access_tokens(
        &mut self,
        uses: &[(AccessTokenId, Timestamp)],
    ) -> Result<Applied, Stop> {
        for (id, at) in uses {
            if let Some(mut token) = self.record::<AccessToken>(tables::ACCESS_TOKENS, id.0)? {
                token.last_use = token.last_use.max(Some(*at));
                self.put_record(tables::ACCESS_TOKENS, id.0, &token)?;
            }
        }
        Ok(Applied::Done)
    }
}
