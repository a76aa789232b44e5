//! Whose is which slot: the shards' own rows against each other and against the slot map.
//!
//! A slot's epoch rises when it moves. The new owner says so before the map does; so a shard other than the map's may
//! own a slot only at an epoch that the map has not reached.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use sqlx::PgConnection;

use super::cut::Cut;
use super::layout::Layout;
use super::report::{Breach, Findings, Found};
use super::rules::SLOTS_OWNERS;

/// The slots that there are.
const SLOTS: i16 = 4096;

/// The map as the control schema keeps it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    epoch: i64,
    owners: BTreeMap<i16, i16>,
    shards: BTreeMap<i16, String>,
}

/// What a shard says about a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    shard: i16,
    state: String,
    epoch: i64,
}

impl SlotMap {
    pub(super) async fn read(catalog: &mut PgConnection) -> anyhow::Result<Self> {
        let epoch = sqlx::query_scalar("SELECT epoch FROM control.slot_map").fetch_optional(&mut *catalog).await?;
        let owners: Vec<(i16, i16)> =
            sqlx::query_as("SELECT slot, shard_id FROM control.slot_owners").fetch_all(&mut *catalog).await?;
        let shards: Vec<(i16, String)> =
            sqlx::query_as("SELECT shard_id, region FROM control.shards").fetch_all(catalog).await?;
        let epoch = epoch.context("the control schema has no slot map")?;
        Ok(Self { epoch, owners: owners.into_iter().collect(), shards: shards.into_iter().collect() })
    }

    /// Nothing can be said about a store of which some shards are not looked at.
    pub(super) fn expect_shards(&self, layout: &Layout) -> anyhow::Result<()> {
        let looked_at: BTreeMap<i16, String> =
            layout.shards.iter().map(|site| (site.id, site.region.clone())).collect();
        ensure!(
            looked_at == self.shards,
            "the slot map knows shards {:?}, but those to look at are {looked_at:?}",
            self.shards
        );
        Ok(())
    }
}

pub(super) async fn check(cut: &mut Cut, findings: &mut Findings) -> anyhow::Result<()> {
    let mut claims: BTreeMap<i16, Vec<Claim>> = (0..SLOTS).map(|slot| (slot, Vec::new())).collect();
    let mut found = Found::rows(cut.map.owners.len() as u64);
    for shard in &mut cut.shards {
        let rows: Vec<(i16, String, i64)> =
            sqlx::query_as("SELECT slot, state, epoch FROM slots").fetch_all(&mut shard.conn).await?;
        found.rows += rows.len() as u64;
        for (slot, state, epoch) in rows {
            claims.entry(slot).or_default().push(Claim { shard: shard.id, state, epoch });
        }
    }
    for (slot, claims) in claims {
        if let Some(problem) = contradiction(cut.map.epoch, cut.map.owners.get(&slot).copied(), &claims) {
            let (table, key) = ("slots".to_owned(), format!("slot {slot}"));
            found.breach(Breach { shard: None, table, key, problem });
        }
    }
    findings.add(SLOTS_OWNERS, found);
    Ok(())
}

/// What is wrong with a slot, by what the map and all shards say. While it moves it may be frozen at its source.
fn contradiction(map_epoch: i64, mapped: Option<i16>, claims: &[Claim]) -> Option<String> {
    let owners: Vec<&Claim> =
        claims.iter().filter(|claim| matches!(claim.state.as_str(), "owner" | "frozen")).collect();
    let [owner] = owners.as_slice() else {
        let said = claims.iter().map(|claim| format!("{} on shard {}", claim.state, claim.shard)).collect::<Vec<_>>();
        let said = if said.is_empty() { "nobody knows it".to_owned() } else { said.join(", ") };
        return Some(format!("{} owners: {said}", owners.len()));
    };
    let newer = claims.iter().find(|claim| claim.epoch > owner.epoch && claim.state != "importing");
    if let Some(newer) = newer {
        return Some(format!(
            "shard {} owns it at epoch {}, but shard {} knew epoch {}",
            owner.shard, owner.epoch, newer.shard, newer.epoch
        ));
    }
    if mapped != Some(owner.shard) && owner.epoch <= map_epoch {
        let mapped = mapped.map_or_else(|| "nobody".to_owned(), |shard| format!("shard {shard}"));
        return Some(format!(
            "shard {} owns it at epoch {}, but the map of epoch {map_epoch} names {mapped}",
            owner.shard, owner.epoch
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mapped: i16, claims: &[(i16, &str, i64)]) -> Option<String> {
        let claim = |(shard, state, epoch): &(i16, &str, i64)| Claim {
            shard: *shard,
            state: (*state).to_owned(),
            epoch: *epoch,
        };
        contradiction(5, Some(mapped), &claims.iter().map(claim).collect::<Vec<_>>())
    }

    #[test]
    fn a_slot_at_rest_or_on_its_way_has_one_owner() {
        for claims in [
            &[(1, "owner", 1)][..],
            &[(1, "frozen", 1), (2, "importing", 6)],
            // The target owns it, the map is not told yet.
            &[(1, "moved", 6), (2, "owner", 6)],
        ] {
            assert_eq!(said(1, claims), None, "{claims:?}");
        }
        assert_eq!(said(2, &[(1, "moved", 4), (2, "owner", 4)]), None);
    }

    #[test]
    fn two_owners_none_the_wrong_one_and_an_old_one_are_found() {
        assert_eq!(
            said(1, &[(1, "owner", 1), (2, "owner", 2)]).unwrap(),
            "2 owners: owner on shard 1, owner on shard 2"
        );
        assert_eq!(said(1, &[(1, "moved", 1)]).unwrap(), "0 owners: moved on shard 1");
        assert_eq!(said(1, &[]).unwrap(), "0 owners: nobody knows it");
        assert_eq!(
            said(1, &[(2, "owner", 5)]).unwrap(),
            "shard 2 owns it at epoch 5, but the map of epoch 5 names shard 1"
        );
        let fallen = said(1, &[(1, "owner", 3), (2, "moved", 4)]).unwrap();
        assert_eq!(fallen, "shard 1 owns it at epoch 3, but shard 2 knew epoch 4");
    }
}
