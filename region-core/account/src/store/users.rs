//! Users, with or without credentials.

use region_core_store::{StoreError, expect_rows};
use shared::api::account::Account;
use shared::token::Role;
use shared::{EmailAddress, UserId};
use sqlx::PgConnection;

use super::readable;
use crate::rules::{parse_role, role_name};

/// What a token says about a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) roles: Vec<Role>,
    pub(crate) epoch: u32,
}

/// Writes a new user; `false` if the id is in use.
pub(crate) async fn insert(conn: &mut PgConnection, user: UserId) -> Result<bool, StoreError> {
    let done = sqlx::query!("INSERT INTO users (user_id) VALUES ($1) ON CONFLICT DO NOTHING", user.as_i64())
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Locks a user until the transaction ends, before anything of the user's is judged: a sign-up and a sign-in that both want
/// the same guest decide one after the other.
pub(crate) async fn lock(conn: &mut PgConnection, user: UserId) -> Result<(), StoreError> {
    // Not FOR UPDATE: rows that refer to the user may be written meanwhile.
    sqlx::query!("SELECT FROM users WHERE user_id = $1 FOR NO KEY UPDATE", user.as_i64()).execute(conn).await?;
    Ok(())
}

/// Whether the user is there and a guest and nothing else: no other role, and no credentials, not even unfinished ones. A
/// statement of its own, after [`lock`]: only one that starts after the lock was granted sees what the neighbour committed.
pub(crate) async fn is_pure_guest(conn: &mut PgConnection, user: UserId) -> Result<bool, StoreError> {
    let pure = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM users WHERE user_id = $1 AND roles = ARRAY[$2]
                          AND NOT EXISTS (SELECT FROM credentials WHERE user_id = $1)) AS "pure!""#,
        user.as_i64(),
        role_name(Role::Guest),
    );
    Ok(pure.fetch_one(conn).await?)
}

/// The user's standing, kept from changing until the transaction ends.
pub(crate) async fn standing(conn: &mut PgConnection, user: UserId) -> Result<Option<Standing>, StoreError> {
    let row = sqlx::query!("SELECT roles, revocation_epoch FROM users WHERE user_id = $1 FOR SHARE", user.as_i64())
        .fetch_optional(conn)
        .await?;
    row.map(|row| read_standing(&row.roles, row.revocation_epoch)).transpose()
}

pub(crate) fn read_standing(roles: &[String], epoch: i32) -> Result<Standing, StoreError> {
    let epoch = u32::try_from(epoch).map_err(|_| StoreError::corrupt("users.revocation_epoch", epoch))?;
    Ok(Standing { roles: read_roles(roles)?, epoch })
}

fn read_roles(names: &[String]) -> Result<Vec<Role>, StoreError> {
    names.iter().map(|name| parse_role(name).ok_or_else(|| StoreError::corrupt("users.roles", name))).collect()
}

/// The account as its owner sees it.
///
/// # Errors
/// [`StoreError::WrongShard`] when the user lives elsewhere.
pub(crate) async fn find(conn: &mut PgConnection, user: UserId) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT slots.state, users.name, users.roles AS "roles?", credentials.email AS "email?"
           FROM slots LEFT JOIN users ON users.user_id = $2
           LEFT JOIN credentials ON credentials.user_id = users.user_id AND credentials.activated_at IS NOT NULL
           WHERE slots.slot = $1"#,
        i16::from(user.slot()),
        user.as_i64(),
    )
    .fetch_optional(conn)
    .await?
    .ok_or(StoreError::WrongShard(user.slot()))?;
    readable(&row.state, user.slot())?;
    let Some(roles) = row.roles else { return Ok(None) };
    let email = row.email.map(|email| email.parse::<EmailAddress>());
    let email = email.transpose().map_err(|_| StoreError::corrupt("credentials.email", user))?;
    Ok(Some(Account { user_id: user, email, name: row.name, roles: read_roles(&roles)? }))
}

/// Sets the name, where one was given.
pub(crate) async fn set_name(conn: &mut PgConnection, user: UserId, name: Option<&str>) -> Result<(), StoreError> {
    sqlx::query!("UPDATE users SET name = $2 WHERE user_id = $1 AND $2::text IS NOT NULL", user.as_i64(), name)
        .execute(conn)
        .await?;
    Ok(())
}

/// A guest becomes a customer, and the access tokens that the guest was given are refused from now on. `false` for others:
/// they stay what they are.
pub(crate) async fn promote(conn: &mut PgConnection, user: UserId) -> Result<bool, StoreError> {
    let (guest, customer) = (role_name(Role::Guest), role_name(Role::Customer));
    let done = sqlx::query!(
        "UPDATE users SET roles = array_replace(roles, $2, $3), revocation_epoch = revocation_epoch + 1
         WHERE user_id = $1 AND $2 = ANY (roles)",
        user.as_i64(),
        guest,
        customer,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds a role, once.
pub(crate) async fn grant(conn: &mut PgConnection, user: UserId, role: Role) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE users SET roles = CASE WHEN $2 = ANY (roles) THEN roles ELSE array_append(roles, $2) END
         WHERE user_id = $1",
        user.as_i64(),
        role_name(role),
    )
    .execute(conn)
    .await?;
    expect_rows("users", done.rows_affected(), 1)
}

/// Refuses every access token issued so far.
pub(crate) async fn raise_epoch(conn: &mut PgConnection, user: UserId) -> Result<(), StoreError> {
    let done =
        sqlx::query!("UPDATE users SET revocation_epoch = revocation_epoch + 1 WHERE user_id = $1", user.as_i64())
            .execute(conn)
            .await?;
    expect_rows("users", done.rows_affected(), 1)
}
