//! The steps, against real databases: two or three shards, and messages that come twice, late, out of order or not at all.

use region_core_store::test_support::shard_database;
use region_core_store::{Shard, StoreError};
use shared::{ShardId, Sku};
use sqlx::Row;

use super::*;
use crate::store::{Receipt, receive};
use crate::transfer::message::{Ask, Given, Grant, Mode, Sent, Seq, Standing};

fn id(number: i16) -> ShardId {
    ShardId::try_from(number).unwrap()
}

fn mug() -> Sku {
    "MUG".parse().unwrap()
}

/// A shard of its own with that many mugs.
async fn shard(number: i16, mugs: u64) -> Shard {
    let shard = Shard::from_pool(id(number), shard_database().await.pool);
    let receipt = Receipt { reference: "first".into(), sku: mug(), units: mugs };
    receive(&mut shard.read().await.unwrap(), &[receipt]).await.unwrap();
    shard
}

/// Runs one step in a transaction of its own.
async fn step<T>(shard: &Shard, work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>) -> T {
    shard.turn().write("test.step", work).await.unwrap()
}

async fn begun(borrower: &Shard, donor: &Shard, want: u64) -> Seq {
    let (donor, wishes) = (donor.id(), [Wish { sku: mug(), want }]);
    step(borrower, async |conn| begin(conn, donor, &wishes).await).await.0[0]
}

async fn low_of(borrower: &Shard) -> Seq {
    low(&mut borrower.read().await.unwrap()).await.unwrap()
}

async fn granted(borrower: &Shard, donor: &Shard, low: Seq, seqs: &[Seq], want: u64) -> Vec<Given> {
    let asks = seqs.iter().map(|seq| Ask { seq: *seq, sku: mug(), want, mode: Mode::Exact }).collect();
    let message = Grant { borrower: borrower.id(), donor: donor.id(), term: Term(1), low, asks };
    step(donor, async |conn| grant(conn, &message, None, |ask, free| ask.want.min(free)).await).await
}

async fn one_grant(borrower: &Shard, donor: &Shard, seq: Seq, want: u64) -> Vec<Given> {
    granted(borrower, donor, Seq(1), &[seq], want).await
}

async fn credited(borrower: &Shard, donor: &Shard, given: &[Given]) -> u64 {
    let donor = donor.id();
    let credited = step(borrower, async |conn| credit(conn, donor, None, given).await).await;
    credited.into_iter().map(|credited| credited.units).sum()
}

async fn asked(borrower: &Shard, donor: &Shard, seq: Seq, units: u64) -> Standing {
    let (donor, sent) = (donor.id(), [Sent { seq, sku: mug(), units }]);
    step(borrower, async |conn| status(conn, donor, &sent, &[]).await).await.standings[0].1
}

async fn closed(borrower: &Shard, donor: &Shard, seq: Seq) {
    let donor = donor.id();
    step(borrower, async |conn| status(conn, donor, &[], &[seq]).await).await;
}

async fn cancelled(borrower: &Shard, donor: &Shard, seq: Seq) {
    let borrower = borrower.id();
    step(donor, async |conn| cancel(conn, borrower, &[seq]).await).await;
}

async fn acked(borrower: &Shard, donor: &Shard, seq: Seq) {
    let (from, mark) = (borrower.id(), low_of(borrower).await);
    step(donor, async |conn| {
        raise_low(conn, from, mark).await?;
        acknowledge(conn, from, &[seq]).await
    })
    .await;
    step(borrower, async |conn| settle(conn, &[seq]).await).await;
}

async fn free(shard: &Shard) -> i64 {
    number(shard, "SELECT coalesce(sum(free), 0)::bigint FROM allotments").await
}

async fn in_transit(shard: &Shard) -> i64 {
    number(shard, "SELECT coalesce(sum(units), 0)::bigint FROM transfers_out WHERE state = 'sent'").await
}

async fn number(shard: &Shard, query: &'static str) -> i64 {
    sqlx::query(query).fetch_one(&mut *shard.read().await.unwrap()).await.unwrap().get(0)
}

