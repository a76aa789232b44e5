//! What a run is made of: the store, its goods, its shoppers and what befalls it.

use std::time::Duration;

use xtask_proxy::{Conditions, Weather};

use super::broker;
use super::bug::Bug;
use super::failpoint::Failpoint;
use super::goods::Paying;
use super::schedule::{self, Action, Parts, Step};
use crate::bus::Bus;

/// Orders a second that a run is spread over, and its bounds.
const ORDERS_PER_SECOND: u32 = 50;
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// Everything that a run is told.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) orders: u32,
    /// Over which orders and faults are spread.
    pub(crate) duration: Duration,
    /// Cores in each region.
    pub(crate) cores: u16,
    /// What carries events.
    pub(crate) bus: Bus,
    /// What every core is given.
    pub(crate) bug: Option<Bug>,
    /// Where cores die, one after the other.
    pub(crate) failpoints: Vec<Failpoint>,
    /// Which bug the store's fate is to bring out.
    hunted: Option<Bug>,
    pub(super) regions: Vec<(&'static str, Vec<u16>)>,
    /// SKUs by demand: scarce, lopsided, plentiful.
    pub(super) goods: (usize, usize, usize),
    /// Regions that shoppers come from: the first so many.
    pub(super) shopping_regions: usize,
    pub(super) paying: Paying,
    pub(super) shoppers: usize,
    /// How long a shopper keeps asking about one order.
    pub(super) patience: Duration,
    /// How long units are held for an unpaid order, in seconds.
    pub(super) reservation_seconds: u64,
    /// Whether who keeps the store sends orders, takes them back and calls them off meanwhile.
    pub(super) hands: bool,
    befalls: Befalls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Befalls {
    /// Random faults.
    Anything,
    /// Late, lost and repeated messages between the regions, and the shards' clocks run on.
    BadLinks,
    /// Slots move away before the map says so.
    SlotsMove,
    /// The payment provider's answers are lost.
    LostAnswers,
    /// Cores die at named places.
    Deaths,
}

impl Scenario {
    /// The gate: two regions of two shards, 20 SKUs of which two are scarce, random faults.
    pub(crate) fn gate(seed: u64, orders: u32, cores: u16, duration: Option<Duration>) -> Self {
        let usual = Duration::from_secs(u64::from(orders / ORDERS_PER_SECOND)).clamp(SHORTEST, LONGEST);
        Self {
            seed,
            orders,
            duration: duration.unwrap_or(usual),
            cores,
            bus: Bus::Postgres,
            bug: None,
            failpoints: Vec::new(),
            hunted: None,
            regions: vec![("eu", vec![1, 2]), ("us", vec![3, 4])],
            goods: (2, 4, 14),
            shopping_regions: 2,
            paying: Paying::Mixed,
            shoppers: 24,
            patience: Duration::from_secs(40),
            reservation_seconds: 20,
            hands: true,
            befalls: Befalls::Anything,
        }
    }

    /// What brings one bug out surely and soon. Without the bug it breaks nothing, as `control` shows.
    pub(crate) fn hunt(bug: Bug, seed: u64, orders: u32, duration: Option<Duration>) -> Self {
        // Two cores of a region finish the same transfers, each by itself; many SKUs make many transfers.
        let (befalls, regions, cores, goods) = match bug {
            Bug::NoCreditCheck | Bug::NoDonorKey | Bug::RecreditOnTimeout => {
                (Befalls::BadLinks, vec![("eu", vec![1]), ("us", vec![2])], 2, (0, 60, 1))
            }
            Bug::NoEpochCheck => (Befalls::SlotsMove, vec![("eu", vec![1, 2])], 1, (0, 0, 8)),
            Bug::NewPaymentKey => (Befalls::LostAnswers, vec![("eu", vec![1])], 1, (0, 0, 8)),
        };
        Self {
            bug: Some(bug),
            hunted: Some(bug),
            regions,
            goods,
            shopping_regions: 1,
            paying: Paying::AlwaysSuccess,
            shoppers: 12,
            patience: Duration::from_secs(10),
            // The shards' clocks run ahead by minutes.
            reservation_seconds: 3_600,
            hands: false,
            befalls,
            ..Self::gate(seed, orders, cores, Some(duration.unwrap_or(Duration::from_secs(20))))
        }
    }

    /// Cores that die at these places, in a store where each has its region to itself: what dies is all that the region has.
    pub(crate) fn deaths(failpoints: Vec<Failpoint>, seed: u64, orders: u32, duration: Option<Duration>) -> Self {
        Self {
            failpoints,
            regions: vec![("eu", vec![1]), ("us", vec![2])],
            hands: false,
            befalls: Befalls::Deaths,
            ..Self::gate(seed, orders, 1, duration)
        }
    }

    /// The same with events carried so.
    pub(crate) fn on(self, bus: Bus) -> Self {
        Self { bus, ..self }
    }

    /// Whether the cores must be ones that can be told what to do wrong.
    pub(super) fn needs_planted_core(&self) -> bool {
        self.bug.is_some() || !self.failpoints.is_empty()
    }

    /// The same without the bug: it must break nothing.
    pub(crate) fn control(self) -> Self {
        Self { bug: None, ..self }
    }

    /// A folder's name.
    pub(super) fn name(&self) -> String {
        let hunted = self.hunted.map_or_else(String::new, |bug| format!("-{}", bug.name()));
        let control = if self.hunted == self.bug { "" } else { "-control" };
        let failpoints = match self.failpoints.as_slice() {
            [] => String::new(),
            [only] => format!("-{}", only.name),
            [_, ..] => "-failpoints".to_owned(),
        };
        let bus = if self.bus == Bus::Kafka { "-kafka" } else { "" };
        format!("faults-{}{bus}{hunted}{control}{failpoints}", self.seed)
    }

    /// All that befalls the store, in order.
    pub(super) fn steps(&self) -> Vec<Step> {
        match self.befalls {
            Befalls::Anything => {
                let mut steps = schedule::random(self.seed, self.duration, &self.parts());
                let provider = Action::Provider { drop_answer: 0.005, fail_before: 0.02, fail_after: 0.02 };
                let carrier = Action::Carrier { drop_answer: 0.005, fail_before: 0.03, fail_after: 0.03 };
                steps.splice(0..0, [provider, carrier].map(|action| Step { at: Duration::ZERO, action }));
                if self.bus == Bus::Kafka {
                    steps.extend(broker::steps(self.seed, self.duration));
                    steps.sort_by_key(|step| step.at);
                }
                steps
            }
            Befalls::BadLinks => self.bad_links(),
            Befalls::SlotsMove => {
                let step = |share: f64, action| Step { at: self.duration.mul_f64(share), action };
                vec![step(0.2, Action::MoveSlots { from: 1, to: 2 }), step(0.9, Action::PublishMap)]
            }
            Befalls::LostAnswers => {
                let provider = Action::Provider { drop_answer: 0.02, fail_before: 0.1, fail_after: 0.2 };
                vec![Step { at: Duration::ZERO, action: provider }]
            }
            Befalls::Deaths => schedule::deaths(self.seed, &self.failpoints, &self.parts()),
        }
    }

    /// Links so slow that deadlines pass while answers are under way, cut again and again for longer than a donor waits before
    /// it asks, on clocks that run on: whoever believes that silence means no is wrong now and then.
    fn bad_links(&self) -> Vec<Step> {
        let slow = Conditions {
            delay: Duration::from_millis(120),
            jitter: Duration::from_millis(250),
            duplicate: 0.2,
            reorder: 0.2,
            ..Conditions::default()
        };
        let (parts, mut steps) = (self.parts(), Vec::new());
        let cores = |region: &str| parts.cores.get(region).cloned().unwrap_or_default();
        let mut weather = |at: Duration, name, weather| {
            for (from, to) in [("eu", "us"), ("us", "eu")] {
                let action = Action::Weather { from: cores(from), to: cores(to), name, weather };
                steps.push(Step { at, action });
            }
        };
        const SLOW: Duration = Duration::from_millis(2_500);
        const CUT: Duration = Duration::from_millis(1_500);
        let mut at = Duration::ZERO;
        while at < self.duration {
            weather(at, "slow", Weather::both(slow));
            weather(at + SLOW, "cut", Weather::CUT);
            at += SLOW + CUT;
        }
        let ticks = u64::try_from(self.duration.as_millis() / 500).unwrap_or_default();
        let tick = |count: u64| Step { at: Duration::from_millis(500 * count), action: Action::Clocks(4 * count) };
        steps.extend((1..=ticks).map(tick));
        steps.sort_by_key(|step| step.at);
        steps
    }

    /// The parts' names.
    pub(super) fn parts(&self) -> Parts {
        let cores = |name: &str| (1..=self.cores).map(|number| format!("core.{name}-{number}")).collect();
        let shards = |shards: &[u16]| shards.iter().map(|id| format!("shard-{id}")).collect();
        Parts {
            cores: self.regions.iter().map(|(name, _)| ((*name).to_owned(), cores(name))).collect(),
            shards: self.regions.iter().map(|(name, ids)| ((*name).to_owned(), shards(ids))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hunt_does_something_and_its_control_does_the_same_without_the_bug() {
        for bug in Bug::ALL {
            let hunt = Scenario::hunt(bug, 1, 200, None);
            assert!(hunt.steps().iter().any(|step| step.action.breaks()), "{}", bug.name());
            let control = hunt.clone().control();
            assert_eq!((control.bug, control.steps()), (None, hunt.steps()));
        }
    }

    #[test]
    fn only_cores_that_can_be_told_to_fail_are_told_to() {
        assert!(!Scenario::gate(1, 200, 2, None).needs_planted_core());
        assert!(Scenario::hunt(Bug::NoDonorKey, 1, 200, None).needs_planted_core());
        let deaths = |places: &[Failpoint]| Scenario::deaths(places.to_vec(), 1, 200, None);
        let all = deaths(&Failpoint::ALL);
        assert!(all.needs_planted_core() && all.steps().iter().all(|step| step.action.breaks()));
        assert_eq!(all.name(), "faults-1-failpoints");
        assert_eq!(deaths(&Failpoint::ALL[..1]).name(), "faults-1-store.commit.before");
    }

    #[test]
    fn on_kafka_the_broker_suffers_and_all_else_as_on_postgres() {
        let of = |bus| Scenario::gate(1, 2_000, 2, None).on(bus);
        let (postgres, kafka) = (of(Bus::Postgres), of(Bus::Kafka));
        let broker = |step: &Step| step.action.to_string().ends_with(" broker");
        let others: Vec<_> = kafka.steps().into_iter().filter(|step| !broker(step)).collect();
        assert_eq!(others, postgres.steps());
        assert!(kafka.steps().len() > others.len() && kafka.name() == "faults-1-kafka");
    }

    #[test]
    fn more_orders_take_longer_within_bounds() {
        let lasts = |orders| Scenario::gate(1, orders, 2, None).duration.as_secs();
        assert_eq!([lasts(100), lasts(10_000), lasts(1_000_000)], [30, 200, 600]);
    }
}
