//! The client's own list of acknowledged orders against the shards: every one exists once, under its key, as he was
//! told.
//!
//! One JSON object a line: `{"order_id": …, "user_id": …, "key": …, "total_minor": …, "currency": …}`. The list is read
//! up to the end that it had before the cut, a piece at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Take};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::cut::{Cut, Shard};
use super::report::{Breach, Findings, Found};
use super::rules::{ORDERS_ACKNOWLEDGED, slot_of_uuid};

/// Lines looked up together.
const PIECE: usize = 5_000;

/// An order that a client was told of.
#[derive(Debug, Deserialize)]
struct Acknowledgement {
    order_id: Uuid,
    #[serde(deserialize_with = "decimal")]
    user_id: i64,
    key: String,
    total_minor: i64,
    currency: String,
}

/// The list, open up to the end that it had.
#[derive(Debug)]
pub(super) struct Acknowledged {
    path: PathBuf,
    lines: BufReader<Take<File>>,
    line: usize,
}

/// An order as a shard has it, or the key under which the shard has another.
#[derive(Debug, sqlx::FromRow)]
struct Kept {
    place: i32,
    user_id: Option<i64>,
    total_minor: Option<i64>,
    currency: Option<String>,
    keyed: Option<Uuid>,
    /// Whether this shard owns the order's slot.
    lives: bool,
}

const KEPT: &str = concat!(
    "SELECT place, orders.user_id, total_minor, currency, record.order_id AS keyed,
            coalesce(slots.state IN ('owner', 'frozen'), false) AS lives
     FROM unnest($1::uuid[], $2::bigint[], $3::text[]) WITH ORDINALITY AS told (order_id, user_id, key, ordinal)
     CROSS JOIN LATERAL (SELECT ordinal::integer - 1) AS at (place)
     LEFT JOIN orders ON orders.order_id = told.order_id
     LEFT JOIN idempotency_records AS record ON record.user_id = told.user_id AND record.key = told.key
     LEFT JOIN slots ON slots.slot = ",
    slot_of_uuid!("told.order_id"),
    " WHERE orders.order_id IS NOT NULL OR record.order_id IS NOT NULL"
);

impl Acknowledged {
    /// The list as long as it is now.
    pub(super) fn up_to_now(path: &Path) -> anyhow::Result<Self> {
        let opened = || File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path: path.to_owned(), lines: BufReader::new(file.take(length)), line: 0 })
    }

    /// The next lines; none at the end. A torn last line was never finished by its writer.
    fn piece(&mut self) -> anyhow::Result<Vec<Acknowledgement>> {
        let (mut piece, mut text) = (Vec::new(), String::new());
        while piece.len() < PIECE {
            text.clear();
            self.line += 1;
            let read = self.lines.read_line(&mut text);
            let place = || format!("{}, line {}", self.path.display(), self.line);
            read.with_context(place)?;
            if !text.ends_with('\n') {
                break;
            }
            piece.push(serde_json::from_str(&text).with_context(place)?);
        }
        Ok(piece)
    }
}

pub(super) async fn check(list: Option<Acknowledged>, cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(mut list) = list else {
        findings.skip(ORDERS_ACKNOWLEDGED, "no list of acknowledged orders was given");
        return Ok(());
    };
    let mut found = Found::default();
    loop {
        let piece = list.piece()?;
        if piece.is_empty() {
            findings.add(ORDERS_ACKNOWLEDGED, found);
            return Ok(());
        }
        compare(&piece, cut, &mut found).await?;
    }
}

async fn compare(piece: &[Acknowledgement], cut: &mut Cut, found: &mut Found) -> anyhow::Result<()> {
    let mut kept: HashMap<i32, Vec<(i16, Kept)>> = HashMap::new();
    for shard in &mut cut.shards {
        for row in look_up(shard, piece).await.with_context(|| format!("shard {}, orders", shard.id))? {
            kept.entry(row.place).or_default().push((shard.id, row));
        }
    }
    found.rows += piece.len() as u64;
    for (told, place) in piece.iter().zip(0..) {
        let kept = kept.remove(&place).unwrap_or_default();
        if let Some((shard, problem)) = contradiction(told, &kept) {
            let key = format!("order {}, user {}, key {}", told.order_id, told.user_id, told.key);
            found.breach(Breach { shard, table: "orders".to_owned(), key, problem });
        }
    }
    Ok(())
}

async fn look_up(shard: &mut Shard, piece: &[Acknowledgement]) -> Result<Vec<Kept>, sqlx::Error> {
    let orders: Vec<Uuid> = piece.iter().map(|told| told.order_id).collect();
    let users: Vec<i64> = piece.iter().map(|told| told.user_id).collect();
    let keys: Vec<&str> = piece.iter().map(|told| told.key.as_str()).collect();
    sqlx::query_as(KEPT).bind(orders).bind(users).bind(keys).fetch_all(&mut shard.conn).await
}

/// What is wrong, and on which shard. What a slot that moved away left behind counts only if the order is nowhere else.
fn contradiction(told: &Acknowledgement, kept: &[(i16, Kept)]) -> Option<(Option<i16>, String)> {
    let all: Vec<&(i16, Kept)> = kept.iter().filter(|(_, row)| row.user_id.is_some()).collect();
    let living: Vec<&(i16, Kept)> = all.iter().filter(|(_, row)| row.lives).copied().collect();
    let orders = if living.is_empty() { &all } else { &living };
    let [(shard, row)] = orders.as_slice() else {
        let shards: Vec<String> = orders.iter().map(|(shard, _)| shard.to_string()).collect();
        let other = kept
            .iter()
            .find_map(|(shard, row)| Some(format!("; shard {shard} has order {} under its key", row.keyed?)));
        let problem = if shards.is_empty() {
            format!("was acknowledged and is on no shard{}", other.unwrap_or_default())
        } else {
            format!("is on shards {}", shards.join(" and "))
        };
        return Some((None, problem));
    };
    let stored = (row.user_id, row.total_minor, row.currency.as_deref());
    if stored != (Some(told.user_id), Some(told.total_minor), Some(told.currency.as_str())) {
        let (total, currency) = (row.total_minor.unwrap_or_default(), row.currency.as_deref().unwrap_or_default());
        let user = row.user_id.unwrap_or_default();
        let problem = format!(
            "acknowledged with {} {}, kept with {total} {currency} (minor units) for user {user}",
            told.total_minor, told.currency
        );
        return Some((Some(*shard), problem));
    }
    let keyed = kept.iter().find_map(|(_, row)| row.keyed);
    (keyed != Some(told.order_id)).then(|| {
        let keyed = keyed.map_or_else(|| "no order".to_owned(), |order| format!("order {order}"));
        (Some(*shard), format!("its key names {keyed}"))
    })
}

/// A user's id: a decimal string, or a number.
fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}