/// Lets so much time pass by a shard's clock, for whoever connects from now on.
async fn pass(shard: Shard, time: &'static str) -> Shard {
    let mut conn = shard.read().await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut *conn).await.unwrap();
    let turned = format!("ALTER DATABASE {name} SET meridian.clock_offset = '{time}'");
    sqlx::query(sqlx::AssertSqlSafe(turned)).execute(&mut *conn).await.unwrap();
    let options = conn_options(&name);
    Shard::from_pool(shard.id(), sqlx::PgPool::connect_lazy_with(options))
}

fn conn_options(database: &str) -> sqlx::postgres::PgConnectOptions {
    let url = std::env::var("MERIDIAN_TEST_POSTGRES_URL").unwrap();
    url.parse::<sqlx::postgres::PgConnectOptions>().unwrap().database(database)
}

#[tokio::test]
async fn a_transfer_moves_units_once_and_is_then_forgotten() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    let given = granted(&borrower, &donor, low_of(&borrower).await, &[seq], 4).await;
    assert_eq!((given[0].units, given[0].left), (4, Some(6)));
    assert_eq!((free(&borrower).await, in_transit(&donor).await, free(&donor).await), (0, 4, 6));
    assert_eq!(credited(&borrower, &donor, &given).await, 4);
    acked(&borrower, &donor, seq).await;
    assert_eq!((free(&borrower).await, in_transit(&donor).await, free(&donor).await), (4, 0, 6));
    assert_eq!(low_of(&borrower).await, Seq(2));
    // The donor hears of the mark with the next message, and forgets.
    let next = begun(&borrower, &donor, 1).await;
    granted(&borrower, &donor, low_of(&borrower).await, &[next], 1).await;
    assert_eq!(step(&donor, async |conn| forget(conn).await).await, 1);
}

#[tokio::test]
async fn a_grant_that_comes_again_gets_the_same_answer_and_debits_once() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    let first = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    let again = granted(&borrower, &donor, Seq(1), &[seq, seq], 9).await;
    assert_eq!(first[0].units, 4);
    assert!(again.iter().all(|given| given.units == 4));
    assert_eq!(free(&donor).await, 6);
}

#[tokio::test]
async fn an_answer_that_comes_again_credits_once() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    let given = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    let twice = [given[0].clone(), given[0].clone()];
    assert_eq!(credited(&borrower, &donor, &twice).await + credited(&borrower, &donor, &given).await, 4);
    assert_eq!(free(&borrower).await, 4);
}

#[tokio::test]
async fn a_refusal_is_remembered_so_that_a_late_duplicate_cannot_debit() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 0).await);
    let seq = begun(&borrower, &donor, 4).await;
    assert_eq!(granted(&borrower, &donor, Seq(1), &[seq], 4).await[0].units, 0);
    let restock = Receipt { reference: "second".into(), sku: mug(), units: 9 };
    receive(&mut donor.read().await.unwrap(), &[restock]).await.unwrap();
    assert_eq!(granted(&borrower, &donor, Seq(1), &[seq], 4).await[0].units, 0);
    assert_eq!((free(&donor).await, in_transit(&donor).await), (9, 0));
}

#[tokio::test]
async fn a_grant_below_the_low_water_mark_is_settled_and_gives_nothing() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    let given = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    credited(&borrower, &donor, &given).await;
    acked(&borrower, &donor, seq).await;
    let next = begun(&borrower, &donor, 1).await;
    granted(&borrower, &donor, low_of(&borrower).await, &[next], 1).await;
    step(&donor, async |conn| forget(conn).await).await;
    // A duplicate from long ago: its row is gone, and it says an older mark.
    let late = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    assert_eq!((late[0].units, free(&donor).await), (0, 5));
}

#[tokio::test]
async fn a_donor_forgets_nothing_above_the_mark_and_nothing_in_flight() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let (open, done) = (begun(&borrower, &donor, 1).await, begun(&borrower, &donor, 1).await);
    let given = granted(&borrower, &donor, low_of(&borrower).await, &[open, done], 1).await;
    credited(&borrower, &donor, &given[1..]).await;
    acked(&borrower, &donor, done).await;
    assert_eq!(low_of(&borrower).await, open);
    assert_eq!(step(&donor, async |conn| forget(conn).await).await, 0);
    // Even a mark above it does not make a donor forget units in flight.
    step(&donor, async |conn| raise_low(conn, id(1), Seq(99)).await).await;
    assert_eq!(step(&donor, async |conn| forget(conn).await).await, 1);
    assert_eq!(in_transit(&donor).await, 1);
}

