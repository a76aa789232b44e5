//! What unfinished and finished business leaves behind, removed in bounded steps.

use region_core_store::{Shard, StoreError, own_slot};

use crate::service::{AccountError, Accounts};
use crate::step::FindLogin;
use crate::store::credentials::{self, Pending};
use crate::store::{logins, sessions};

/// Rows in one statement.
const BATCH: i64 = 1_000;
/// Unfinished sign-ups looked at in one round, for each shard: each asks the login directory.
const PENDING: i64 = 100;

impl Accounts {
    /// One round: forgets expired reservations and sessions, and judges sign-ups that never heard whether they had won.
    /// How many rows were dealt with.
    ///
    /// # Errors
    /// Those of the store or of a peer; the next round goes on.
    #[tracing::instrument(name = "account.sweep", skip_all, err)]
    pub async fn sweep(&self) -> Result<u64, AccountError> {
        let mut swept = 0;
        for shard in self.shards.all() {
            swept +=
                shard.write("account.forget_logins", async |conn| logins::forget_expired(conn, BATCH).await).await?;
            swept += shard
                .write("account.forget_sessions", async |conn| sessions::forget_expired(conn, BATCH).await)
                .await?;
            swept += self.judge_pending(shard).await?;
        }
        Ok(swept)
    }

    async fn judge_pending(&self, shard: &Shard) -> Result<u64, AccountError> {
        let pending = credentials::list_pending(&mut *shard.read().await?, PENDING).await?;
        let count = pending.len() as u64;
        for entry in pending {
            let owner = self.perform(FindLogin { email: entry.email.clone() }).await?;
            settle_or_delete(shard, entry.clone(), owner == Some(entry.user)).await?;
        }
        Ok(count)
    }
}

/// The directory has spoken: the e-mail is this user's, or it went to another and nobody can sign in as this one.
async fn settle_or_delete(shard: &Shard, entry: Pending, won: bool) -> Result<(), StoreError> {
    let write = shard.write("account.settle", async move |conn| {
        own_slot(conn, entry.user.slot()).await?;
        if won {
            credentials::settle(conn, entry.user, &entry.email).await
        } else {
            credentials::delete_pending(conn, &entry).await
        }
    });
    write.await
}
