//! Shapes of access tokens.

use granary_engine::model::{AccessToken, PermissionLevel, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::Time;
use super::catalogue::Level;
use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};

/// What an owner calls a token.
const NAME: Text = Text::upto(200);

/// Letters of a point in time that are looked at.
const TIME: Text = Text::upto(64);

/// An access token.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessToken)]
pub(crate) struct AccessTokenShape {
    #[schema(examples(12))]
    pk: u64,
    #[schema(examples("nightly upload"))]
    name: String,
    /// The primary key of the user for whom it acts.
    #[schema(examples(2))]
    user: u64,
    /// The primary key of the team in which it is good.
    #[schema(examples(1))]
    team: u64,
    permissions: Level,
    creation_time: Time,
    /// When it ends; null if it has no end.
    #[schema(required = true)]
    expiry_time: Option<Time>,
    /// When it was last shown, to within a minute; null if it never was.
    #[schema(required = true)]
    last_use: Option<Time>,
    /// What proves it, in the answer to its making and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        required = false,
        value_type = String,
        pattern = "^granary_[0-9]+_[0-9a-f]{48}$",
        examples("granary_12_000102030405060708090a0b0c0d0e0f10111213dc8b1fd7")
    )]
    token: Option<String>,
}

impl AccessTokenShape {
    /// A new token, with its text.
    pub(crate) fn new(token: &AccessToken, text: String) -> Self {
        Self { token: Some(text), ..token.into() }
    }
}

impl From<&AccessToken> for AccessTokenShape {
    fn from(token: &AccessToken) -> Self {
        Self {
            pk: token.id.0,
            name: token.name.clone(),
            user: token.user.0,
            team: token.team.0,
            permissions: token.level.into(),
            creation_time: Time(token.creation_time),
            expiry_time: token.expiry_time.map(Time),
            last_use: token.last_use.map(Time),
            token: None,
        }
    }
}

/// The fields of a new access token.
#[derive(ToSchema)]
#[schema(as = AccessTokenFields)]
#[expect(dead_code, reason = "describes what `AccessTokenBody` reads")]
pub(crate) struct AccessTokenFields {
    /// What it is for. Blanks at both ends are cut.
    #[schema(min_length = 1, max_length = 200, examples("nightly upload"))]
    name: String,
    /// The primary key of the team in which it is good.
    #[schema(examples(1))]
    team: u64,
    permissions: TokenLevel,
    /// When it ends, RFC 3339, with an offset; null or left out, it has no end.
    #[schema(required = false, value_type = Option<String>, format = DateTime, examples("2027-01-01T00:00:00Z"))]
    expiry_time: Option<Time>,
}

/// What an access token is good for: reading (R), executing on nodes (X), writing (W); each includes
/// those before it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `AccessTokenBody` reads")]
pub(crate) enum TokenLevel {
    #[serde(rename = "R")]
    Read,
    #[serde(rename = "X")]
    Execute,
    #[serde(rename = "W")]
    Write,
}

/// The body of a token's create.
#[derive(Debug)]
pub(crate) struct AccessTokenBody {
    pub(crate) name: String,
    pub(crate) team: u64,
    pub(crate) level: PermissionLevel,
    pub(crate) expiry_time: Option<Timestamp>,
}

impl AccessTokenBody {
    /// Reads a body.
    pub(crate) fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let name = fields.text("name", Need::Required, NAME);
        let team = fields.pk("team", Need::Required);
        let level = fields.text("permissions", Need::Required, Text::upto(1));
        let level = level.and_then(|letter| match letter.as_str() {
            "R" => Some(PermissionLevel::Read),
            "X" => Some(PermissionLevel::Execute),
            "W" => Some(PermissionLevel::Write),
            other => {
                let text = format!("\"{other}\" is not a valid choice; give R, X or W.");
                fields.refuse("permissions", text);
                None
            }
        });
        let expiry_time = fields.nullable_text("expiry_time", TIME);
        let expiry_time = expiry_time.and_then(|text| match text.parse::<jiff::Timestamp>() {
            Ok(time) if time > jiff::Timestamp::now() => Some(Timestamp(time.as_microsecond())),
            Ok(_) => {
                fields.refuse("expiry_time", "Must lie in the future.");
                None
            }
            Err(_) => {
                let text = "Must be a time such as 2027-01-01T00:00:00Z.";
                fields.refuse("expiry_time", text);
                None
            }
        });
        fields.check()?;
        Ok(Self {
            name: name.unwrap_or_default(),
            team: team.unwrap_or_default(),
            level: level.unwrap_or(PermissionLevel::Read),
            expiry_time,
        })
    }
}
