//! The order desk: orders of all shoppers and regions, and what happened to one of them. Whoever calls has checked that the
//! caller keeps the store.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use futures::future::join_all;
use http::Method;
use region_core_store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::api::desk::{DeskOrder, DeskPage, DeskQuery, Timeline};
use shared::{EmailAddress, OrderId, RegionName, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::OrderError;
use crate::orders::Orders;
use crate::rules::InvalidField;
use crate::store::desk::{self, Action, Part, Wanted};

/// Where cores of other regions are asked for theirs.
pub(crate) const PATH: &str = "/internal/desk/orders";
/// Most orders on one page.
const MAX_PAGE: u32 = 100;
/// Characters of an order's number that shoppers are shown.
const SHORT: usize = 8;
/// How far back orders are known by those, and as to be sent from here: people ask about what they bought lately, and each order since
/// then is read.
const ENDS_KNOWN_MS: u64 = 90 * 24 * 3_600 * 1_000;

impl Orders {
    /// A page of the orders of all regions, newest first. A region that does not answer is named, and the others' are shown.
    ///
    /// # Errors
    /// [`OrderError::Invalid`] for a page or a search that cannot be, and those of this region's shards.
    #[tracing::instrument(name = "order.desk", skip_all)]
    pub async fn desk(&self, query: &DeskQuery) -> Result<DeskPage, OrderError> {
        let mut items = self.desk_here(query).await?;
        let (theirs, missing) = self.ask_others::<_, Vec<DeskOrder>>(PATH, query).await;
        items.extend(theirs.into_iter().flatten());
        Ok(page(items, missing, query.limit))
    }

    /// What the other regions answer, and those that do not.
    pub(crate) async fn ask_others<Req, Res>(&self, path: &str, body: &Req) -> (Vec<Res>, Vec<RegionName>)
    where
        Req: Serialize + Sync,
        Res: DeserializeOwned + Send,
    {
        let parts = self.parts();
        let map = parts.shards.map();
        let all: BTreeSet<&RegionName> = map.shards().map(|(_, region)| region).collect();
        let others: Vec<&RegionName> = all.into_iter().filter(|region| *region != parts.shards.region()).collect();
        let asked = others.iter().map(|region| parts.peers.call::<_, Res>(region, Method::POST, path, body));
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for (region, answer) in others.iter().zip(join_all(asked).await) {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(problem) => {
                    tracing::warn!(region = %region, http.path = path, %problem, "a region is missing at the desk");
                    missing.push((*region).clone());
                }
            }
        }
        (answers, missing)
    }

    /// This region's part of it, and one more than the page holds if there are more.
    pub(crate) async fn desk_here(&self, query: &DeskQuery) -> Result<Vec<DeskOrder>, OrderError> {
        let sought = Sought::parse(query)?;
        let part = Part { status: query.status, before: query.cursor, most: i64::from(query.limit) + 1 };
        let (mut found, since) = (Vec::new(), first_of(self.parts().clock.unix_ms().saturating_sub(ENDS_KNOWN_MS)));
        let wanted = sought.wanted(since, self.parts().shards.region());
        for shard in self.parts().shards.all() {
            found.extend(desk::find(&mut *shard.read().await?, &wanted, part).await?);
        }
        Ok(found)
    }

    /// All that happened to the order: to its shopper without, to who keeps the store with what its people did.
    ///
    /// # Errors
    /// [`OrderError::NotFound`] for absent orders and, unless `keeps_store`, for other people's.
    pub async fn timeline(&self, caller: UserId, keeps_store: bool, order: OrderId) -> Result<Timeline, OrderError> {
        if keeps_store {
            self.existing(order).await?;
        } else {
            self.find(caller, order).await?;
        }
        let shard = self.parts().shards.here(order.slot())?;
        Ok(desk::timeline(&mut *shard.read().await?, order, keeps_store).await?)
    }

    /// Writes down that `by`, who keeps the store, had `what` of the order's news sent once more, inside the caller's
    /// transaction.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_resent(
        conn: &mut PgConnection,
        order: OrderId,
        by: UserId,
        what: &str,
    ) -> Result<(), StoreError> {
        desk::note(conn, order, by, Action::Resend, what).await
    }
}

/// What the desk's search box holds.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Sought {
    All,
    Order(OrderId),
    Ending(String),
    Email(EmailAddress),
    Held,
    From(RegionName),
}

