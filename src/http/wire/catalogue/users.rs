//! Shapes of users.

use granary_engine::model::{NewUser, User, UserPatch};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::fields::{Fields, Need, Text};
use crate::http::wire::Time;
use crate::http::wire::auth::NEW_PASSWORD;

/// A user, without the password's hash.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserShape<'a> {
    #[schema(examples("ann"))]
    username: &'a str,
    #[schema(examples(2))]
    pk: u64,
    #[schema(required = true)]
    last_login: Option<Time>,
    is_superuser: bool,
    first_name: &'a str,
    last_name: &'a str,
    email: &'a str,
    /// Whether the user is an administrator.
    is_staff: bool,
    /// Whether the user may log in.
    is_active: bool,
    date_joined: Time,
}

/// A user for a primary key; for a name a list of one or none.
#[derive(ToSchema)]
#[schema(as = UserOrList)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes answers that are one of two shapes")]
pub(crate) enum UserOrList<'a> {
    User(UserShape<'a>),
    List(Vec<UserShape<'a>>),
}

/// The fields of a new or wholly changed user. Fields that can only be read are passed over.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `UserBody` reads field by field")]
pub(crate) struct UserFields {
    /// Letters, digits and `@.+-_`; unique.
    #[schema(min_length = 1, max_length = 150, pattern = r"^[\w@.+-]+$", examples("ann"))]
    username: String,
    /// Kept exactly, blanks too; stored as a hash, never shown.
    #[schema(min_length = 1, max_length = 128, examples("correct horse battery staple"))]
    password: String,
    #[schema(required = false, max_length = 150, examples("Ann"))]
    first_name: String,
    #[schema(required = false, max_length = 150)]
    last_name: String,
    /// An address, or nothing.
    #[schema(required = false, max_length = 254, examples("ann@example.org"))]
    email: String,
    /// Whether the user is an administrator; a new one is not unless this says so.
    #[schema(required = false)]
    is_staff: bool,
    /// Whether the user may log in; a new one may unless this says otherwise.
    #[schema(required = false)]
    is_active: bool,
}

/// The fields of a user that change; what is left out stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `UserBody` reads field by field")]
pub(crate) struct UserChange {
    /// Letters, digits and `@.+-_`; unique.
    #[schema(required = false, min_length = 1, max_length = 150, pattern = r"^[\w@.+-]+$")]
    username: String,
    #[schema(required = false, min_length = 1, max_length = 128)]
    password: String,
    #[schema(required = false, max_length = 150)]
    first_name: String,
    #[schema(required = false, max_length = 150, examples("Lee"))]
    last_name: String,
    /// An address, or nothing.
    #[schema(required = false, max_length = 254, examples("ann@example.org"))]
    email: String,
    #[schema(required = false)]
    is_staff: bool,
    #[schema(required = false)]
    is_active: bool,
}

impl<'a> From<&'a User> for UserShape<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            username: &user.username,
            pk: user.id.0,
            last_login: user.last_login.map(Time),
            is_superuser: user.is_superuser,
            first_name: &user.first_name,
            last_name: &user.last_name,
            email: &user.email,
            is_staff: user.is_staff,
            is_active: user.is_active,
            date_joined: Time(user.date_joined),
        }
    }
}

/// The fields of a user in a body, the password still in clear.
pub(crate) struct UserBody {
    patch: UserPatch,
    pub(crate) password: Option<String>,
}

impl UserBody {
    /// Reads the body of create, update (name and password needed) or partial update (nothing).
    pub(crate) fn read(mut fields: Fields, need: Need) -> Result<Self, ApiError> {
        let short = Text::upto(150).or_blank();
        let username = fields.text("username", need, Text::upto(150));
        if username.as_deref().is_some_and(|name| !is_username(name)) {
            fields.refuse(
                "username",
                "Enter a valid username. This value may contain only letters, numbers, and \
                 @/./+/-/_ characters.",
            );
        }
        let password = fields.text("password", need, NEW_PASSWORD);
        let first_name = fields.text("first_name", Need::Optional, short);
        let last_name = fields.text("last_name", Need::Optional, short);
        let email = fields.text("email", Need::Optional, Text::upto(254).or_blank());
        if email.as_deref().is_some_and(|email| !email.is_empty() && !is_email(email)) {
            fields.refuse("email", "Enter a valid email address.");
        }
        let is_staff = fields.optional_boolean("is_staff");
        // Neither an absent nor a blank one of a form says whether somebody may log in.
        let is_active = fields.boolean("is_active", Need::Optional);
        fields.check()?;
        let password_hash = None;
        let patch = UserPatch {
            username,
            password_hash,
            first_name,
            last_name,
            email,
            is_staff,
            is_active,
        };
        Ok(Self { patch, password })
    }

    /// The change of a user, with the hash of the password if there was one.
    pub(crate) fn patch(self, password_hash: Option<String>) -> UserPatch {
        UserPatch { password_hash, ..self.patch }
    }

    /// A new user, with the hash of the password.
    pub(crate) fn user(self, password_hash: String) -> NewUser {
        let UserPatch { username, first_name, last_name, email, is_staff, is_active, .. } =
            self.patch;
        NewUser {
            // A name that is missing was refused when the body was read.
            username: username.unwrap_or_default(),
            password_hash,
            first_name: first_name.unwrap_or_default(),
            last_name: last_name.unwrap_or_default(),
            email: email.unwrap_or_default(),
            is_superuser: false,
            is_staff: is_staff.unwrap_or(false),
            is_active: is_active.unwrap_or(true),
        }
    }
}

fn is_username(name: &str) -> bool {
    let known = |letter: char| letter.is_alphanumeric() || "@.+-_".contains(letter);
    name.chars().all(known)
}

/// Something, an at sign, and a domain with a dot: what is beyond that, only a mail can prove.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let label = |label: &str| {
        let known = |letter: char| letter.is_alphanumeric() || letter == '-';
        !label.is_empty() && label.chars().all(known)
    };
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '@';
    !local.is_empty()
        && !local.contains(bad)
        && domain.contains('.')
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_as_far_as_they_can_be() {
        for good in ["a@b.org", "first.last+tag@mail.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["a", "a@b", "@b.org", "a b@c.org", "a@b..org", "a@.org"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
