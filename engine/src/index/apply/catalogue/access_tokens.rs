//! Access tokens.

use super::super::{Applied, Group, Stop};
use crate::error::{MutationError, RecordKind};
use crate::index::{holdings, tables};
use crate::limits::ACCESS_TOKENS_MAX;
use crate::model::{AccessToken, AccessTokenId, NewAccessToken, TeamId, Timestamp, UserId};

impl Group<'_> {
    pub(super) fn create_access_token(
        &mut self,
        new: &NewAccessToken,
        at: Timestamp,
    ) -> Result<Applied, Stop> {
        self.expect_ground(new.user, new.team)?;
        let NewAccessToken { name, user, team, level, secret_hash, expiry_time } = new.clone();
        let own = holdings::all_of(self.txn, tables::USER_ACCESS_TOKENS, user.0)?;
        if own.len() >= ACCESS_TOKENS_MAX {
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
        holdings::enter_access_token(self.txn, &token)?;
        Ok(Applied::AccessToken(Box::new(token)))
    }

    /// That the user may have a token for the team: whatever takes that away also takes the tokens that
    /// are there, so none may come after.
    fn expect_ground(&self, user: UserId, team: TeamId) -> Result<(), Stop> {
        let found = self.user(user)?;
        self.active_team(team)?;
        if !found.is_active {
            return Err(MutationError::UserNotFound { user }.into());
        }
        if !found.is_staff {
            self.present_member(team, user)?;
        }
        Ok(())
    }

    pub(super) fn revoke_access_token(&mut self, id: AccessTokenId) -> Result<Applied, Stop> {
        let token = self.expect_record(tables::ACCESS_TOKENS, RecordKind::AccessToken, id.0)?;
        self.remove_record(tables::ACCESS_TOKENS, id.0)?;
        holdings::leave_access_token(self.txn, &token)?;
        Ok(Applied::AccessToken(Box::new(token)))
    }

    /// Ends those of a user, in one team or in all, from whom the ground for them is taken, so that they
    /// do not come back with it.
    pub(super) fn revoke_access_tokens_of_user(
        &mut self,
        user: UserId,
        team: Option<TeamId>,
    ) -> Result<(), Stop> {
        for id in holdings::all_of(self.txn, tables::USER_ACCESS_TOKENS, user.0)? {
            let token: Option<AccessToken> = self.record(tables::ACCESS_TOKENS, id)?;
            if token.is_some_and(|token| team.is_none_or(|team| token.team == team)) {
                self.revoke_access_token(AccessTokenId(id))?;
            }
        }
        Ok(())
    }

    /// Ends those of a user who is an administrator no longer, for teams that need one to be that or a
    /// member.
    pub(super) fn revoke_access_tokens_beyond_memberships(
        &mut self,
        user: UserId,
    ) -> Result<(), Stop> {
        for id in holdings::all_of(self.txn, tables::USER_ACCESS_TOKENS, user.0)? {
            let token: Option<AccessToken> = self.record(tables::ACCESS_TOKENS, id)?;
            let Some(token) = token else { continue };
            if !self.is_present_member(token.team, user)? {
                self.revoke_access_token(token.id)?;
            }
        }
        Ok(())
    }

    /// Those for a team end with it, administrators' who are no members of it as well.
    pub(super) fn revoke_access_tokens_of_team(&mut self, team: TeamId) -> Result<(), Stop> {
        for id in holdings::all_of(self.txn, tables::TEAM_ACCESS_TOKENS, team.0)? {
            self.revoke_access_token(AccessTokenId(id))?;
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
