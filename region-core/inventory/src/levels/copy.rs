//! The region's counts in Redis: a hash of units by SKU, and beside it the order in which they changed.
//!
//! Every core of the region writes what it has read and hears what others have written. A count that another core wrote and
//! that differs from one's own is no truth but a reason to read the shards again; who then finds that it is wrong writes the
//! right one, which the others check in turn. So the last count written is one that every core agrees with, whichever came
//! last on the way. Redis may forget everything or be away: then nobody hears anything, which the scans make up for.

use region_core_store::redis::Redis;
use shared::{RegionName, Sku};

/// Counts written or heard at once.
pub(super) const BATCH: usize = 500;

/// `KEYS`: hash, order, version. `ARGV`: SKU, units, SKU, units, …
const PUBLISH: &str = "
    local version = redis.call('INCRBY', KEYS[3], #ARGV / 2) - #ARGV / 2
    for i = 1, #ARGV, 2 do
        version = version + 1
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        redis.call('ZADD', KEYS[2], version, ARGV[i])
    end
    return {}";

/// `KEYS`: the same. `ARGV`: the version after which, and how many at most. Answers the version as it is now, and then SKU,
/// units and version of each change.
const HEAR: &str = "
    local answer = { redis.call('GET', KEYS[3]) or '0' }
    local changed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
    for i = 1, #changed, 2 do
        answer[#answer + 1] = changed[i]
        answer[#answer + 1] = redis.call('HGET', KEYS[1], changed[i]) or ''
        answer[#answer + 1] = changed[i + 1]
    end
    return answer";

/// The copy of one region.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    redis: Redis,
    keys: Vec<String>,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The version of the whole copy; lower than what was heard before if Redis has forgotten.
    pub(super) version: u64,
    /// Up to which version these changes reach.
    pub(super) reached: u64,
    /// SKUs with their units; without, where half of the copy is lost.
    pub(super) counts: Vec<(Sku, Option<u64>)>,
}

impl Copy {
    /// The copy of that region's counts. The braces keep its keys on one node of a cluster.
    pub(super) fn of(redis: Redis, region: &RegionName) -> Self {
        let keys = ["counts", "order", "version"].map(|part| format!("stock:{{{region}}}:{part}"));
        Self { redis, keys: keys.into() }
    }

    /// Writes counts; whether Redis took them.
    pub(super) async fn publish(&self, counts: &[(Sku, u64)]) -> bool {
        let arguments = counts.iter().flat_map(|(sku, units)| [sku.to_string(), units.to_string()]).collect();
        self.redis.run("stock_publish", PUBLISH, self.keys.clone(), arguments).await.is_some()
    }

    /// What changed after `version`, [`BATCH`] SKUs at most; nothing if Redis is away.
    pub(super) async fn hear(&self, version: u64) -> Option<Heard> {
        let arguments = vec![version.to_string(), BATCH.to_string()];
        let answer = self.redis.run("stock_hear", HEAR, self.keys.clone(), arguments).await?;
        read(&answer, version)
    }
}

fn read(answer: &[String], since: u64) -> Option<Heard> {
    let (version, changes) = answer.split_first()?;
    let mut heard = Heard { version: version.parse().ok()?, reached: since, counts: Vec::new() };
    for change in changes.chunks_exact(3) {
        heard.reached = change[2].parse().ok()?;
        // What is no SKU was not written by us.
        heard.counts.extend(change[0].parse().ok().map(|sku| (sku, change[1].parse().ok())));
    }
    Some(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_or_not_believed() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let (mug, cup): (Sku, Sku) = ("MUG".parse().unwrap(), "CUP".parse().unwrap());
        let counts = vec![(mug, Some(3)), (cup, None)];
        assert_eq!(read(&words("9,MUG,3,7,CUP,,9"), 5), Some(Heard { version: 9, reached: 9, counts }));
        assert_eq!(read(&words("9"), 9), Some(Heard { version: 9, reached: 9, counts: Vec::new() }));
        assert_eq!(read(&words("9,MUG,3,x"), 5), None);
        assert_eq!(read(&[], 5), None);
    }
}
