//! Real shards, and the product's steps on them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use region_core_inventory::origins::{Elsewhere, Way};
use region_core_inventory::transfer::message::{
    Ask, Given, Grant, Mode as AskMode, Reply, Sent, Seq, Standing as Said, Term,
};
use region_core_inventory::transfer::store::{self, Wish};
use region_core_inventory::{Receipt, receive};
use region_core_store::{Shard, StoreError, test_support};
use shared::{RegionName, ShardId, Sku};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Mutex as AsyncMutex;

use super::SCOPE;
use super::state::{In, Message, Mode, Out, OutState, Shard as Expected, ShardNo, Standing, Transfer};

/// What is sold.
fn mug() -> Sku {
    "MUG".parse().unwrap()
}

/// Shards are counted from 1, the protocol's from 0.
fn id(number: ShardNo) -> ShardId {
    ShardId::try_from(i16::from(number) + 1).unwrap()
}

/// Each stands in a region of its own.
fn region(number: ShardNo) -> RegionName {
    format!("region-{number}").parse().unwrap()
}

fn number(id: ShardId) -> ShardNo {
    u8::try_from(id.number() - 1).unwrap()
}

fn seq(transfer: Transfer) -> Seq {
    Seq(i64::from(transfer.seq))
}

fn small(number: i64) -> u8 {
    u8::try_from(number).unwrap()
}

/// Makes a shard that took part in another history as it was at first.
const NOTHING_HAPPENED: &str = "
    DELETE FROM transfers_in; DELETE FROM transfers_out; DELETE FROM transfer_lows; DELETE FROM allotments; DELETE FROM ledger;
    DELETE FROM origins;
    UPDATE transfer_counter SET next_seq = 1; UPDATE shard_meta SET term = 1";

/// As many databases: the same ones for each history of this process, one after the other.
async fn databases(count: usize) -> Vec<String> {
    static MADE: AsyncMutex<Vec<String>> = AsyncMutex::const_new(Vec::new());
    let mut made = MADE.lock().await;
    while made.len() < count {
        made.push(test_support::shard_database().await.url);
    }
    made[..count].to_vec()
}

/// Some shards, the terms that each has heard of the others, and where units lay, as each answer said.
pub(crate) struct Shards {
    shards: Vec<Shard>,
    lay: Mutex<BTreeMap<(Transfer, u8), Elsewhere>>,
    terms: Mutex<HashMap<(ShardNo, ShardNo), Term>>,
}

impl Shards {
    /// Shards with so many units each.
    pub(crate) async fn open(free: &[u8]) -> Self {
        let mut shards = Vec::new();
        for ((number, units), url) in (0..).zip(free).zip(databases(free.len()).await) {
            let shard = Shard::from_pool(id(number), PgPool::connect(&url).await.unwrap());
            let mut conn = shard.read().await.unwrap();
            sqlx::raw_sql(NOTHING_HAPPENED).execute(&mut *conn).await.unwrap();
            let receipt = Receipt { reference: "first".into(), sku: mug(), units: u64::from(*units) };
            receive(&mut conn, &[receipt]).await.unwrap();
            shards.push(shard);
        }
        Self { shards, lay: Mutex::default(), terms: Mutex::default() }
    }

    fn shard(&self, number: ShardNo) -> &Shard {
        &self.shards[usize::from(number)]
    }

    /// One step in a transaction of its own, in the shard's turn.
    async fn step<T>(&self, number: ShardNo, work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>) -> T {
        self.shard(number).turn().write("test.step", work).await.unwrap()
    }

    async fn run(&self, number: ShardNo, sql: &'static str) {
        sqlx::query(sql).execute(&mut *self.shard(number).read().await.unwrap()).await.unwrap();
    }

