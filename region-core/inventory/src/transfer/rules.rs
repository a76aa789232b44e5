//! How much to ask for, whom, how much to give, and when a SKU is sold out. Numbers in, numbers out.

use std::time::Duration;

use shared::ShardId;

use super::message::{Count, MAX_WANT, Mode};

/// Fewest units worth a transfer while there are plenty.
pub(crate) const MIN_BATCH: u64 = 20;
/// A borrower asks for as much as it expects to sell in this time.
pub(crate) const HORIZON: Duration = Duration::from_secs(60);
/// A donor keeps what it expects to sell in this time; a shard that has less left borrows before anybody waits.
pub(crate) const LEAD_TIME: Duration = Duration::from_secs(15);
/// Donors asked at once, while there are plenty.
const MOST_DONORS: usize = 2;

/// How much to ask for, when `need` units are missing and `expected` will be sold within [`HORIZON`].
pub(crate) fn want(need: u64, expected: u64) -> u64 {
    need.max(expected).clamp(MIN_BATCH, MAX_WANT)
}

/// A shard that could give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) shard: ShardId,
    /// Whether it stands in the borrower's region.
    pub(crate) near: bool,
    /// Its free units, as last heard.
    pub(crate) free: Option<u64>,
}

/// Whom to ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    /// These, for a share.
    Share(Vec<ShardId>),
    /// Little is left: everybody, for exactly what is missing.
    Tail,
}

/// Chooses donors for `need` units: near ones first, the richest first, as few as will do. What was heard is only a hint: a
/// shard that nothing was heard of is asked as if it had enough.
pub(crate) fn plan(need: u64, candidates: &[Candidate]) -> Plan {
    let near: Vec<_> = candidates.iter().filter(|candidate| candidate.near).copied().collect();
    match enough(need, near).or_else(|| enough(need, candidates.to_vec())) {
        Some(donors) => Plan::Share(donors),
        None => Plan::Tail,
    }
}

/// The fewest of these that would give `need` units if each gave half.
fn enough(need: u64, mut candidates: Vec<Candidate>) -> Option<Vec<ShardId>> {
    let promise = |candidate: &Candidate| candidate.free.map_or(u64::MAX, |free| free / 2);
    // What was heard to be there goes before what was not heard of.
    candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.near, candidate.free)));
    let mut promised = 0_u64;
    for (index, candidate) in candidates.iter().take(MOST_DONORS).enumerate() {
        promised = promised.saturating_add(promise(candidate));
        if promised >= need {
            return Some(candidates[..=index].iter().map(|candidate| candidate.shard).collect());
        }
    }
    None
}

/// Whom to ask near the end for exactly `want` units, and for how many each: near ones first, the richest first, until all is
/// asked for by what was read of them. A shard of which nothing was read is asked last, for what is missing then. To ask all for
/// everything would bring more than is wanted, which others then lack and fetch back.
pub(crate) fn split(want: u64, mut candidates: Vec<Candidate>) -> Vec<(ShardId, u64)> {
    candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.free.is_some(), candidate.near, candidate.free)));
    let mut left = want;
    let share = |candidate: &Candidate| {
        let share = candidate.free.unwrap_or(left).min(left);
        left -= candidate.free.map_or(0, |_| share);
        (candidate.shard, share)
    };
    candidates.iter().map(share).filter(|(_, share)| *share > 0).collect()
}

/// Orders of the donor that wait for a SKU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Waiting {
    /// Units that all of them wait for.
    pub(crate) units: u64,
    /// Units of those among them that what is free can serve, and that nothing else keeps waiting.
    pub(crate) served: u64,
}

/// What a donor gives, of `free` units: its own waiting orders come first.
///
/// When units are scattered over shards whose orders each wait for what another one has, one of them must give in or all
/// would wait: the one with the greater number does. `yields` says that the donor is that one.
pub(crate) fn give(mode: Mode, want: u64, free: u64, waiting: Waiting, reserve: u64, yields: bool) -> u64 {
    match mode {
        Mode::Share => want.min(free.saturating_sub(waiting.units).saturating_sub(reserve) / 2),
        Mode::Exact if yields => want.min(free.saturating_sub(waiting.served)),
        Mode::Exact => want.min(free.saturating_sub(waiting.units)),
        Mode::Settle => 0,
    }
}

