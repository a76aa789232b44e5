//! Where units lie, against real databases: shards of two regions, and messages that come twice or never.

use region_core_store::test_support::shard_database;
use region_core_store::{Shard, StoreError};
use shared::{OrderId, RegionName, ShardId, Sku};
use sqlx::PgConnection;

use super::*;
use crate::ledger::{self, EntryKind, StockEntry};
use crate::store::{Receipt, claim, receive, release};
use crate::transfer::message::{Ask, Given, Grant, Mode, Sent, Seq, Term};
use crate::transfer::store::{Wish, begin, cancel, credit, grant, status};

fn mug() -> Sku {
    "MUG".parse().unwrap()
}

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn there(units: &[(&str, u64)]) -> Elsewhere {
    units.iter().map(|(name, units)| (region(name), *units)).collect()
}

/// A shard of a region, and the mugs that came there.
struct Place {
    shard: Shard,
    region: RegionName,
}

async fn place(number: i16, name: &str, mugs: u64) -> Place {
    let shard = Shard::from_pool(ShardId::try_from(number).unwrap(), shard_database().await.pool);
    let receipt = Receipt { reference: "first".into(), sku: mug(), units: mugs };
    receive(&mut shard.read().await.unwrap(), &[receipt]).await.unwrap();
    Place { shard, region: region(name) }
}

impl Place {
    async fn step<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>) -> T {
        self.shard.turn().write("test.step", work).await.unwrap()
    }

    async fn run(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut *self.shard.read().await.unwrap()).await.unwrap();
    }

    async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut *self.shard.read().await.unwrap()).await.unwrap()
    }

    /// Begins to borrow, and says what the donor gives.
    async fn asks(&self, donor: &Self, want: u64) -> Given {
        let (id, wishes) = (donor.shard.id(), [Wish { sku: mug(), want }]);
        let seq = self.step(async |conn| begin(conn, id, &wishes).await).await.0[0];
        self.asks_again(donor, seq, want).await
    }

    async fn asks_again(&self, donor: &Self, seq: Seq, want: u64) -> Given {
        let asks = vec![Ask { seq, sku: mug(), want, mode: Mode::Exact }];
        let message = Grant { borrower: self.shard.id(), donor: donor.shard.id(), term: Term(1), low: Seq(1), asks };
        let decide = |ask: &Ask, free: u64| ask.want.min(free);
        donor.step(async |conn| grant(conn, &message, Some(&self.region), decide).await).await.remove(0)
    }

    async fn gets(&self, donor: &Self, given: &Given) {
        let (way, given) = (Way { from: donor.region.clone(), to: self.region.clone() }, [given.clone()]);
        self.step(async |conn| credit(conn, donor.shard.id(), Some(&way), &given).await).await;
    }

    async fn borrows(&self, donor: &Self, want: u64) {
        let given = self.asks(donor, want).await;
        self.gets(donor, &given).await;
    }

    /// Units that lie elsewhere and are assigned to nobody.
    async fn elsewhere(&self) -> Elsewhere {
        let mut conn = self.shard.read().await.unwrap();
        unassigned(&mut conn, &["MUG".to_owned()]).await.unwrap().remove(&mug()).unwrap_or_default()
    }

    /// An order of so many mugs that was paid.
    async fn sells(&self, number: u8, mugs: i64) -> OrderId {
        let order = OrderId::from_uuid(sqlx::types::Uuid::from_bytes([number; 16]));
        let mut conn = self.shard.read().await.unwrap();
        let sql = "WITH who AS (INSERT INTO users (user_id) VALUES (7) ON CONFLICT DO NOTHING),
            taken AS (UPDATE allotments SET free = free - $2, reserved = reserved + $2),
            held AS (INSERT INTO reservations (order_id, sku, units) VALUES ($1, 'MUG', $2))
            INSERT INTO orders (order_id, user_id, payment_token, currency, subtotal_minor, shipping_minor, total_minor,
                catalog_version, shipping_address, expires_at)
            VALUES ($1, 7, 'tok', 'GBP', 0, 0, 0, 1, '{}', shard_now())";
        sqlx::query(sql).bind(order.as_uuid()).bind(mugs).execute(&mut *conn).await.unwrap();
        drop(conn);
        self.step(async |conn| claim(conn, &[order]).await).await;
        order
    }

    async fn assigns(&self, orders: &[OrderId]) {
        self.step(async |conn| assign(conn, orders).await).await;
    }

    async fn planned(&self, order: OrderId) -> Elsewhere {
        let planned = planned(&mut self.shard.read().await.unwrap(), order).await.unwrap();
        planned.into_iter().map(|(region, units)| (region, units.values().sum())).collect()
    }
}