#[tokio::test]
async fn a_cancelled_transfer_credits_nothing_and_its_units_come_back_once() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    let given = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    // The donor heard nothing and asks; the answer to the grant arrives after that.
    assert_eq!(asked(&borrower, &donor, seq, 4).await, Standing::Cancelled);
    assert_eq!(credited(&borrower, &donor, &given).await, 0);
    for _ in 0..2 {
        cancelled(&borrower, &donor, seq).await;
        assert_eq!(asked(&borrower, &donor, seq, 4).await, Standing::Cancelled);
    }
    assert_eq!((free(&borrower).await, in_transit(&donor).await, free(&donor).await), (0, 0, 10));
    // A late acknowledgement cannot change that, nor a late grant.
    step(&donor, async |conn| acknowledge(conn, id(1), &[seq]).await).await;
    assert_eq!(granted(&borrower, &donor, Seq(1), &[seq], 4).await[0].units, 0);
    assert_eq!(free(&donor).await, 10);
}

#[tokio::test]
async fn a_tombstone_stays_until_the_donor_has_its_units_back() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    assert_eq!(asked(&borrower, &donor, seq, 4).await, Standing::Cancelled);
    let borrower = pass(borrower, "2 hours").await;
    step(&borrower, async |conn| settle(conn, &[seq]).await).await;
    assert_eq!((low_of(&borrower).await, number(&borrower, "SELECT count(*) FROM transfers_in").await), (seq, 1));
    cancelled(&borrower, &donor, seq).await;
    closed(&borrower, &donor, seq).await;
    assert_eq!(low_of(&borrower).await, Seq(seq.0 + 1));
    let borrower = pass(borrower, "4 hours").await;
    step(&borrower, async |conn| settle(conn, &[]).await).await;
    assert_eq!(number(&borrower, "SELECT count(*) FROM transfers_in").await, 0);
    // Below the mark the borrower need not remember: a question from long ago is answered all the same.
    assert_eq!(asked(&borrower, &donor, seq, 4).await, Standing::Settled);
}

#[tokio::test]
async fn a_status_that_overtakes_its_grant_leaves_a_tombstone_that_the_grant_cannot_pass() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    assert_eq!(asked(&borrower, &donor, seq, 4).await, Standing::Cancelled);
    let given = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    assert_eq!((given[0].units, credited(&borrower, &donor, &given).await), (4, 0));
    assert_eq!(asked(&borrower, &donor, seq, 4).await, Standing::Cancelled);
    cancelled(&borrower, &donor, seq).await;
    assert_eq!((free(&borrower).await, free(&donor).await), (0, 10));
}

#[tokio::test]
async fn units_that_nobody_asked_for_are_sent_back_and_their_number_is_not_given_again() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    granted(&borrower, &donor, Seq(1), &[Seq(7)], 4).await;
    assert_eq!(asked(&borrower, &donor, Seq(7), 4).await, Standing::Cancelled);
    assert_eq!(begun(&borrower, &donor, 1).await, Seq(8));
    cancelled(&borrower, &donor, Seq(7)).await;
    assert_eq!(free(&donor).await, 10);
}