    async fn count(&self, number: ShardNo, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut *self.shard(number).read().await.unwrap()).await.unwrap()
    }

    pub(crate) async fn sell(&self, shard: ShardNo) {
        self.run(shard, "UPDATE allotments SET free = free - 1, sold = sold + 1").await;
    }

    pub(crate) async fn promote(&self, shard: ShardNo) {
        self.run(shard, "UPDATE shard_meta SET term = term + 1").await;
    }

    /// Begins a transfer; the GRANT that follows is the one that is expected.
    pub(crate) async fn begin(&self, borrower: ShardNo, expected: Message) {
        let Message::Grant { transfer, low, .. } = expected else { panic!("{expected:?} begins nothing") };
        let wishes = [Wish { sku: mug(), want: u64::from(SCOPE.want) }];
        let begun = self.step(borrower, async |conn| store::begin(conn, id(transfer.donor), &wishes).await).await;
        assert_eq!(begun, (vec![seq(transfer)], Seq(i64::from(low))));
    }

    /// What a message does where it arrives, and what is answered.
    pub(crate) async fn deliver(&self, message: Message) -> Option<Message> {
        match message {
            Message::Grant { transfer, mode, low, term } => Some(self.grant(transfer, mode, low, term).await),
            Message::Granted { transfer, units } => self.credit(transfer, units).await,
            Message::StaleTerm { transfer, term } => self.learn(transfer, term),
            Message::Ack { transfer, low, term } => Some(self.acknowledge(transfer, low, term).await),
            Message::Acked { transfer } => {
                self.step(transfer.borrower, async |conn| store::settle(conn, &[seq(transfer)]).await).await;
                None
            }
            Message::Status { transfer } => Some(self.status(transfer).await),
            Message::Standings { transfer, standing, low } => self.conclude(transfer, standing, low).await,
            Message::Closed { transfer } => {
                let said = self.step(transfer.borrower, async |conn| {
                    store::status(conn, id(transfer.donor), &[], &[seq(transfer)]).await
                });
                Some(Message::Low { transfer, low: small(said.await.low.0) })
            }
            Message::Low { transfer, low } => {
                self.raise_low(transfer, low).await;
                None
            }
        }
    }

    async fn grant(&self, transfer: Transfer, mode: Mode, low: u8, term: u8) -> Message {
        let mode = if mode == Mode::Settle { AskMode::Settle } else { AskMode::Exact };
        let ask = Ask { seq: seq(transfer), sku: mug(), want: u64::from(SCOPE.want), mode };
        let (borrower, donor) = (id(transfer.borrower), id(transfer.donor));
        let (low, term) = (Seq(i64::from(low)), Term(i64::from(term)));
        let message = Grant { borrower, donor, term, low, asks: vec![ask] };
        let decide = |ask: &Ask, free: u64| if ask.mode == AskMode::Settle { 0 } else { ask.want.min(free) };
        let reply = self.step(transfer.donor, async |conn| {
            Ok(match store::term(conn).await? {
                ours if ours == term => {
                    Reply::Answer(store::grant(conn, &message, Some(&region(transfer.borrower)), decide).await?)
                }
                other => Reply::StaleTerm(other),
            })
        });
        match reply.await {
            Reply::Answer(given) => {
                let units = u8::try_from(given[0].units).unwrap();
                let mut lay = self.lay.lock().unwrap_or_else(PoisonError::into_inner);
                let before = lay.insert((transfer, units), given[0].elsewhere.clone());
                assert!(before.is_none_or(|before| before == given[0].elsewhere), "the same answer says the same");
                Message::Granted { transfer, units }
            }
            Reply::StaleTerm(term) => Message::StaleTerm { transfer, term: small(term.0) },
        }
    }

    async fn credit(&self, transfer: Transfer, units: u8) -> Option<Message> {
        let lay = self.lay.lock().unwrap_or_else(PoisonError::into_inner).get(&(transfer, units)).cloned();
        let elsewhere = lay.unwrap_or_default();
        let given = [Given { seq: seq(transfer), units: u64::from(units), left: None, elsewhere }];
        let (donor, way) = (id(transfer.donor), Way { from: region(transfer.donor), to: region(transfer.borrower) });
        self.step(transfer.borrower, async |conn| store::credit(conn, donor, Some(&way), &given).await).await;
        self.ack_of(transfer).await
    }

    /// The ACK of a transfer that is credited and not settled.
    async fn ack_of(&self, transfer: Transfer) -> Option<Message> {
        let mut conn = self.shard(transfer.borrower).read().await.unwrap();
        let received = store::list_received(&mut conn, 1_000).await.unwrap();
        let low = small(store::low(&mut conn).await.unwrap().0);
        let waits = received.iter().any(|received| received.seq == seq(transfer));
        waits.then(|| Message::Ack { transfer, low, term: self.known_term(transfer) })
    }

    fn known_term(&self, transfer: Transfer) -> u8 {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        terms.get(&(transfer.borrower, transfer.donor)).map_or(1, |term| small(term.0))
    }

    fn learn(&self, transfer: Transfer, term: u8) -> Option<Message> {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let known = terms.entry((transfer.borrower, transfer.donor)).or_insert(Term(1));
        *known = Term(i64::from(term)).max(*known);
        None
    }

    async fn acknowledge(&self, transfer: Transfer, low: u8, term: u8) -> Message {
        let (borrower, low, meant) = (id(transfer.borrower), Seq(i64::from(low)), Term(i64::from(term)));
        let stale = self.step(transfer.donor, async |conn| {
            let term = store::term(conn).await?;
            if term == meant {
                store::raise_low(conn, borrower, low).await?;
                store::acknowledge(conn, borrower, &[seq(transfer)]).await?;
            }
            Ok((term != meant).then_some(term))
        });
        match stale.await {
            None => Message::Acked { transfer },
            Some(term) => Message::StaleTerm { transfer, term: small(term.0) },
        }
    }

    async fn status(&self, transfer: Transfer) -> Message {
        let sent = [Sent { seq: seq(transfer), sku: mug(), units: u64::from(SCOPE.want) }];
        let said = self.step(transfer.borrower, async |conn| store::status(conn, id(transfer.donor), &sent, &[]).await);
        let said = said.await;
        let standing = match said.standings[0].1 {
            Said::Done => Standing::Done,
            Said::Cancelled => Standing::Cancelled,
            Said::Settled => Standing::Settled,
        };
        Message::Standings { transfer, standing, low: small(said.low.0) }
    }

    async fn conclude(&self, transfer: Transfer, standing: Standing, low: u8) -> Option<Message> {
        self.raise_low(transfer, low).await;
        let (borrower, seqs) = (id(transfer.borrower), [seq(transfer)]);
        match standing {
            Standing::Done => {
                self.step(transfer.donor, async |conn| store::acknowledge(conn, borrower, &seqs).await).await
            }
            Standing::Cancelled => {
                self.step(transfer.donor, async |conn| store::cancel(conn, borrower, &seqs).await).await;
            }
            Standing::Settled => {}
        }
        let back = self.closable(transfer.donor).await.contains(&transfer);
        back.then_some(Message::Closed { transfer })
    }

    /// Cancelled halves that the donor still remembers.
    async fn closable(&self, donor: ShardNo) -> Vec<Transfer> {
        let mut conn = self.shard(donor).read().await.unwrap();
        let closable = store::list_closable(&mut conn, 0.0, 1_000).await.unwrap();
        let named = |borrower: ShardId, seq: &Seq| Transfer { borrower: number(borrower), seq: small(seq.0), donor };
        closable.iter().flat_map(|of| of.cancelled.iter().map(|seq| named(of.borrower, seq))).collect()
    }

    async fn raise_low(&self, transfer: Transfer, low: u8) {
        let (borrower, low) = (id(transfer.borrower), Seq(i64::from(low)));
        self.step(transfer.donor, async |conn| store::raise_low(conn, borrower, low).await).await;
    }

    /// Forgets what is settled below the mark, as if it were much later.
    pub(crate) async fn forget_in(&self, borrower: ShardNo) {
        self.step(borrower, async |conn| {
            sqlx::query("SET LOCAL meridian.clock_offset = '1 hour'").execute(&mut *conn).await?;
            store::settle(conn, &[]).await
        })
        .await;
    }

    pub(crate) async fn forget_out(&self, donor: ShardNo) {
        self.step(donor, async |conn| store::forget(conn).await).await;
    }

    /// Compares every row that the protocol knows.
    pub(crate) async fn check(&self, number: ShardNo, expected: &Expected) {
        let mut conn = self.shard(number).read().await.unwrap();
        let allotment = sqlx::query_as("SELECT free, sold FROM allotments WHERE sku = 'MUG'");
        let counts: (i64, i64) = allotment.fetch_one(&mut *conn).await.unwrap();
        let (low, term) = (store::low(&mut conn).await.unwrap(), store::peek_term(&mut conn).await.unwrap());
        let found = (small(counts.0), small(counts.1), small(low.0), small(term.0));
        assert_eq!(found, (expected.free, expected.sold, expected.low(), expected.term), "shard {number}");
        assert_eq!(incoming(&mut conn, number).await, expected.incoming, "shard {number}");
        assert_eq!(outgoing(&mut conn, number).await, expected.outgoing, "shard {number}");
    }

    /// Every shard does its recovery over a network that works, twice.
    pub(crate) async fn recover(&self) {
        for _ in 0..2 {
            for number in (0..).take(self.shards.len()) {
                for first in self.unfinished(number).await {
                    self.converse(first).await;
                }
            }
        }
    }

    /// What a shard says and asks about its open halves, as the product finds them.
    async fn unfinished(&self, this: ShardNo) -> Vec<Message> {
        let mut conn = self.shard(this).read().await.unwrap();
        let low = small(store::low(&mut conn).await.unwrap().0);
        let borrowed = |seq: Seq, donor| Transfer { borrower: this, seq: small(seq.0), donor: number(donor) };
        let mut messages = Vec::new();
        for pending in store::list_pending(&mut conn, 0.0, 1_000).await.unwrap() {
            let transfer = borrowed(pending.seq, pending.donor);
            messages.push(Message::Grant { transfer, mode: Mode::Settle, low, term: self.known_term(transfer) });
        }
        for received in store::list_received(&mut conn, 1_000).await.unwrap() {
            let transfer = borrowed(received.seq, received.donor);
            messages.push(Message::Ack { transfer, low, term: self.known_term(transfer) });
        }
        for overdue in store::list_overdue(&mut conn, 0.0, 1_000).await.unwrap() {
            let (borrower, seq) = (number(overdue.borrower), small(overdue.sent.seq.0));
            messages.push(Message::Status { transfer: Transfer { borrower, seq, donor: this } });
        }
        drop(conn);
        messages.extend(self.closable(this).await.into_iter().map(|transfer| Message::Closed { transfer }));
        messages
    }

    async fn converse(&self, first: Message) {
        let mut next = Some(first);
        while let Some(message) = next {
            next = self.deliver(message).await;
        }
    }

    /// Halves that are not closed, on all shards.
    pub(crate) async fn open_halves(&self) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM transfers_in WHERE settled_at IS NULL)
            + (SELECT count(*) FROM transfers_out WHERE state = 'sent')";
        self.sum(sql).await
    }

    /// Units that are said to lie in each region, once none are on their way.
    pub(crate) async fn lying(&self) -> Vec<i64> {
        let mut lying = vec![0; self.shards.len()];
        for number in (0..).take(self.shards.len()) {
            let here =
                "SELECT sum(free + reserved + sold)::bigint - (SELECT coalesce(sum(units), 0) FROM origins)::bigint
                FROM allotments";
            lying[usize::from(number)] += self.count(number, here).await;
            let rows: Vec<(String, i64)> = sqlx::query_as("SELECT region, units::bigint FROM origins")
                .fetch_all(&mut *self.shard(number).read().await.unwrap())
                .await
                .unwrap();
            for (name, units) in rows {
                let there = (0..).take(self.shards.len()).find(|there| region(*there).as_str() == name).unwrap();
                lying[usize::from(there)] += units;
            }
        }
        lying
    }

    /// Units on all shards.
    pub(crate) async fn units(&self) -> i64 {
        self.sum("SELECT sum(free + reserved + sold)::bigint FROM allotments").await
    }

    async fn sum(&self, sql: &'static str) -> i64 {
        let mut sum = 0;
        for number in (0..).take(self.shards.len()) {
            sum += self.count(number, sql).await;
        }
        sum
    }
}