/// Units of a SKU left in all shards together, at most, if that can be told from two readings of every shard, the second begun
/// after the first had ended. `None` if a shard did not answer, or units were or may have been on their way.
///
/// Consider the moment between the readings. A transfer in flight then was pending at its borrower in the first reading, or
/// was begun after it and has raised `begun` in the second; so there is none, and all units lie in shards. Since its first
/// reading no shard has credited any, so it has no more than it had then. A transfer that ended during the first reading may
/// be counted at both ends: too much, never too little.
pub(crate) fn left_everywhere(first: &[Option<Count>], second: &[Option<Count>]) -> Option<u64> {
    let readings = first.iter().zip(second).map(|(first, second)| {
        let (first, second) = (first.as_ref()?, second.as_ref()?);
        let still = !first.arriving && !second.arriving && first.begun == second.begun;
        still.then_some(first.free)
    });
    readings.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::Seq;
    use super::*;

    fn shard(number: i16) -> ShardId {
        ShardId::try_from(number).unwrap()
    }

    fn candidate(number: i16, near: bool, free: impl Into<Option<u64>>) -> Candidate {
        Candidate { shard: shard(number), near, free: free.into() }
    }

    fn count(free: u64, arriving: bool, begun: i64) -> Option<Count> {
        Some(Count { sku: "MUG".parse().unwrap(), free, arriving, begun: Seq(begun) })
    }

    #[test]
    fn a_transfer_is_worth_its_way() {
        assert_eq!((want(1, 0), want(50, 10), want(1, 300)), (MIN_BATCH, 50, 300));
        assert_eq!(want(u64::MAX, 0), MAX_WANT);
    }

    #[test]
    fn the_nearest_that_has_enough_is_asked_and_no_more_than_needed() {
        let far = candidate(3, false, 1_000);
        assert_eq!(plan(5, &[far, candidate(2, true, 10)]), Plan::Share(vec![shard(2)]));
        assert_eq!(plan(6, &[far, candidate(2, true, 10)]), Plan::Share(vec![shard(2), shard(3)]));
        assert_eq!(plan(6, &[far, candidate(2, true, 0), candidate(4, true, 12)]), Plan::Share(vec![shard(4)]));
        assert_eq!(plan(6, &[candidate(2, true, 6), candidate(4, true, 6)]), Plan::Share(vec![shard(2), shard(4)]));
    }

    #[test]
    fn a_shard_that_nothing_was_heard_of_is_asked() {
        assert_eq!(plan(5, &[candidate(3, false, None), candidate(2, true, None)]), Plan::Share(vec![shard(2)]));
        assert_eq!(plan(5, &[candidate(3, false, None), candidate(2, true, 0)]), Plan::Share(vec![shard(2), shard(3)]));
    }

    #[test]
    fn when_little_is_left_everybody_is_asked() {
        assert_eq!(plan(5, &[candidate(2, true, 4), candidate(3, false, 5)]), Plan::Tail);
        assert_eq!(plan(1, &[]), Plan::Tail);
    }

    #[test]
    fn near_the_end_each_is_asked_for_no_more_than_is_missing_yet() {
        let (rich, poor, far) = (candidate(2, true, 5), candidate(4, true, 2), candidate(3, false, 9));
        assert_eq!(split(4, vec![far, poor, rich]), [(shard(2), 4)]);
        assert_eq!(split(9, vec![far, poor, rich]), [(shard(2), 5), (shard(4), 2), (shard(3), 2)]);
        assert_eq!(split(99, vec![poor, candidate(3, false, 0)]), [(shard(4), 2)]);
        // Who was silent may have all of it or nothing.
        assert_eq!(split(4, vec![candidate(3, false, None), poor]), [(shard(4), 2), (shard(3), 2)]);
        assert_eq!(split(4, vec![candidate(2, true, None), far]), [(shard(3), 4)]);
        assert_eq!(split(0, vec![rich, candidate(3, false, None)]), []);
    }

    #[test]
    fn a_donor_halves_while_there_is_plenty_and_gives_all_at_the_end() {
        let none = Waiting::default();
        assert_eq!(give(Mode::Share, 100, 100, none, 20, false), 40);
        assert_eq!(give(Mode::Share, 10, 100, none, 0, false), 10);
        assert_eq!(give(Mode::Share, 10, 1, none, 0, false), 0);
        assert_eq!(give(Mode::Exact, 10, 7, none, 100, false), 7);
        assert_eq!(give(Mode::Settle, 10, 7, none, 0, true), 0);
    }

    #[test]
    fn a_donor_serves_its_own_waiting_orders_first() {
        let waiting = Waiting { units: 5, served: 5 };
        assert_eq!(give(Mode::Exact, 10, 7, waiting, 0, false), 2);
        assert_eq!(give(Mode::Exact, 10, 7, waiting, 0, true), 2);
        let too_much = Waiting { units: 9, served: 4 };
        assert_eq!(give(Mode::Exact, 10, 7, too_much, 0, false), 0);
        assert_eq!(give(Mode::Exact, 10, 7, too_much, 0, true), 3);
    }

    #[test]
    fn sold_out_is_said_only_of_what_stood_still_everywhere() {
        let still = [count(0, false, 7), count(2, false, 0)];
        assert_eq!(left_everywhere(&still, &still), Some(2));
        assert_eq!(left_everywhere(&still, &[count(0, false, 7), None]), None);
        assert_eq!(left_everywhere(&still, &[count(0, false, 8), count(2, false, 0)]), None);
        assert_eq!(left_everywhere(&[count(0, true, 7)], &[count(5, false, 7)]), None);
    }

    proptest! {
        #[test]
        fn a_donor_never_gives_what_it_does_not_have_or_was_not_asked_for(
            want in 0..1_000_u64, free in 0..1_000_u64, served in 0..1_000_u64, more in 0..1_000_u64,
            reserve in 0..1_000_u64, yields: bool, mode in 0..3_usize,
        ) {
            let mode = [Mode::Share, Mode::Exact, Mode::Settle][mode];
            let waiting = Waiting { units: served + more, served };
            let given = give(mode, want, free, waiting, reserve, yields);
            prop_assert!(given <= want && given <= free);
            prop_assert!(given == 0 || given + served <= free);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// Units move between shards, one transfer after another, while a reader reads every shard twice. Whatever the
        /// interleaving, nobody is told that there are fewer than there are.
        #[test]
        fn units_on_their_way_are_never_taken_for_sold(steps in prop::collection::vec((0..3_usize, 0..3_usize), 0..40)) {
            let mut world = World::new([3, 0, 1]);
            let (mut first, mut second) = (vec![None; 3], vec![None; 3]);
            for (what, shard) in steps {
                match what {
                    0 => world.advance(shard),
                    _ if first.iter().any(Option::is_none) => {
                        first[shard] = first[shard].clone().or_else(|| world.read(shard));
                    }
                    _ => second[shard] = second[shard].clone().or_else(|| world.read(shard)),
                }
            }
            prop_assert!(left_everywhere(&first, &second).is_none_or(|left| left >= 4));
        }
    }

    /// Three shards; each borrows one unit from its neighbour in three steps: begin, grant, credit.
    struct World {
        free: [u64; 3],
        begun: [i64; 3],
        pending: [Option<Option<u64>>; 3],
    }

    impl World {
        fn new(free: [u64; 3]) -> Self {
            Self { free, begun: [0; 3], pending: [None; 3] }
        }

        fn advance(&mut self, borrower: usize) {
            let donor = (borrower + 1) % 3;
            self.pending[borrower] = match self.pending[borrower] {
                None => {
                    self.begun[borrower] += 1;
                    Some(None)
                }
                Some(None) => {
                    let given = self.free[donor].min(1);
                    self.free[donor] -= given;
                    Some(Some(given))
                }
                Some(Some(given)) => {
                    self.free[borrower] += given;
                    None
                }
            };
        }

        fn read(&self, shard: usize) -> Option<Count> {
            count(self.free[shard], self.pending[shard].is_some(), self.begun[shard])
        }
    }
}