#[tokio::test]
async fn what_one_donor_sent_is_never_credited_from_another() {
    let (borrower, donor, other) = (shard(1, 0).await, shard(2, 10).await, shard(3, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    let given = granted(&borrower, &other, Seq(1), &[seq], 4).await;
    assert_eq!(credited(&borrower, &other, &given).await, 0);
    assert_eq!(asked(&borrower, &other, seq, 4).await, Standing::Cancelled);
    // The transfer with the donor that was asked goes on.
    let given = granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    assert_eq!(credited(&borrower, &donor, &given).await, 4);
}

#[tokio::test]
async fn two_borrowers_at_once_never_get_more_than_there_is() {
    let (one, two, donor) = (shard(1, 0).await, shard(3, 0).await, shard(2, 10).await);
    let (first, second) = (begun(&one, &donor, 8).await, begun(&two, &donor, 8).await);
    assert_eq!(first, second, "each borrower counts for itself");
    let (one_given, two_given) = tokio::join!(one_grant(&one, &donor, first, 8), one_grant(&two, &donor, second, 8));
    let came = credited(&one, &donor, &one_given).await + credited(&two, &donor, &two_given).await;
    assert_eq!((came, free(&donor).await), (10, 0));
}

#[tokio::test]
async fn the_same_grant_at_two_cores_at_once_debits_once() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let twin = pass(donor.clone(), "0").await; // Another process's turn on the same database.
    let seq = begun(&borrower, &donor, 4).await;
    let (here, there) = tokio::join!(one_grant(&borrower, &donor, seq, 4), one_grant(&borrower, &twin, seq, 4));
    assert_eq!((here[0].units, there[0].units, free(&donor).await), (4, 4, 6));
}

#[tokio::test]
async fn numbers_drawn_at_once_are_all_above_the_mark_that_goes_with_them() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 0).await);
    let twin = pass(borrower.clone(), "0").await;
    let wishes = [Wish { sku: mug(), want: 1 }];
    for _ in 0..20 {
        let (here, there) = tokio::join!(
            step(&borrower, async |conn| begin(conn, donor.id(), &wishes).await),
            step(&twin, async |conn| begin(conn, donor.id(), &wishes).await),
        );
        assert_ne!(here.0, there.0);
        assert_eq!((here.1, there.1), (Seq(1), Seq(1)), "the first is not settled");
    }
}

#[tokio::test]
async fn counts_say_what_is_free_and_whether_units_may_be_on_their_way() {
    let (borrower, donor) = (shard(1, 3).await, shard(2, 10).await);
    let count = async || counts(&mut borrower.read().await.unwrap(), &[mug()]).await.unwrap().remove(0);
    let before = count().await;
    assert_eq!((before.free, before.arriving, before.begun), (3, false, Seq(0)));
    let seq = begun(&borrower, &donor, 4).await;
    assert!(count().await.arriving);
    asked(&borrower, &donor, seq, 4).await;
    assert!(count().await.arriving, "cancelled, and not yet back at its donor");
    closed(&borrower, &donor, seq).await;
    let after = count().await;
    assert_eq!((after.free, after.arriving, after.begun), (3, false, seq));
}

#[tokio::test]
async fn a_refusal_does_not_look_like_units_that_moved() {
    let (borrower, donor) = (shard(1, 3).await, shard(2, 0).await);
    let count = async || counts(&mut borrower.read().await.unwrap(), &[mug()]).await.unwrap().remove(0);
    let before = count().await;
    let seq = begun(&borrower, &donor, 4).await;
    let asked = count().await;
    assert!(asked.arriving && asked.begun == seq, "it may bring something yet");
    let refused = one_grant(&borrower, &donor, seq, 4).await;
    assert_eq!((refused[0].units, credited(&borrower, &donor, &refused).await), (0, 0));
    assert_eq!(count().await, before);
}

#[tokio::test]
async fn lists_for_recovery_hold_what_is_old_enough_and_open() {
    let (borrower, donor) = (shard(1, 0).await, shard(2, 10).await);
    let seq = begun(&borrower, &donor, 4).await;
    granted(&borrower, &donor, Seq(1), &[seq], 4).await;
    let pending = async |shard: &Shard| list_pending(&mut shard.read().await.unwrap(), 60.0, 9).await.unwrap();
    let overdue = async |shard: &Shard| list_overdue(&mut shard.read().await.unwrap(), 60.0, 9).await.unwrap();
    assert!(pending(&borrower).await.is_empty() && overdue(&donor).await.is_empty());
    let (borrower, donor) = (pass(borrower, "2 minutes").await, pass(donor, "2 minutes").await);
    assert_eq!(pending(&borrower).await[0].seq, seq);
    assert_eq!(overdue(&donor).await[0].sent, Sent { seq, sku: mug(), units: 4 });
    let flying = in_flight(&mut donor.read().await.unwrap()).await.unwrap();
    assert_eq!((flying.transfers, flying.units, flying.oldest_seconds >= 120), (1, 4, true));
}