#[tokio::test]
async fn units_that_are_lent_on_are_still_known_to_lie_where_they_came() {
    let (a, b, c) = (place(1, "eu", 9).await, place(2, "us", 0).await, place(3, "ap", 0).await);
    b.borrows(&a, 5).await;
    c.borrows(&b, 3).await;
    assert_eq!((b.elsewhere().await, c.elsewhere().await), (there(&[("eu", 2)]), there(&[("eu", 3)])));
    // What goes home is nowhere else any more.
    a.borrows(&c, 2).await;
    assert_eq!((a.elsewhere().await, c.elsewhere().await), (there(&[]), there(&[("eu", 1)])));
}

#[tokio::test]
async fn between_shards_of_one_region_nothing_is_written_down() {
    let (a, b) = (place(1, "eu", 9).await, place(2, "eu", 0).await);
    b.borrows(&a, 5).await;
    for place in [&a, &b] {
        assert_eq!(place.number("SELECT count(*) FROM origins").await, 0);
        assert_eq!(place.number("SELECT count(*) FROM origins_unknown").await, 0);
        assert_eq!(place.number("SELECT count(*) FROM transfers_out WHERE elsewhere <> '{}'").await, 0);
    }
}

#[tokio::test]
async fn a_message_that_comes_again_moves_no_unit_twice_and_says_the_same() {
    let (a, b, c) = (place(1, "eu", 9).await, place(2, "us", 1).await, place(3, "ap", 0).await);
    b.borrows(&a, 5).await;
    // One lies here and goes first, one of the others with it.
    let given = c.asks(&b, 2).await;
    assert_eq!(given.elsewhere, there(&[("eu", 1)]));
    assert_eq!(c.asks_again(&b, given.seq, 2).await.elsewhere, given.elsewhere);
    c.gets(&b, &given).await;
    c.gets(&b, &given).await;
    assert_eq!(c.elsewhere().await, there(&[("eu", 1), ("us", 1)]));
    assert_eq!(b.elsewhere().await, there(&[("eu", 4)]));
}

#[tokio::test]
async fn units_that_never_arrive_come_back_once_to_where_they_lie() {
    let (a, b, c) = (place(1, "eu", 9).await, place(2, "us", 0).await, place(3, "ap", 0).await);
    b.borrows(&a, 5).await;
    let given = c.asks(&b, 2).await;
    assert_eq!(b.elsewhere().await, there(&[("eu", 3)]));
    let sent = [Sent { seq: given.seq, sku: mug(), units: 2 }];
    c.step(async |conn| status(conn, b.shard.id(), &sent, &[]).await).await;
    c.gets(&b, &given).await;
    assert_eq!(c.elsewhere().await, there(&[]), "a tombstone credits nothing");
    for _ in 0..2 {
        b.step(async |conn| cancel(conn, c.shard.id(), &[given.seq]).await).await;
    }
    assert_eq!(b.elsewhere().await, there(&[("eu", 5)]));
    assert_eq!(c.asks_again(&b, given.seq, 2).await.elsewhere, there(&[]), "what was taken back is given to nobody");
}

#[tokio::test]
async fn paid_orders_are_sent_from_here_first_and_each_is_assigned_once() {
    let (a, b) = (place(1, "eu", 9).await, place(2, "us", 2).await);
    b.borrows(&a, 3).await;
    let (first, second) = (b.sells(1, 2).await, b.sells(2, 2).await);
    b.run("UPDATE orders SET status = 'CONFIRMED', claimed_at = shard_now()").await;
    for orders in [&[first, second][..], &[second, first], &[second]] {
        b.assigns(orders).await;
        assert_eq!((b.planned(first).await, b.planned(second).await), (there(&[]), there(&[("eu", 2)])));
    }
    assert_eq!(b.number("SELECT assigned::bigint FROM origins").await, 2);
    assert_eq!(b.elsewhere().await, there(&[("eu", 1)]));
    // The unit that is left is not here.
    let given = a.asks(&b, 5).await;
    assert_eq!((given.units, given.elsewhere), (1, there(&[("eu", 1)])));
}

