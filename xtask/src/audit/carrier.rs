//! The carrier sandbox's own log against our labels: whatever was sold is known here and on its parcel or on the way to one, and
//! nothing was paid for twice.
//!
//! The log goes on while we look. What it had before the cut must be known in it; what our shards know must be in the log as it is
//! now. A label that was written off was lost knowingly: nothing is asked of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use serde::Deserialize;
use uuid::Uuid;

use super::cut::{Cut, Shard};
use super::report::{Breach, Findings, Found};
use super::rules::SHIPMENTS_CARRIER;

/// The log, with what it had before the cut.
#[derive(Debug)]
pub(super) struct Carrier {
    path: PathBuf,
    before: Sales,
}

/// A label that the carrier sold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sold {
    /// Our name for its parcel, as the carrier was told.
    shipment_id: String,
    /// Absent as long as nothing is paid for.
    tracking_code: Option<String>,
    taken_back: bool,
}

/// What was sold, by the carrier's reference.
type Sales = HashMap<String, Sold>;

/// A line of the log, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Record {
    id: String,
    #[serde(flatten)]
    fact: Fact,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
enum Fact {
    Created { reference: Option<String> },
    Bought { tracking_code: String },
    Refunded,
    Moved,
}

/// A label as we have it.
#[derive(Debug, sqlx::FromRow)]
struct Ours {
    shipment_id: Uuid,
    order_id: Uuid,
    state: String,
    reference: String,
    tracking_code: Option<String>,
}

const OURS: &str =
    "SELECT shipment_id, order_id, state, reference, tracking_code FROM labels WHERE reference IS NOT NULL";

impl Carrier {
    /// Reads the log to its present end.
    pub(super) fn up_to_now(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), before: read(path)? })
    }
}

fn read(path: &Path) -> anyhow::Result<Sales> {
    let unread = || format!("cannot read {}", path.display());
    let (mut sales, mut text) = (Sales::new(), Vec::new());
    let mut log = BufReader::new(File::open(path).with_context(unread)?);
    // A line without its end is not written yet: nobody was answered about it.
    while log.read_until(b'\n', &mut text).with_context(unread)? > 0 && text.ends_with(b"\n") {
        note(&mut sales, serde_json::from_slice(&text).with_context(unread)?);
        text.clear();
    }
    sales.retain(|_, sold| sold.tracking_code.is_some());
    Ok(sales)
}

fn note(sales: &mut Sales, Record { id, fact }: Record) {
    let sold = sales.entry(id).or_default();
    match fact {
        Fact::Created { reference } => sold.shipment_id = reference.unwrap_or_default(),
        Fact::Bought { tracking_code } => sold.tracking_code = Some(tracking_code),
        Fact::Refunded => sold.taken_back = true,
        Fact::Moved => {}
    }
}

pub(super) async fn check(carrier: Option<Carrier>, cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(Carrier { path, mut before }) = carrier else {
        findings.skip(SHIPMENTS_CARRIER, "no log of a carrier was named");
        return Ok(());
    };
    let now = read(&path)?;
    let mut found = Found::rows(now.len() as u64);
    twice(&before, &now, &mut found);
    for shard in &mut cut.shards {
        compare(shard, &mut before, &now, &mut found).await?;
    }
    let mut unknown: Vec<_> = before.into_iter().collect();
    unknown.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (reference, Sold { shipment_id, .. }) in unknown {
        let problem = format!("sold for parcel {shipment_id}, under a name that no shard has committed");
        found.breach(Breach { shard: None, table: "carrier's log".to_owned(), key: reference, problem });
    }
    findings.add(SHIPMENTS_CARRIER, found);
    Ok(())
}

/// Parcels for which more than one label was paid for and none but one taken back.
fn twice(before: &Sales, now: &Sales, found: &mut Found) {
    let mut kept: HashMap<&str, u32> = HashMap::new();
    for reference in before.keys() {
        if let Some(sold) = now.get(reference).filter(|sold| !sold.taken_back) {
            *kept.entry(&sold.shipment_id).or_default() += 1;
        }
    }
    let mut doubled: Vec<_> = kept.into_iter().filter(|(_, labels)| *labels > 1).collect();
    doubled.sort_unstable();
    for (parcel, labels) in doubled {
        let problem = format!("{labels} labels are paid for");
        found.breach(Breach {
            shard: None,
            table: "carrier's log".to_owned(),
            key: format!("parcel {parcel}"),
            problem,
        });
    }
}

/// The labels of one shard against what was sold before the cut, which is then done with, and what is sold by now.
async fn compare(shard: &mut Shard, before: &mut Sales, now: &Sales, found: &mut Found) -> anyhow::Result<()> {
    let mut labels = sqlx::query_as::<_, Ours>(OURS).fetch(&mut shard.conn);
    while let Some(ours) = labels.try_next().await.with_context(|| format!("shard {}, labels", shard.id))? {
        found.rows += 1;
        let then = before.remove(&ours.reference);
        if let Some(problem) = contradiction(&ours, then.as_ref(), now.get(&ours.reference)) {
            let key = format!("order {}, {}", ours.order_id, ours.reference);
            found.breach(Breach { shard: Some(shard.id), table: "labels".to_owned(), key, problem });
        }
    }
    Ok(())
}

