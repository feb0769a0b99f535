//! Shapes of obtaining, refreshing and verifying tokens.

use serde::Serialize;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};

/// Letters of a password or token that are looked at.
const SECRET: Text = Text::upto(4096).untrimmed();

/// Who wants to log in.
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Credentials {
    /// Reads a body.
    pub(crate) fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let username = fields.text("username", Need::Required, Text::upto(4096));
        let password = fields.text("password", Need::Required, SECRET);
        fields.check()?;
        Ok(Self {
            username: username.unwrap_or_default(),
            password: password.unwrap_or_default(),
        })
    }
}

/// Reads the token that is to be refreshed.
pub(crate) fn read_refresh(fields: Fields) -> Result<String, ApiError> {
    read_token(fields, "refresh")
}

/// Reads the token that is to be verified.
pub(crate) fn read_verify(fields: Fields) -> Result<String, ApiError> {
    read_token(fields, "token")
}

fn read_token(mut fields: Fields, field: &'static str) -> Result<String, ApiError> {
    let token = fields.text(field, Need::Required, SECRET);
    fields.check()?;
    Ok(token.unwrap_or_default())
}

/// The tokens of a login.
#[derive(Serialize)]
pub(crate) struct Tokens {
    pub(crate) refresh: String,
    pub(crate) access: String,
}

/// A fresh access token.
#[derive(Serialize)]
pub(crate) struct AccessToken {
    pub(crate) access: String,
}

/// The answer that a token is good.
#[derive(Serialize)]
pub(crate) struct Verified {}
