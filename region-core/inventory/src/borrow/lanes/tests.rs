//! The promises of the lanes.

use proptest::prelude::*;
use shared::Quantity;

use super::lane::BELIEVED;
use super::yard::{KEPT, MOST_GATHERERS, MOST_PARKED};
use super::*;

fn shard() -> ShardId {
    ShardId::try_from(1).unwrap()
}

fn mug() -> Sku {
    "MUG".parse().unwrap()
}

fn order(number: u8) -> Claimant {
    Claimant([number; 16])
}

fn wants(units: i64) -> Vec<Held> {
    vec![Held { sku: mug(), quantity: Quantity::new(units).unwrap() }]
}

fn park(lanes: &Lanes, number: u8, units: i64, free: u64) -> Result<Place, NoPlace> {
    let short = [Shortfall { sku: mug(), wanted: units.unsigned_abs(), free }];
    lanes.park(shard(), order(number), &wants(units), &short)
}

#[tokio::test]
async fn orders_are_covered_in_the_order_of_their_coming() {
    let lanes = Lanes::default();
    let (first, second) = (park(&lanes, 1, 3, 0).unwrap(), park(&lanes, 2, 1, 0).unwrap());
    lanes.observe(shard(), &mug(), 2);
    // The second would fit; it comes after the first all the same.
    assert_eq!((first.outlook(), second.outlook()), (Outlook::Waiting, Outlook::Waiting));
    lanes.observe(shard(), &mug(), 3);
    assert_eq!((first.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
    assert_eq!(lanes.parked(shard(), &mug()), 4);
    drop(first);
    assert_eq!((second.outlook(), lanes.parked(shard(), &mug())), (Outlook::Covered, 1));
}

#[tokio::test]
async fn an_order_that_comes_again_keeps_its_place() {
    let lanes = Lanes::default();
    let (first, second) = (park(&lanes, 1, 2, 0).unwrap(), park(&lanes, 2, 2, 0).unwrap());
    let again = park(&lanes, 1, 2, 0).unwrap();
    drop(first);
    lanes.observe(shard(), &mug(), 2);
    assert_eq!((again.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
}

#[tokio::test(start_paused = true)]
async fn sold_out_is_believed_for_a_moment_only() {
    let lanes = Lanes::default();
    let (small, large) = (park(&lanes, 1, 2, 0).unwrap(), park(&lanes, 2, 3, 0).unwrap());
    lanes.judge(shard(), &mug(), 0, Some(2));
    assert_eq!((small.outlook(), large.outlook()), (Outlook::Waiting, Outlook::SoldOut));
    assert_eq!(park(&lanes, 3, 3, 0).unwrap_err(), NoPlace::SoldOut);
    tokio::time::advance(BELIEVED).await;
    assert_eq!(large.outlook(), Outlook::Waiting);
    assert!(park(&lanes, 3, 3, 0).is_ok());
}

#[tokio::test]
async fn a_newcomer_who_finds_nothing_left_does_not_hide_what_is_there_for_those_before_him() {
    let lanes = Lanes::default();
    let first = park(&lanes, 1, 3, 0).unwrap();
    lanes.observe(shard(), &mug(), 3);
    // He was told of nothing, for all of it is the first one's.
    let second = park(&lanes, 2, 2, 0).unwrap();
    assert_eq!((first.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
    assert_eq!(lanes.missing(shard(), &mug()), 2);
    // The first one was: then it is true.
    let _again = park(&lanes, 1, 3, 0).unwrap();
    assert_eq!((first.outlook(), lanes.missing(shard(), &mug())), (Outlook::Waiting, 5));
}

#[tokio::test]
async fn what_is_missing_is_what_nobody_has_yet_and_somebody_may_have() {
    let lanes = Lanes::default();
    let _places = [park(&lanes, 1, 5, 2).unwrap(), park(&lanes, 2, 4, 2).unwrap()];
    assert_eq!(lanes.missing(shard(), &mug()), 7);
    lanes.judge(shard(), &mug(), 2, Some(6));
    assert_eq!(lanes.missing(shard(), &mug()), 4);
    // All of it is here: nothing is to be gathered, although not everybody can be served.
    lanes.judge(shard(), &mug(), 6, Some(6));
    assert_eq!((lanes.missing(shard(), &mug()), lanes.somebody_waits(shard(), &mug())), (0, true));
}

#[tokio::test]
async fn one_gathers_for_a_lane_at_a_time() {
    let lanes = Lanes::default();
    let place = park(&lanes, 1, 5, 2).unwrap();
    let mut gathering = lanes.take_up(shard(), &[mug()]).unwrap();
    assert_eq!(gathering.skus(), [mug()]);
    assert!(lanes.take_up(shard(), &[mug()]).is_none());
    gathering.narrow();
    assert_eq!(gathering.skus(), [mug()]);
    drop(gathering);
    let mut gathering = lanes.take_up(shard(), &[mug()]).unwrap();
    drop(place);
    // What is under way goes on for one round more: whoever gave up comes again.
    gathering.narrow();
    assert_eq!((gathering.skus(), lanes.missing(shard(), &mug())), ([mug()].as_slice(), 3));
    assert!(!lanes.somebody_waits(shard(), &mug()));
    gathering.narrow();
    assert!(gathering.skus().is_empty());
    lanes.sweep();
    assert!(lanes.are_empty());
}

#[tokio::test]
async fn an_order_that_cannot_be_served_does_not_keep_the_others_from_what_is_here() {
    let lanes = Lanes::default();
    let (large, small) = (park(&lanes, 1, 9, 2).unwrap(), park(&lanes, 2, 2, 0).unwrap());
    lanes.judge(shard(), &mug(), 2, None);
    assert_eq!((large.outlook(), small.outlook()), (Outlook::Waiting, Outlook::Waiting));
    // A second round brought nothing either, and nothing could be told.
    lanes.judge(shard(), &mug(), 2, None);
    assert_eq!((large.outlook(), small.outlook()), (Outlook::Waiting, Outlook::Covered));
    assert_eq!((lanes.parked(shard(), &mug()), lanes.missing(shard(), &mug())), (2, 9));
    // It has kept its place: what comes is for it first.
    lanes.observe(shard(), &mug(), 9);
    assert_eq!((large.outlook(), small.outlook()), (Outlook::Covered, Outlook::Waiting));
    assert_eq!(lanes.parked(shard(), &mug()), 11);
}

#[tokio::test]
async fn an_order_that_was_passed_over_is_served_when_those_before_it_leave() {
    let lanes = Lanes::default();
    let (first, second) = (park(&lanes, 1, 3, 5).unwrap(), park(&lanes, 2, 4, 2).unwrap());
    lanes.judge(shard(), &mug(), 5, None);
    lanes.judge(shard(), &mug(), 5, None);
    assert_eq!((first.outlook(), second.outlook()), (Outlook::Covered, Outlook::Waiting));
    drop(first);
    assert_eq!((second.outlook(), lanes.parked(shard(), &mug())), (Outlook::Covered, 4));
}

#[tokio::test]
async fn a_rush_makes_rounds_larger_and_not_more_of_them() {
    let lanes = Lanes::default();
    let skus: Vec<Sku> = (0..9).map(|number| format!("S{number}").parse().unwrap()).collect();
    let wait = |(number, sku): (u8, &Sku)| {
        let wanted = [Held { sku: sku.clone(), quantity: Quantity::new(1).unwrap() }];
        let short = [Shortfall { sku: sku.clone(), wanted: 1, free: 0 }];
        lanes.park(shard(), order(number), &wanted, &short).unwrap()
    };
    let places: Vec<Place> = (0..).zip(&skus).map(wait).collect();
    let mut gatherings: Vec<_> =
        skus.iter().map_while(|sku| lanes.take_up(shard(), std::slice::from_ref(sku))).collect();
    assert_eq!(gatherings.len(), MOST_GATHERERS);
    // Who was turned away is not forgotten.
    assert!(gatherings[0].goes_on(4) && gatherings[1].goes_on(9));
    assert_eq!((gatherings[0].skus().len(), gatherings[1].skus().len()), (4, 3));
    drop(places);
    // Those who gave up a moment ago come again perhaps; then it is over, and there is room.
    for gathering in &mut gatherings {
        while gathering.goes_on(9) {
            gathering.narrow();
        }
    }
    let _place = wait((0, &skus[0]));
    assert!(lanes.take_up(shard(), &skus).is_some());
}

#[tokio::test]
async fn whoever_gives_up_and_comes_again_is_fetched_for_once() {
    let lanes = Lanes::default();
    let place = park(&lanes, 1, 5, 2).unwrap();
    let gathering = lanes.take_up(shard(), &[mug()]).unwrap();
    drop(place);
    assert_eq!(lanes.missing(shard(), &mug()), 3);
    let _again = park(&lanes, 1, 5, 2).unwrap();
    assert_eq!(lanes.missing(shard(), &mug()), 3);
    drop(gathering);
    assert_eq!(lanes.missing(shard(), &mug()), 3);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_again_as_it_was_told_keeps_its_place_when_it_goes_once_more() {
    let lanes = Lanes::default();
    let parked = || lanes.parked(shard(), &mug());
    park(&lanes, 1, 5, 0).unwrap().until_it_comes_again();
    assert_eq!(parked(), 0, "nobody knows whether it will");
    park(&lanes, 1, 5, 0).unwrap().until_it_comes_again();
    assert_eq!((parked(), lanes.missing(shard(), &mug())), (5, 5));
    let newcomer = park(&lanes, 2, 1, 0).unwrap();
    lanes.observe(shard(), &mug(), 5);
    assert_eq!((newcomer.outlook(), lanes.waiting(shard(), &mug(), 5).served), (Outlook::Waiting, 5));
    let again = park(&lanes, 1, 5, 0).unwrap();
    assert_eq!((again.outlook(), newcomer.outlook()), (Outlook::Covered, Outlook::Waiting));
    drop(again);
    assert_eq!((newcomer.outlook(), parked()), (Outlook::Covered, 1));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_kept_for_a_moment_only_and_not_for_an_order_that_is_decided() {
    let lanes = Lanes::default();
    let goes_twice = |number| (0..2).for_each(|_| park(&lanes, number, 5, 0).unwrap().until_it_comes_again());
    goes_twice(1);
    tokio::time::advance(KEPT).await;
    lanes.sweep();
    assert_eq!(lanes.parked(shard(), &mug()), 0);
    goes_twice(2);
    assert_eq!(lanes.parked(shard(), &mug()), 5);
    lanes.give_up(shard(), order(2));
    assert_eq!(lanes.parked(shard(), &mug()), 0);
    // Whoever comes again much later is a newcomer.
    park(&lanes, 3, 5, 0).unwrap().until_it_comes_again();
    tokio::time::advance(KEPT).await;
    park(&lanes, 3, 5, 0).unwrap().until_it_comes_again();
    assert_eq!(lanes.parked(shard(), &mug()), 0);
}

#[tokio::test]
async fn an_order_that_waits_for_something_else_gives_way() {
    let (lanes, cup) = (Lanes::default(), "CUP".parse::<Sku>().unwrap());
    let mut both = wants(2);
    both.push(Held { sku: cup.clone(), quantity: Quantity::new(1).unwrap() });
    let short = [Shortfall { sku: cup.clone(), wanted: 1, free: 0 }];
    let _waits = lanes.park(shard(), order(1), &both, &short).unwrap();
    assert_eq!(lanes.waiting(shard(), &mug(), 5), Waiting { units: 2, served: 0 });
    lanes.observe(shard(), &cup, 1);
    assert_eq!(lanes.waiting(shard(), &mug(), 5), Waiting { units: 2, served: 2 });
}

#[tokio::test]
async fn only_so_many_wait() {
    let lanes = Lanes::default();
    let mint = |number: u128| Claimant(number.to_be_bytes());
    let numbers = 0..u128::try_from(MOST_PARKED).unwrap();
    let places: Vec<_> = numbers.map(|number| lanes.park(shard(), mint(number), &wants(1), &[]).unwrap()).collect();
    assert_eq!(lanes.park(shard(), mint(u128::MAX), &wants(1), &[]).unwrap_err(), NoPlace::Full);
    drop(places);
    assert!(lanes.park(shard(), mint(u128::MAX), &wants(1), &[]).is_ok());
}

proptest! {
    /// Whoever is covered could be served together with all others who are, out of what is free.
    #[test]
    fn covered_orders_never_want_more_than_is_free(
        wanted in prop::collection::vec(1..20_i64, 1..30), gone in prop::collection::vec(0..30_usize, 0..10), free in 0..200_u64,
    ) {
        let lanes = Lanes::default();
        let mut places: Vec<_> = (0_u8..)
            .zip(&wanted)
            .map(|(number, units)| (units.unsigned_abs(), Some(park(&lanes, number, *units, 0).unwrap())))
            .collect();
        for index in gone {
            if let Some((_, place)) = places.get_mut(index) { *place = None; }
        }
        lanes.observe(shard(), &mug(), free);
        let staying = || places.iter().filter_map(|(units, place)| place.as_ref().map(|place| (units, place)));
        let covered: u64 = staying().filter(|(_, place)| place.outlook() == Outlook::Covered).map(|(units, _)| units).sum();
        prop_assert!(covered <= free);
        prop_assert_eq!(lanes.parked(shard(), &mug()), staying().map(|(units, _)| units).sum::<u64>());
        prop_assert_eq!(lanes.waiting(shard(), &mug(), free).served, covered);
    }
}
