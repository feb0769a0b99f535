//! Who somebody is: signed tokens, access tokens, hashed passwords, and how often one may fail.
//!
//! Knows nothing of HTTP. The handlers of `http/auth.rs` and the extractor in `http/caller.rs`
//! are its users, and so is the command line where it makes the first account.

mod access_token;

mod known;

mod login_limits;

mod password;

mod token;

pub(crate) use access_token::{Claim, PREFIX as ACCESS_TOKEN_PREFIX, Secret, is_same_secret};
pub use login_limits::LoginBounds;
pub(crate) use login_limits::{Attempt, LoginLimits, TooManyFailures};
pub(crate) use password::{PASSWORD_LETTERS, Passwords, is_made_up, is_password_of};
pub use password::{PasswordError, hash_password, made_up_password};
pub(crate) use token::{Bearer, Expiry, TokenFault, TokenKind};
pub use token::{TokenKey, load_or_create_key};