impl Sought {
    fn parse(query: &DeskQuery) -> Result<Self, InvalidField> {
        let invalid = |field: &str, reason: &str| InvalidField { field: field.to_owned(), reason: reason.to_owned() };
        if !(1..=MAX_PAGE).contains(&query.limit) {
            return Err(invalid("limit", "1 to 100"));
        }
        let text = query.find.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = match (text, query.held, &query.from) {
            (Some(text), false, None) => text,
            (None, true, None) => return Ok(Self::Held),
            (None, false, Some(from)) => return Ok(Self::From(from.clone())),
            (None, false, None) => return Ok(Self::All),
            (_, true, _) => {
                return Err(invalid("held", "either an order that is sought, or all that wait for a decision"));
            }
            (Some(_), false, Some(_)) => {
                return Err(invalid("from", "either an order that is sought, or all that a region is to send"));
            }
        };
        let lower = text.to_ascii_lowercase();
        if let Ok(order) = lower.parse() {
            return Ok(Self::Order(order));
        }
        if lower.len() == SHORT && lower.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self::Ending(lower));
        }
        let reason = "an order's number, its last eight characters for 90 days, or an e-mail address";
        text.parse().map(Self::Email).map_err(|_| invalid("find", reason))
    }

    /// Ends, and what is to be sent from here, are sought among the orders from this number on.
    fn wanted<'a>(&'a self, since: Uuid, own: &RegionName) -> Wanted<'a> {
        match self {
            Self::All => Wanted::All,
            Self::Order(order) => Wanted::Order(*order),
            Self::Ending(ending) => Wanted::Ending(ending, since),
            Self::Email(email) => Wanted::Email(email),
            Self::Held => Wanted::Held,
            Self::From(from) if from == own => Wanted::FromHere(from, since),
            Self::From(from) => Wanted::FromElsewhere(from),
        }
    }
}

/// The smallest number that an order of that instant can have (RFC 9562 section 5.7: the time comes first).
fn first_of(unix_ms: u64) -> Uuid {
    Uuid::from_u128(u128::from(unix_ms) << 80)
}

fn page(mut items: Vec<DeskOrder>, missing: Vec<RegionName>, limit: u32) -> DeskPage {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    items.sort_unstable_by_key(|order| Reverse(order.order_id));
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = if more { items.last().map(|order| order.order_id) } else { None };
    DeskPage { items, next_cursor, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(find: &str) -> Result<Sought, InvalidField> {
        Sought::parse(&DeskQuery { find: Some(find.to_owned()), ..DeskQuery::default() })
    }

    #[test]
    fn the_search_box_takes_numbers_their_ends_and_addresses() {
        let id = "01a204e0-2ed3-78cd-b831-3e3681b32fe4";
        assert_eq!(sought(&format!(" {} ", id.to_uppercase())), Ok(Sought::Order(id.parse().unwrap())));
        assert_eq!(sought("81B32FE4"), Ok(Sought::Ending("81b32fe4".to_owned())));
        assert_eq!(sought("ada@example.org"), Ok(Sought::Email("ada@example.org".parse().unwrap())));
        assert_eq!(sought("  "), Ok(Sought::All));
        for bad in ["lovelace", "81b32fe", "'; DROP TABLE orders", "%"] {
            assert_eq!(sought(bad).unwrap_err().field, "find", "{bad:?}");
        }
        let none = Sought::parse(&DeskQuery { limit: 0, ..DeskQuery::default() });
        assert_eq!(none.unwrap_err().field, "limit");
        let held = DeskQuery { held: true, ..DeskQuery::default() };
        assert_eq!(Sought::parse(&held), Ok(Sought::Held));
        let both = DeskQuery { find: Some("ada@example.org".to_owned()), ..held };
        assert_eq!(Sought::parse(&both).unwrap_err().field, "held");
        let us: Option<RegionName> = Some("us".parse().unwrap());
        let from = DeskQuery { from: us.clone(), ..DeskQuery::default() };
        assert_eq!(Sought::parse(&from), Ok(Sought::From("us".parse().unwrap())));
        let both = DeskQuery { find: Some("ada@example.org".to_owned()), ..from };
        assert_eq!(Sought::parse(&both).unwrap_err().field, "from");
    }
}
