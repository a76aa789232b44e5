//! Guests, accounts and sessions.

use serde::{Deserialize, Serialize};

use crate::token::Role;
use crate::{EmailAddress, UserId};

/// Sign up: `POST /v1/accounts`. With a guest's token the credentials go onto the guest's own user id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignUp {
    /// Where mail reaches the person.
    pub email: EmailAddress,
    /// 8 to 128 characters.
    pub password: Password,
    /// What to call the person, at most 100 characters.
    #[serde(default)]
    pub name: Option<String>,
}

/// Sign in: `POST /v1/sessions`. With a guest's token the guest's cart is merged and its orders stay reachable.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// The account's address.
    pub email: EmailAddress,
    /// Its password.
    pub password: Password,
}

/// A password on its way in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "password"))]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Trade a refresh token for new ones: `POST /v1/sessions/refresh`; `POST /v1/sessions/end` takes the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refresh {
    /// Replaced by each use. Shown again it gives the same successor, in case the answer was lost; once that successor was
    /// used, showing it ends the whole session.
    pub refresh_token: RefreshToken,
}

/// A refresh token. It starts with its session's id, so it says where it lives.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct RefreshToken(pub String);

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

/// Tokens of a session: the answer to `POST /v1/guests`, `/v1/accounts`, `/v1/sessions` and `/v1/sessions/refresh`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    /// Who the tokens are for.
    pub user_id: UserId,
    /// Bearer token for `Authorization`.
    pub access_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u32,
    /// For `POST /v1/sessions/refresh`.
    pub refresh_token: RefreshToken,
    /// Seconds until the refresh token expires.
    pub refresh_expires_in: u32,
}

/// The caller's account: `GET /v1/account`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Account {
    /// The user.
    pub user_id: UserId,
    /// Null for guests.
    pub email: Option<EmailAddress>,
    /// What to call the person.
    pub name: Option<String>,
    /// What the user may do.
    pub roles: Vec<Role>,
}

/// What somebody wants to be told by mail beyond what his orders require: that they are paid, cancelled or refunded is always
/// told. `/v1/account/mail-preferences` of the caller's own orders, and `/v1/mail-preferences/{token}` of an address, for whoever
/// has a link of a mail to it. What either does not want is not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MailPreferences {
    /// That a parcel has left, and that it has arrived.
    pub parcels: bool,
}

/// How shoppers can be told beside mail: `GET /v1/channels`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Channels {
    /// Whether by text, at the number that an order names.
    pub texts: bool,
    /// What browsers subscribe under to be told of an order, if they can be: the `applicationServerKey` of RFC 8292.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_key: Option<String>,
}

impl Default for MailPreferences {
    fn default() -> Self {
        Self { parcels: true }
    }
}
