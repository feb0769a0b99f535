//! Shapes of obtaining, refreshing and verifying tokens, and of changing one's own password.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};

/// A password that is compared with one that is there: those of blanks alone were taken once.
const PASSWORD: Text = Text::upto(4096).verbatim();

/// A token, without the line break of the file that it may come from.
const TOKEN: Text = Text::upto(4096);

/// A password that somebody chooses: not blank, and kept with the blanks around it.
pub(super) const NEW_PASSWORD: Text = Text::upto(128).untrimmed();

/// Who wants to log in.
#[derive(ToSchema)]
pub(crate) struct Credentials {
    #[schema(examples("admin"), min_length = 1, max_length = 4096)]
    pub(crate) username: String,
    #[schema(examples("correct horse battery staple"), min_length = 1, max_length = 4096)]
    pub(crate) password: String,
}

impl Credentials {
    /// Reads a body.
    pub(crate) fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let username = fields.text("username", Need::Required, Text::upto(4096));
        let password = fields.text("password", Need::Required, PASSWORD);
        fields.check()?;
        Ok(Self { username: username.unwrap_or_default(), password: password.unwrap_or_default() })
    }
}

/// The token that is to be refreshed.
#[derive(ToSchema)]
pub(crate) struct RefreshToken {
    #[schema(examples("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"), min_length = 1, max_length = 4096)]
    pub(crate) refresh: String,
}

impl RefreshToken {
    /// Reads a body.
    pub(crate) fn read(fields: Fields) -> Result<Self, ApiError> {
        Ok(Self { refresh: read_token(fields, "refresh")? })
    }
}

/// The token, of either kind, that is to be verified.
#[derive(ToSchema)]
pub(crate) struct AnyToken {
    #[schema(examples("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"), min_length = 1, max_length = 4096)]
    pub(crate) token: String,
}

impl AnyToken {
    /// Reads a body.
    pub(crate) fn read(fields: Fields) -> Result<Self, ApiError> {
        Ok(Self { token: read_token(fields, "token")? })
    }
}

fn read_token(mut fields: Fields, field: &'static str) -> Result<String, ApiError> {
    let token = fields.text(field, Need::Required, TOKEN);
    fields.check()?;
    Ok(token.unwrap_or_default())
}

/// One's password, and the one in its place.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `NewPassword` reads field by field")]
pub(crate) struct PasswordFields {
    /// The password until now.
    #[schema(examples("correct horse battery staple"), min_length = 1, max_length = 4096)]
    old_password: String,
    /// Kept exactly, blanks too; stored as a hash, never shown.
    #[schema(examples("another horse, another staple"), min_length = 1, max_length = 128)]
    new_password: String,
}

/// A change of one's own password.
pub(crate) struct NewPassword {
    pub(crate) old: String,
    pub(crate) new: String,
}

impl NewPassword {
    /// Reads a body.
    pub(crate) fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let old = fields.text("old_password", Need::Required, PASSWORD);
        let new = fields.text("new_password", Need::Required, NEW_PASSWORD);
        fields.check()?;
        Ok(Self { old: old.unwrap_or_default(), new: new.unwrap_or_default() })
    }

    /// 400: who asks does not know the password.
    pub(crate) fn wrong_old() -> ApiError {
        let text = "This is not your password.".to_owned();
        ApiError::fields(vec![("old_password", vec![text])])
    }
}

/// The tokens of a login: access for five minutes, and what gets another one for eight hours.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    #[schema(examples("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"))]
    pub(crate) refresh: String,
    #[schema(examples("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"))]
    pub(crate) access: String,
}

/// A fresh access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccessToken {
    #[schema(examples("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"))]
    pub(crate) access: String,
}

/// The answer that a token is good.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verified {}
