//! What every client did and was told, as it happened: a line each for invoke, ok, fail and unknown; and the ledger of
//! acknowledged orders, in the form that the audit takes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use shared::{Money, OrderId, UserId};
use tokio::time::Instant;

use super::client::{Outcome, Patience};

/// One order that was asked for, and what its shopper knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) key: String,
    pub(super) user_id: UserId,
    pub(super) total: Money,
    pub(super) outcome: Outcome,
}

/// A line of the ledger of acknowledged orders.
#[derive(Debug, Serialize)]
struct Acknowledged<'a> {
    order_id: OrderId,
    user_id: UserId,
    key: &'a str,
    total_minor: i64,
    currency: String,
}

/// Writes both files and keeps what is needed to compare.
#[derive(Debug)]
pub(super) struct History {
    begun: Instant,
    inner: Mutex<Inner>,
    acknowledged: PathBuf,
}

#[derive(Debug)]
struct Inner {
    history: BufWriter<File>,
    ledger: BufWriter<File>,
    asked: Vec<Asked>,
    trouble: Option<std::io::Error>,
}

impl History {
    /// Begins both files in a folder.
    pub(super) fn begin(folder: &Path) -> anyhow::Result<Self> {
        let acknowledged = folder.join("acknowledged.jsonl");
        let create = |path: &Path| {
            File::create(path).map(BufWriter::new).with_context(|| format!("cannot write {}", path.display()))
        };
        let (history, ledger) = (create(&folder.join("history.jsonl"))?, create(&acknowledged)?);
        let inner = Mutex::new(Inner { history, ledger, asked: Vec::new(), trouble: None });
        Ok(Self { begun: Instant::now(), inner, acknowledged })
    }

    /// An order is asked for, for the first time.
    pub(super) fn invoke(&self, key: &str, user: UserId) {
        let line = json!({ "at_ms": self.at_ms(), "type": "invoke", "key": key, "user_id": user });
        self.with(|inner| writeln!(inner.history, "{line}"));
    }

    /// Its shopper was told the last word.
    pub(super) fn told(&self, asked: Asked, patience: Patience) {
        let Asked { key, user_id, .. } = &asked;
        let Patience { waits, unsure } = patience;
        let mut line =
            json!({ "at_ms": self.at_ms(), "key": key, "user_id": user_id, "waits": waits, "unsure": unsure });
        match &asked.outcome {
            Outcome::Ok { order_id, total } => {
                line["type"] = "ok".into();
                line["order_id"] = json!(order_id);
                line["total_minor"] = total.minor().into();
            }
            Outcome::Fail(reason) => (line["type"], line["reason"]) = ("fail".into(), reason.as_str().into()),
            Outcome::Unknown(reason) => (line["type"], line["reason"]) = ("unknown".into(), reason.as_str().into()),
        }
        let ledger = match &asked.outcome {
            Outcome::Ok { order_id, total } => serde_json::to_string(&Acknowledged {
                order_id: *order_id,
                user_id: *user_id,
                key,
                total_minor: total.minor(),
                currency: total.currency().to_string(),
            })
            .ok(),
            Outcome::Fail(_) | Outcome::Unknown(_) => None,
        };
        self.with(|inner| {
            writeln!(inner.history, "{line}")?;
            ledger.map_or(Ok(()), |ledger| writeln!(inner.ledger, "{ledger}"))
        });
        self.with(|inner| {
            inner.asked.push(asked);
            Ok(())
        });
    }

    /// Everything so far, with both files on disk.
    pub(super) fn so_far(&self) -> anyhow::Result<Vec<Asked>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = inner.trouble.take() {
            return Err(trouble).context("the history could not be written");
        }
        inner.history.flush().and_then(|()| inner.ledger.flush()).context("the history could not be written")?;
        Ok(inner.asked.clone())
    }

    /// The ledger's file.
    pub(super) fn acknowledged(&self) -> &Path {
        &self.acknowledged
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn with(&self, write: impl FnOnce(&mut Inner) -> std::io::Result<()>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = write(&mut inner) {
            inner.trouble.get_or_insert(error);
        }
    }
}
