//! The cart's SQL, each function inside the caller's transaction.

use std::collections::HashMap;

use region_core_store::{HasStoreError, StoreError, expect_rows, own_slot};
use shared::api::cart::CartOperation;
use shared::{CartId, OperationId, Problem, ProblemKind, Quantity, Sku, Slot, UserId};
use sqlx::PgConnection;

use crate::rules::{Edit, FrozenCart, Item, Line, Refusal, StoredCart, cart_id_of};

/// Why a cart did not change.
#[derive(Debug, thiserror::Error)]
pub enum CartError {
    /// The cart is not at the version that the operation expects.
    #[error("the cart is at version {version}")]
    Changed {
        /// Its version now.
        version: u64,
    },
    /// A sign-in is carrying the cart to an account.
    #[error("the cart is moving to the account that was signed in to; sign in again to finish")]
    Frozen {
        /// Its version now.
        version: u64,
    },
    /// The operation breaks a bound.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The SKU is not for sale.
    #[error("{0} is not for sale")]
    UnknownSku(Sku),
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a cart was not taken for an order; nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The cart is at another version, holds other items, or is on its way to an account.
    #[error("the cart is at version {version} and does not hold what was ordered")]
    Changed {
        /// Its version now.
        version: u64,
    },
    /// The shard failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HasStoreError for CartError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Changed { .. } | Self::Frozen { .. } | Self::Refused(_) | Self::UnknownSku(_) => None,
        }
    }
}

impl From<sqlx::Error> for CartError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl HasStoreError for TakeError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Changed { .. } => None,
        }
    }
}

impl From<CartError> for Problem {
    fn from(error: CartError) -> Self {
        let changed = |version: u64| Self::new(ProblemKind::CartChanged).detail(&error).with("version", version);
        match error {
            CartError::Changed { version } | CartError::Frozen { version } => changed(version),
            CartError::Refused(Refusal::TooMany { .. }) => Self::invalid("change.quantity", error),
            CartError::Refused(Refusal::Full) => Self::invalid("change.sku", error),
            CartError::UnknownSku(ref sku) => {
                Self::new(ProblemKind::UnknownSku).detail(&error).field("change.sku").with("sku", sku.as_str())
            }
            CartError::Store(error) => error.into(),
        }
    }
}

impl From<TakeError> for Problem {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Changed { version } => {
                Self::new(ProblemKind::CartChanged).detail(&error).with("version", version)
            }
            TakeError::Store(error) => error.into(),
        }
    }
}

/// A cart row, locked until the transaction ends.
struct Locked {
    cart: StoredCart,
    frozen: bool,
}

/// The cart of a user as it is, empty if there is none yet. Cart and lines are of one moment.
///
/// # Errors
/// [`StoreError::WrongShard`] when the user lives elsewhere.
pub(crate) async fn find(conn: &mut PgConnection, user: UserId) -> Result<StoredCart, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT slots.state, carts.version AS "version?", line.sku AS "sku?", line.quantity AS "quantity?",
                  line.position AS "position?"
           FROM slots LEFT JOIN carts ON carts.user_id = $2 LEFT JOIN cart_lines AS line USING (cart_id)
           WHERE slots.slot = $1 ORDER BY line.position"#,
        i16::from(user.slot()),
        user.as_i64(),
    )
    .fetch_all(conn)
    .await?;
    let first = rows.first().ok_or(StoreError::WrongShard(user.slot()))?;
    readable(&first.state, user.slot())?;
    let version = unsigned("carts.version", first.version.unwrap_or(0))?;
    let lines = rows.into_iter().filter_map(|row| Some(line(&row.sku?, row.quantity?, row.position?)));
    Ok(StoredCart { version, lines: lines.collect::<Result<_, _>>()?, ..StoredCart::empty(user) })
}

/// A frozen slot still shows what it has; one that left or has not arrived does not.
fn readable(state: &str, slot: Slot) -> Result<(), StoreError> {
    match state {
        "owner" | "frozen" => Ok(()),
        "importing" | "moved" => Err(StoreError::WrongShard(slot)),
        other => Err(StoreError::corrupt("slots.state", other)),
    }
}

/// Applies one operation, once: a repeat finds its id and changes nothing. The cart as it is afterwards.
///
/// # Errors
/// [`CartError`]; the transaction must then be rolled back, for the operation's id may already be written.
pub(crate) async fn apply(
    conn: &mut PgConnection,
    user: UserId,
    operation: &CartOperation,
) -> Result<StoredCart, CartError> {
    own_slot(conn, user.slot()).await?;
    let Locked { cart, frozen } = lock(conn, user).await?;
    if !remember(conn, &cart, operation.operation_id).await? {
        return Ok(cart);
    }
    let version = cart.version;
    if frozen {
        return Err(CartError::Frozen { version });
    }
    if operation.expected_version.is_some_and(|expected| expected != version) {
        return Err(CartError::Changed { version });
    }
    let edit = cart.decide(&operation.change)?;
    match &edit {
        Edit::Put(line) => put_lines(conn, cart.cart_id, std::slice::from_ref(line)).await?,
        Edit::Drop(sku) => drop_line(conn, cart.cart_id, sku).await?,
    }
    let cart = cart.after(edit);
    set_version(conn, &cart).await?;
    Ok(cart)
}