#[tokio::test]
async fn an_order_that_is_called_off_gives_back_what_it_was_assigned() {
    let (a, b) = (place(1, "eu", 9).await, place(2, "us", 0).await);
    b.borrows(&a, 3).await;
    let order = b.sells(1, 3).await;
    b.run("UPDATE orders SET status = 'CONFIRMED', claimed_at = shard_now()").await;
    b.assigns(&[order]).await;
    assert_eq!(b.planned(order).await, there(&[("eu", 3)]));
    for _ in 0..2 {
        b.step(async |conn| {
            let cancel = "UPDATE orders SET status = 'CANCELLED', cancel_reason = '', cancelled_at = shard_now() WHERE order_id = $1";
            sqlx::query(cancel).bind(order.as_uuid()).execute(&mut *conn).await?;
            release(conn, &[order]).await
        })
        .await;
    }
    assert_eq!((b.planned(order).await, b.elsewhere().await), (there(&[]), there(&[("eu", 3)])));
}

#[tokio::test]
async fn the_database_refuses_to_assign_more_than_lies_there() {
    let (a, b) = (place(1, "eu", 9).await, place(2, "us", 0).await);
    b.borrows(&a, 3).await;
    let mut conn = b.shard.read().await.unwrap();
    let refused = sqlx::query("UPDATE origins SET assigned = 4").execute(&mut *conn).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().constraint(), Some("origins_assigned_at_most_lying"));
}

#[tokio::test]
async fn a_loss_says_which_units_were_lost() {
    let (a, b) = (place(1, "eu", 9).await, place(2, "us", 1).await);
    b.borrows(&a, 3).await;
    let entry = StockEntry {
        reference: "flood".to_owned().try_into().unwrap(),
        sku: mug(),
        kind: EntryKind::Shrink,
        units: 3.try_into().unwrap(),
        shard: None,
    };
    for _ in 0..2 {
        let mut conn = b.shard.read().await.unwrap();
        ledger::book(&mut conn, &entry).await.unwrap();
    }
    assert_eq!(b.elsewhere().await, there(&[("eu", 1)]));
    let noted = b.number("SELECT (elsewhere ->> 'eu')::bigint FROM ledger WHERE ref = 'flood'").await;
    assert_eq!(noted, 2);
}

/// What cores of before origins were written down write, who run beside the others for as long as an upgrade takes.
mod cores_of_before {
    use super::*;

    const LENDS: &str = "UPDATE allotments SET free = free - 2;
        INSERT INTO transfers_out (borrower, seq, sku, units, state) VALUES (3, 1, 'MUG', 2, 'sent')";
    const LOSES: &str = "INSERT INTO ledger (ref, sku, kind, units) VALUES ('flood', 'MUG', 'shrink', -2);
        UPDATE allotments SET free = free - 2";
    const CREDITS: &str = "UPDATE transfers_in SET state = 'done', units = 2 WHERE state = 'pending';
        UPDATE allotments SET free = free + 2";
    const TAKES_BACK: &str = "UPDATE transfers_out SET state = 'cancelled' WHERE state = 'sent';
        UPDATE allotments SET free = free + 2";
    const UNKNOWN: &str = "SELECT count(*) FROM origins_unknown WHERE sku = 'MUG'";

    #[tokio::test]
    async fn what_they_lend_or_lose_is_in_doubt_only_if_units_lie_elsewhere() {
        for moves in [LENDS, LOSES] {
            let (a, b) = (place(1, "eu", 9).await, place(2, "us", 3).await);
            b.borrows(&a, 2).await;
            for (place, unknown) in [(&a, 0), (&b, 1)] {
                place.run(moves).await;
                assert_eq!(place.number(UNKNOWN).await, unknown, "{moves}");
            }
        }
    }

    #[tokio::test]
    async fn what_they_credit_is_in_doubt_and_no_order_is_assigned_any_of_it() {
        let (a, b) = (place(1, "eu", 9).await, place(2, "us", 0).await);
        b.borrows(&a, 2).await;
        assert_eq!(b.number(UNKNOWN).await, 0);
        b.asks(&a, 2).await;
        b.run(CREDITS).await;
        assert_eq!(b.number(UNKNOWN).await, 1);
        let order = b.sells(1, 4).await;
        b.assigns(&[order]).await;
        assert_eq!(b.planned(order).await, there(&[]));
    }

    #[tokio::test]
    async fn what_they_take_back_lies_where_it_lay() {
        let (a, b, c) = (place(1, "eu", 9).await, place(2, "us", 0).await, place(3, "ap", 0).await);
        b.borrows(&a, 5).await;
        c.asks(&b, 2).await;
        assert_eq!(b.elsewhere().await, there(&[("eu", 3)]));
        b.run(TAKES_BACK).await;
        assert_eq!(b.elsewhere().await, there(&[("eu", 5)]));
    }
}