async fn incoming(conn: &mut PgConnection, borrower: ShardNo) -> BTreeMap<Transfer, In> {
    let sql = "SELECT seq, donor, state, settled_at IS NOT NULL FROM transfers_in";
    let rows: Vec<(i64, i16, String, bool)> = sqlx::query_as(sql).fetch_all(conn).await.unwrap();
    let half = |state: &str, settled| match state {
        "pending" => In::Pending,
        "done" => In::Done { settled },
        "cancelled" => In::Cancelled { settled },
        other => panic!("{other} is no state of an incoming half"),
    };
    let named = |seq, donor| Transfer { borrower, seq: small(seq), donor: small(i64::from(donor)) - 1 };
    rows.iter().map(|(seq, donor, state, settled)| (named(*seq, *donor), half(state, *settled))).collect()
}

async fn outgoing(conn: &mut PgConnection, donor: ShardNo) -> BTreeMap<Transfer, Out> {
    let sql = "SELECT borrower, seq, units, state FROM transfers_out";
    let rows: Vec<(i16, i64, i64, String)> = sqlx::query_as(sql).fetch_all(conn).await.unwrap();
    let half = |units, state: &str| match state {
        "sent" => Out { units, state: OutState::Sent },
        "acked" => Out { units, state: OutState::Acked },
        "cancelled" => Out { units, state: OutState::Cancelled },
        other => panic!("{other} is no state of an outgoing half"),
    };
    let named = |borrower, seq| Transfer { borrower: small(i64::from(borrower)) - 1, seq: small(seq), donor };
    rows.iter().map(|(borrower, seq, units, state)| (named(*borrower, *seq), half(small(*units), state))).collect()
}