/// Freezes a guest's cart, again if it is already frozen, and says what is in it.
///
/// # Errors
/// Those of the store.
pub(crate) async fn freeze(conn: &mut PgConnection, guest: UserId) -> Result<FrozenCart, StoreError> {
    own_slot(conn, guest.slot()).await?;
    let Locked { cart, .. } = lock(conn, guest).await?;
    sqlx::query!("UPDATE carts SET frozen_at = shard_now() WHERE cart_id = $1", cart.cart_id.as_uuid())
        .execute(conn)
        .await?;
    Ok(FrozenCart { version: cart.version, items: cart.items() })
}

/// Adds a guest's items to an account's cart under one operation id: a repeat adds nothing.
///
/// # Errors
/// Those of the store.
pub(crate) async fn merge(
    conn: &mut PgConnection,
    user: UserId,
    operation: OperationId,
    items: &[Item],
) -> Result<StoredCart, StoreError> {
    own_slot(conn, user.slot()).await?;
    let Locked { cart, .. } = lock(conn, user).await?;
    if items.is_empty() || !remember(conn, &cart, operation).await? {
        return Ok(cart);
    }
    let cart = cart.merged(items);
    put_lines(conn, cart.cart_id, &cart.lines).await?;
    set_version(conn, &cart).await?;
    Ok(cart)
}

/// Empties and thaws a guest's cart whose items have arrived at the account. Does nothing at any other version.
///
/// # Errors
/// Those of the store.
pub(crate) async fn drain(conn: &mut PgConnection, guest: UserId, version: u64) -> Result<(), StoreError> {
    own_slot(conn, guest.slot()).await?;
    let Locked { cart, frozen } = lock(conn, guest).await?;
    if frozen && cart.version == version {
        empty(conn, cart.cart_id).await?;
    }
    Ok(())
}

/// A cart that an order would take, as its shopper saw it.
#[derive(Clone, Debug)]
pub struct WantedCart {
    /// Whose.
    pub user_id: UserId,
    /// At this version.
    pub version: u64,
    /// Holding exactly this.
    pub items: Vec<Item>,
}

/// Whether carts can be taken for orders: locks them, by user, and compares. `None` for those that are as wanted, else the
/// version that the cart is at. The orders' own statement then takes them with the database's `take_carts`; call
/// [`crate::Carts::invalidate`] once that has committed.
///
/// # Errors
/// When the database fails.
pub async fn check(conn: &mut PgConnection, wanted: &[WantedCart]) -> Result<Vec<Option<u64>>, StoreError> {
    let users: Vec<i64> = wanted.iter().map(|cart| cart.user_id.as_i64()).collect();
    // Lines may be older than the lock. Then the version is another than the one that was wanted, or they are the same.
    let rows = sqlx::query!(
        r#"SELECT user_id, cart_id, version, coalesce(frozen_at > shard_now() - interval '15 minutes', false) AS "frozen!",
               sku AS "sku?", quantity AS "quantity?", position AS "position?"
           FROM carts LEFT JOIN cart_lines USING (cart_id) WHERE user_id = ANY ($1) ORDER BY user_id FOR UPDATE OF carts"#,
        &users,
    )
    .fetch_all(conn)
    .await?;
    let mut found: HashMap<i64, Locked> = HashMap::new();
    for row in rows {
        let version = unsigned("carts.version", row.version)?;
        let cart = StoredCart { cart_id: CartId::from_uuid(row.cart_id), version, lines: Vec::new() };
        let locked = found.entry(row.user_id).or_insert(Locked { cart, frozen: row.frozen });
        if let (Some(sku), Some(quantity), Some(position)) = (row.sku, row.quantity, row.position) {
            locked.cart.lines.push(line(&sku, quantity, position)?);
        }
    }
    Ok(wanted.iter().map(|cart| changed(cart, found.get(&cart.user_id.as_i64()))).collect())
}

/// The version that a cart is at, if it is not as wanted.
fn changed(wanted: &WantedCart, found: Option<&Locked>) -> Option<u64> {
    let Some(Locked { cart, frozen }) = found else { return Some(0) };
    let as_wanted = !frozen && cart.version == wanted.version && cart.holds_exactly(&wanted.items);
    (!as_wanted).then_some(cart.version)
}

