use region_core_store::Shard;
use region_core_store::test_support::one_shard;
use region_core_web::NoPeers;
use sqlx::Row;

use super::*;

fn entry(reference: &str, kind: EntryKind, units: i64) -> StockEntry {
    StockEntry {
        reference: reference.to_owned().try_into().unwrap(),
        sku: "MUG".parse().unwrap(),
        kind,
        units: units.try_into().unwrap(),
        shard: None,
    }
}

async fn ledger() -> (Ledger, Shard) {
    let shards = one_shard().await;
    let shard = shards.all().next().unwrap().clone();
    (Ledger::new(shards, Peers::new(NoPeers), std::sync::Arc::new(|_, _| {})), shard)
}

/// Free units, and what the ledger says there should be in all.
async fn counts(shard: &Shard) -> (i64, i64) {
    let query =
        "SELECT coalesce((SELECT sum(free) FROM allotments), 0)::bigint, coalesce(sum(units), 0)::bigint FROM ledger";
    let row = sqlx::query(query).fetch_one(&mut *shard.read().await.unwrap()).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn an_entry_counts_once_however_often_it_comes() {
    let (ledger, shard) = ledger().await;
    let delivery = entry("delivery 1", EntryKind::Supply, 10);
    assert!(ledger.enter(delivery.clone()).await.unwrap().new);
    assert!(!ledger.enter(delivery).await.unwrap().new);
    assert!(ledger.enter(entry("rma 1 line 1", EntryKind::Return, 2)).await.unwrap().new);
    assert!(ledger.enter(entry("inventory 2030", EntryKind::Shrink, 3)).await.unwrap().new);
    assert_eq!(counts(&shard).await, (9, 9));
}

#[tokio::test]
async fn a_reference_stands_for_one_entry() {
    let (ledger, shard) = ledger().await;
    ledger.enter(entry("delivery 1", EntryKind::Supply, 10)).await.unwrap();
    for other in [entry("delivery 1", EntryKind::Supply, 11), entry("delivery 1", EntryKind::Return, 10)] {
        assert!(matches!(ledger.enter(other).await, Err(LedgerError::ReferenceTaken(_))));
    }
    assert_eq!(counts(&shard).await, (10, 10));
}

#[tokio::test]
async fn no_more_is_written_off_than_is_free_and_the_reference_stays_unused() {
    let (ledger, shard) = ledger().await;
    ledger.enter(entry("delivery 1", EntryKind::Supply, 2)).await.unwrap();
    let refused = ledger.enter(entry("fire", EntryKind::Shrink, 3)).await.unwrap_err();
    assert_eq!(refused.to_string(), "MUG: 3 lost, 2 free in this shard");
    assert_eq!(Problem::from(refused).status, 409);
    assert_eq!(counts(&shard).await, (2, 2));
    assert!(ledger.enter(entry("fire", EntryKind::Shrink, 2)).await.unwrap().new);
}

#[tokio::test]
async fn one_entry_sent_many_times_at_once_is_booked_once() {
    let (ledger, shard) = ledger().await;
    let same = (0..8).map(|_| ledger.enter(entry("delivery 1", EntryKind::Supply, 10)));
    let booked = futures::future::join_all(same).await;
    assert_eq!(booked.iter().filter(|booked| booked.as_ref().unwrap().new).count(), 1);
    assert_eq!(counts(&shard).await, (10, 10));
}

#[tokio::test]
async fn entries_are_listed_as_they_were_entered() {
    let (ledger, _) = ledger().await;
    let entered = [entry("delivery 1", EntryKind::Supply, 10), entry("fire", EntryKind::Shrink, 3)];
    for entry in entered.clone() {
        ledger.enter(entry).await.unwrap();
    }
    let listed = ledger.list(&"MUG".parse().unwrap()).await.unwrap();
    let entry =
        |LedgerLine { reference, sku, kind, units, .. }| StockEntry { reference, sku, kind, units, shard: None };
    let listed: Vec<_> = listed.into_iter().rev().map(entry).collect();
    assert_eq!(listed, entered);
    assert!(ledger.list(&"CUP".parse().unwrap()).await.unwrap().is_empty());
}

#[test]
fn a_sku_has_one_home_and_all_shards_are_home_to_some() {
    let shards =
        [(1, "eu"), (2, "eu"), (3, "us")].map(|(id, region)| (id.try_into().unwrap(), region.parse().unwrap()));
    let map = SlotMap::even(1, shards.clone().into()).unwrap();
    let homes = |map: &SlotMap| (0..300).map(|n| home(map, &format!("S{n}").parse().unwrap())).collect::<Vec<_>>();
    let before = homes(&map);
    for (shard, _) in shards {
        assert!((60..140).contains(&before.iter().filter(|home| **home == shard).count()), "{before:?}");
    }
    // Another shard takes over some; the others stay where they are.
    let more: std::collections::BTreeMap<_, _> = map
        .shards()
        .map(|(id, region)| (id, region.clone()))
        .chain([(9.try_into().unwrap(), "us".parse().unwrap())])
        .collect();
    let after = homes(&SlotMap::even(2, more).unwrap());
    let nine: ShardId = 9.try_into().unwrap();
    assert!(before.iter().zip(&after).all(|(old, new)| old == new || *new == nine));
}

#[test]
fn what_is_no_entry_is_refused_by_its_shape() {
    let parse = |json: &str| serde_json::from_str::<StockEntry>(json);
    assert!(parse(r#"{"ref":"a","sku":"MUG","kind":"supply","units":1}"#).is_ok());
    for bad in [
        r#"{"ref":"","sku":"MUG","kind":"supply","units":1}"#,
        r#"{"ref":"a\u0000","sku":"MUG","kind":"supply","units":1}"#,
        r#"{"ref":"a","sku":"MUG","kind":"gift","units":1}"#,
        r#"{"ref":"a","sku":"MUG","kind":"shrink","units":-1}"#,
        r#"{"ref":"a","sku":"MUG","kind":"supply","units":0}"#,
        r#"{"ref":"a","sku":"MUG","kind":"supply","units":1,"shard":0}"#,
        r#"{"ref":"a","sku":"MUG","kind":"supply","units":1,"note":"x"}"#,
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
