//! Which of several processes writes a shard by preference, over a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use region_core_store::test_support::{TestDatabase, shard_database};
use region_core_store::{Preferred, Shard, StoreError};
use shared::ShardId;
use sqlx::PgPool;

/// A process that may write the shard.
struct Process {
    name: &'static str,
    shard: Shard,
}

impl Process {
    fn of(database: &TestDatabase, name: &'static str) -> Self {
        Self { name, shard: Shard::from_pool(ShardId::try_from(1).unwrap(), database.pool.clone()) }
    }

    async fn stands(&self) -> Preferred {
        Preferred::clone(&*self.shard.turn().stand_once(self.name).await.unwrap())
    }

    fn believes(&self) -> Preferred {
        Preferred::clone(&*self.shard.turn().preferred())
    }

    /// Writes in the turn; what is written does not matter.
    async fn writes(&self) -> Result<(), StoreError> {
        self.shard.turn().write("test", async |conn| Ok(sqlx::query("SELECT 1").execute(conn).await.map(drop)?)).await
    }
}

fn elsewhere(name: &str) -> Preferred {
    Preferred::Elsewhere(name.to_owned())
}

/// Ends the connection that holds the lock, and waits until it has ended.
async fn end_preferred_connection(pool: &PgPool) {
    let sql = "WITH holders AS MATERIALIZED (
            SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
        SELECT count(*) FROM holders WHERE pg_terminate_backend(pid, 10000)";
    let ended: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
    assert_eq!(ended, 1, "one connection holds the lock");
}

#[tokio::test]
async fn of_two_processes_one_is_preferred_and_the_other_knows_it() {
    let database = shard_database().await;
    let [one, two] = ["one", "two"].map(|name| Process::of(&database, name));
    assert_eq!(one.believes(), Preferred::Unknown);
    assert_eq!((one.stands().await, two.stands().await), (Preferred::Here, elsewhere("one")));
    for _ in 0..3 {
        one.writes().await.unwrap();
        two.writes().await.unwrap();
        assert_eq!((two.stands().await, one.stands().await), (elsewhere("one"), Preferred::Here));
    }
}

#[tokio::test]
async fn the_other_process_is_elected_once_the_preferred_ones_connection_is_gone() {
    let database = shard_database().await;
    let [one, two] = ["one", "two"].map(|name| Process::of(&database, name));
    assert_eq!((one.stands().await, two.stands().await), (Preferred::Here, elsewhere("one")));
    end_preferred_connection(&database.pool).await;
    assert_eq!(two.stands().await, Preferred::Here);
    // The first finds its connection gone when it uses it, at the latest when it stands again.
    drop(one.writes().await);
    assert_ne!(one.believes(), Preferred::Here);
    assert_eq!(one.stands().await, elsewhere("two"));
    one.writes().await.unwrap();
    let row: (String, i64) =
        sqlx::query_as("SELECT core, taken FROM preferred_writer").fetch_one(&database.pool).await.unwrap();
    assert_eq!(row, ("two".to_owned(), 2));
}

#[tokio::test]
async fn a_writer_who_is_dropped_in_the_middle_takes_the_preference_with_him() {
    let database = shard_database().await;
    let [one, two] = ["one", "two"].map(|name| Process::of(&database, name));
    assert_eq!(one.stands().await, Preferred::Here);
    let mut seat = one.shard.turn().take().await.unwrap();
    drop(seat.connection().await.unwrap());
    drop(seat);
    // The server hears of the end of the connection a moment later.
    while two.stands().await != Preferred::Here {
        tokio::task::yield_now().await;
    }
    assert_eq!(one.stands().await, elsewhere("two"));
}

#[tokio::test]
async fn who_stands_all_the_time_is_elected_when_the_preferred_one_goes() {
    let database = shard_database().await;
    let [one, two] = ["one", "two"].map(|name| Process::of(&database, name));
    assert_eq!(one.stands().await, Preferred::Here);
    let turn = two.shard.turn().clone();
    let standing = tokio::spawn(async move { turn.stand("two").await });
    while two.believes() != elsewhere("one") {
        tokio::task::yield_now().await;
    }
    end_preferred_connection(&database.pool).await;
    two.shard.turn().doubt();
    while two.believes() != Preferred::Here {
        tokio::task::yield_now().await;
    }
    standing.abort();
}

#[tokio::test]
async fn a_shard_that_knows_no_preference_yet_is_written_all_the_same() {
    let database = shard_database().await;
    sqlx::query("DROP TABLE preferred_writer").execute(&database.pool).await.unwrap();
    let one = Process::of(&database, "one");
    one.shard.turn().stand_once("one").await.unwrap_err();
    one.writes().await.unwrap();
    assert_eq!(one.believes(), Preferred::Unknown);
}