/// Forgets operations that no client repeats any more, at most `limit`. How many.
///
/// # Errors
/// Those of the store.
pub(crate) async fn prune(conn: &mut PgConnection, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM cart_operations WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM cart_operations WHERE applied_at < shard_now() - interval '7 days'
             ORDER BY applied_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
        limit,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The user's cart, locked; made first if there is none. A freeze older than 15 minutes was left by a sign-in that never
/// came back, and no longer counts.
async fn lock(conn: &mut PgConnection, user: UserId) -> Result<Locked, StoreError> {
    if let Some(locked) = lock_existing(conn, user).await? {
        return Ok(locked);
    }
    // Any conflict means that a neighbour made it just now.
    sqlx::query!(
        "INSERT INTO carts (cart_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        cart_id_of(user).as_uuid(),
        user.as_i64(),
    )
    .execute(&mut *conn)
    .await?;
    lock_existing(conn, user).await?.ok_or_else(|| StoreError::corrupt("carts", "a cart of another user"))
}

async fn lock_existing(conn: &mut PgConnection, user: UserId) -> Result<Option<Locked>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT cart_id, version, coalesce(frozen_at > shard_now() - interval '15 minutes', false) AS "frozen!"
           FROM carts WHERE user_id = $1 FOR UPDATE"#,
        user.as_i64(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // A statement of its own: only one that starts after the lock was granted sees what the neighbour committed.
    let lines = sqlx::query!(
        "SELECT sku, quantity, position FROM cart_lines WHERE cart_id = $1 ORDER BY position",
        row.cart_id
    )
    .fetch_all(conn)
    .await?;
    let lines = lines.into_iter().map(|row| line(&row.sku, row.quantity, row.position));
    let cart = StoredCart {
        cart_id: CartId::from_uuid(row.cart_id),
        version: unsigned("carts.version", row.version)?,
        lines: lines.collect::<Result<_, _>>()?,
    };
    Ok(Some(Locked { cart, frozen: row.frozen }))
}

/// Writes the operation's id under the version it leads to; `false` if it was there.
async fn remember(conn: &mut PgConnection, cart: &StoredCart, operation: OperationId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "INSERT INTO cart_operations (cart_id, operation_id, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        cart.cart_id.as_uuid(),
        operation.as_uuid(),
        signed(cart.version)? + 1,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn put_lines(conn: &mut PgConnection, cart: CartId, lines: &[Line]) -> Result<(), StoreError> {
    let skus: Vec<String> = lines.iter().map(|line| line.item.sku.as_str().to_owned()).collect();
    let quantities: Vec<i32> = lines.iter().map(|line| line.item.quantity.units().cast_signed()).collect();
    let positions: Vec<i64> = lines.iter().map(|line| line.position).collect();
    let done = sqlx::query!(
        "INSERT INTO cart_lines (cart_id, sku, quantity, position)
         SELECT $1, * FROM unnest($2::text[], $3::integer[], $4::bigint[])
         ON CONFLICT (cart_id, sku) DO UPDATE SET quantity = excluded.quantity",
        cart.as_uuid(),
        &skus,
        &quantities,
        &positions,
    )
    .execute(conn)
    .await?;
    expect_rows("cart_lines", done.rows_affected(), lines.len() as u64)
}

async fn drop_line(conn: &mut PgConnection, cart: CartId, sku: &Sku) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM cart_lines WHERE cart_id = $1 AND sku = $2", cart.as_uuid(), sku.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

async fn set_version(conn: &mut PgConnection, cart: &StoredCart) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE carts SET version = $2, changed_at = shard_now(), frozen_at = NULL WHERE cart_id = $1 AND version < $2",
        cart.cart_id.as_uuid(),
        signed(cart.version)?,
    )
    .execute(conn)
    .await?;
    expect_rows("carts", done.rows_affected(), 1)
}

/// Empties and thaws a locked cart; its new version.
async fn empty(conn: &mut PgConnection, cart: CartId) -> Result<u64, StoreError> {
    let version = sqlx::query_scalar!(
        "WITH emptied AS (DELETE FROM cart_lines WHERE cart_id = $1)
         UPDATE carts SET version = version + 1, changed_at = shard_now(), frozen_at = NULL
         WHERE cart_id = $1 RETURNING version",
        cart.as_uuid(),
    )
    .fetch_one(conn)
    .await?;
    unsigned("carts.version", version)
}

fn line(sku: &str, quantity: i32, position: i64) -> Result<Line, StoreError> {
    let sku = sku.parse().map_err(|_| StoreError::corrupt("cart_lines.sku", sku))?;
    let quantity =
        Quantity::new(i64::from(quantity)).map_err(|_| StoreError::corrupt("cart_lines.quantity", quantity))?;
    Ok(Line { item: Item { sku, quantity }, position })
}

fn unsigned(what: &'static str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::corrupt(what, number))
}

fn signed(version: u64) -> Result<i64, StoreError> {
    i64::try_from(version).map_err(|_| StoreError::corrupt("carts.version", version))
}