/// What our label and the carrier's log disagree in.
fn contradiction(ours: &Ours, before: Option<&Sold>, now: Option<&Sold>) -> Option<String> {
    let state = &ours.state;
    if let Some(sold) = now
        && sold.shipment_id != ours.shipment_id.to_string()
    {
        return Some(format!("{state} for parcel {}, sold for parcel {}", ours.shipment_id, sold.shipment_id));
    }
    match state.as_str() {
        "bought" | "sent" | "arrived" => match now {
            None => Some(format!("{state}, and the carrier has not sold it")),
            Some(sold) if sold.tracking_code != ours.tracking_code => {
                let code = |code: &Option<String>| code.clone().unwrap_or_else(|| "none".to_owned());
                Some(format!("{state} as {}, sold as {}", code(&ours.tracking_code), code(&sold.tracking_code)))
            }
            // What was handed in all the same is on its parcel.
            Some(_) if state == "bought" && before.is_some_and(|sold| sold.taken_back) => {
                Some("bought, and the carrier has taken it back".to_owned())
            }
            Some(_) => None,
        },
        "voided" | "refused" if before.is_some() && now.is_some_and(|sold| !sold.taken_back) => {
            Some(format!("{state}, and yet paid for and not taken back"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(state: &str) -> Ours {
        Ours {
            shipment_id: Uuid::from_u128(7),
            order_id: Uuid::from_u128(8),
            state: state.to_owned(),
            reference: "shp_1".to_owned(),
            tracking_code: Some("T1".to_owned()),
        }
    }

    fn sold(taken_back: bool) -> Sold {
        let shipment_id = Uuid::from_u128(7).to_string();
        Sold { shipment_id, tracking_code: Some("T1".to_owned()), taken_back }
    }

    fn differ(state: &str, before: Option<Sold>, now: Option<Sold>) -> bool {
        contradiction(&ours(state), before.as_ref(), now.as_ref()).is_some()
    }

    #[test]
    fn what_was_sold_is_used_taken_back_or_on_the_way_to_either() {
        for state in ["to_buy", "to_void", "bought", "sent", "arrived", "written_off"] {
            assert!(!differ(state, Some(sold(false)), Some(sold(false))), "{state}");
        }
        for state in ["voided", "refused"] {
            assert!(differ(state, Some(sold(false)), Some(sold(false))), "{state}: paid for nothing");
            assert!(!differ(state, Some(sold(false)), Some(sold(true))) && !differ(state, None, None), "{state}");
            assert!(!differ(state, None, Some(sold(false))), "{state}: younger than the cut");
        }
    }

    #[test]
    fn what_is_used_here_was_sold_for_that_parcel_under_that_code() {
        for state in ["bought", "sent", "arrived"] {
            assert!(differ(state, None, None), "{state}");
            let other = Sold { tracking_code: Some("T2".to_owned()), ..sold(false) };
            assert!(differ(state, Some(other.clone()), Some(other)), "{state}");
            let elsewhere = Sold { shipment_id: "another".to_owned(), ..sold(false) };
            assert!(differ(state, Some(elsewhere.clone()), Some(elsewhere)), "{state}");
        }
        assert!(differ("bought", Some(sold(true)), Some(sold(true))), "printed, and worth nothing");
        assert!(!differ("sent", Some(sold(true)), Some(sold(true))), "handed in all the same");
    }

    #[test]
    fn a_parcel_with_two_labels_that_are_paid_for_is_found() {
        let both = |back: bool| Sales::from([("shp_1".to_owned(), sold(false)), ("shp_2".to_owned(), sold(back))]);
        let found = |sales: Sales| {
            let mut found = Found::default();
            twice(&sales, &sales, &mut found);
            found.breaches
        };
        assert_eq!((found(both(false)), found(both(true))), (1, 0));
    }

    #[test]
    fn the_log_is_read_as_the_carrier_writes_it_to_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parcels.log");
        let log = r#"{"sequence":1,"at_ms":5,"id":"shp_1","fact":"created","reference":"ours","to_address":{},"from_address":{},"parcel":{}}
{"sequence":2,"at_ms":5,"id":"shp_2","fact":"created","reference":null,"to_address":{},"from_address":{},"parcel":{}}
{"sequence":3,"at_ms":5,"id":"shp_1","fact":"bought","service":1,"tracking_code":"T1"}
{"sequence":4,"at_ms":5,"id":"shp_1","fact":"moved","way":"in_transit"}
{"sequence":5,"at_ms":5,"id":"shp_1","fact":"refun"#;
        std::fs::write(&path, log).unwrap();
        let sold = Sold { shipment_id: "ours".to_owned(), tracking_code: Some("T1".to_owned()), taken_back: false };
        assert_eq!(read(&path).unwrap(), Sales::from([("shp_1".to_owned(), sold)]));
    }
}
