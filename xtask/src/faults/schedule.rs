//! What is done to which part, and when: decided from the seed before anything starts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use shared_clock::Entropy;
use xtask_proxy::{Conditions, Weather};

use super::failpoint::Failpoint;

/// Pause between two faults, in milliseconds: 1 to 3 s.
const PAUSE: (u32, u32) = (1_000, 3_000);
/// Throws until a part is found that is not already suffering.
const THROWS: usize = 8;
/// Deaths of a run in which cores die at places that were named.
const FEWEST_DEATHS: usize = 4;
/// The payment provider's part.
pub(super) const PROVIDER: &str = "payment-sandbox";
/// The carrier's part.
pub(super) const CARRIER: &str = "carrier-sandbox";
/// How late a slow payment provider or carrier answers: well within the time that a core gives it.
const LATE: Duration = Duration::from_secs(1);
/// A core dies at the latest when it comes to its place for this time.
const LATEST_PASS: u32 = 6;

/// One thing that is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// After the load has begun.
    pub(super) at: Duration,
    pub(super) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// `kill -9` of the part and all its processes.
    Kill(String),
    /// Cores die, each of them as often as this says, and start again.
    Deaths(BTreeMap<String, Vec<Death>>),
    /// Starts it again.
    Start(String),
    /// SIGSTOP.
    Pause(String),
    /// SIGCONT.
    Resume(String),
    /// All links from one of these parts to one of those.
    Weather { from: Vec<String>, to: Vec<String>, name: &'static str, weather: Weather },
    /// Every shard's clock is so many seconds ahead from then on.
    Clocks(u64),
    /// Slots without users move from one shard to another; the map that everybody reads stays as it was.
    MoveSlots { from: u16, to: u16 },
    /// The map that everybody reads follows.
    PublishMap,
    /// The payment provider fails at these rates.
    Provider { drop_answer: f64, fail_before: f64, fail_after: f64 },
    /// The carrier fails at these rates.
    Carrier { drop_answer: f64, fail_before: f64, fail_after: f64 },
    /// All answers of the carrier come so much later.
    SlowCarrier(Duration),
    /// All answers of the payment provider come so much later.
    SlowProvider(Duration),
    /// The payment provider takes every idempotency key for one that it was never sent.
    ForgetKeys,
}

/// A core dies when it comes to a place for that time, from 1, since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) at: Failpoint,
    pub(super) pass: u32,
}

/// What there is to be broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Cores by region.
    pub(super) cores: BTreeMap<String, Vec<String>>,
    /// Shards by region.
    pub(super) shards: BTreeMap<String, Vec<String>>,
}

impl Parts {
    fn all_cores(&self) -> Vec<String> {
        self.cores.values().flatten().cloned().collect()
    }

    fn all_shards(&self) -> Vec<String> {
        self.shards.values().flatten().cloned().collect()
    }
}

/// A fault and for how long it lasts at least and at most, in milliseconds; as often as its weight says.
#[derive(Clone, Copy, Debug)]
enum Fault {
    KillCore,
    PauseCore,
    KillShard,
    PauseShard,
    KillRedis,
    PauseRedis,
    KillPop,
    PausePop,
    CutRegions,
    CutRegionsOneWay,
    RoughRegions,
    CutNeighbour,
    CutPop,
    RoughPop,
    CutShard,
    SlowShard,
    CutRedis,
    KillProvider,
    PauseProvider,
    SlowProvider,
    ForgetKeys,
    KillCarrier,
    PauseCarrier,
    SlowCarrier,
}

/// Who suffers, how it begins, and how it ends unless it is over at once.
type Course = (Vec<String>, Action, Option<Action>);

const FAULTS: [(Fault, u32, (u32, u32)); 24] = [
    (Fault::KillCore, 14, (300, 3_000)),
    (Fault::PauseCore, 9, (500, 5_000)),
    (Fault::KillShard, 10, (200, 2_000)),
    (Fault::PauseShard, 7, (500, 5_000)),
    (Fault::KillRedis, 5, (300, 3_000)),
    (Fault::PauseRedis, 5, (500, 5_000)),
    (Fault::KillPop, 5, (300, 2_000)),
    (Fault::PausePop, 4, (500, 3_000)),
    (Fault::CutRegions, 7, (1_000, 7_000)),
    (Fault::CutRegionsOneWay, 7, (1_000, 7_000)),
    (Fault::RoughRegions, 9, (2_000, 8_000)),
    (Fault::CutNeighbour, 5, (500, 4_000)),
    (Fault::CutPop, 5, (1_000, 4_000)),
    (Fault::RoughPop, 5, (2_000, 8_000)),
    (Fault::CutShard, 4, (500, 4_000)),
    (Fault::SlowShard, 4, (1_000, 5_000)),
    (Fault::CutRedis, 3, (500, 4_000)),
    (Fault::KillProvider, 5, (300, 3_000)),
    (Fault::PauseProvider, 5, (500, 5_000)),
    (Fault::SlowProvider, 4, (1_000, 5_000)),
    (Fault::ForgetKeys, 4, (100, 200)),
    (Fault::KillCarrier, 5, (300, 3_000)),
    (Fault::PauseCarrier, 4, (500, 5_000)),
    (Fault::SlowCarrier, 3, (1_000, 5_000)),
];

/// 5 % lost, 100 ± 50 ms, some doubled and some overtaken.
pub(super) const ROUGH: Conditions = Conditions {
    cut: false,
    delay: Duration::from_millis(50),
    jitter: Duration::from_millis(100),
    loss: 0.05,
    duplicate: 0.05,
    reorder: 0.1,
};
const SLOW: Conditions = Conditions {
    cut: false,
    delay: Duration::from_millis(5),
    jitter: Duration::from_millis(30),
    loss: 0.01,
    duplicate: 0.0,
    reorder: 0.0,
};

/// A fault every 1 to 3 s for so long, never two on one part at a time. All have ended when it is over, or a little later.
pub(super) fn random(seed: u64, duration: Duration, parts: &Parts) -> Vec<Step> {
    let dice = Entropy::seeded(seed);
    let (mut steps, mut busy, mut at) = (Vec::new(), BTreeMap::<String, Duration>::new(), Duration::ZERO);
    loop {
        at += between(&dice, PAUSE);
        if at >= duration {
            break;
        }
        for _ in 0..THROWS {
            let (fault, lasts) = choose(&dice);
            let until = at + lasts;
            let (victims, begins, ends) = fault.steps(&dice, parts);
            // A region of one core has no neighbours to be cut off from each other.
            if victims.is_empty() || victims.iter().any(|victim| busy.get(victim).is_some_and(|free| *free > at)) {
                continue;
            }
            busy.extend(victims.into_iter().map(|victim| (victim, until)));
            steps.push(Step { at, action: begins });
            steps.extend(ends.map(|action| Step { at: until, action }));
            break;
        }
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// All cores die side by side, one place after the other; the two of a commit follow each other on the same core.
pub(super) fn deaths(seed: u64, places: &[Failpoint], parts: &Parts) -> Vec<Step> {
    let (dice, cores) = (Entropy::seeded(seed), parts.all_cores());
    let first = index(&dice, cores.len());
    let mut deaths = BTreeMap::<String, Vec<Death>>::new();
    for (number, &at) in places.iter().cycle().take(places.len().max(FEWEST_DEATHS)).enumerate() {
        let core = cores[(first + number / 2) % cores.len()].clone();
        deaths.entry(core).or_default().push(Death { at, pass: 1 + dice.below(LATEST_PASS) });
    }
    vec![Step { at: Duration::ZERO, action: Action::Deaths(deaths) }]
}

pub(super) fn between(dice: &Entropy, (least, most): (u32, u32)) -> Duration {
    Duration::from_millis(u64::from(least + dice.below(most - least)))
}

fn choose(dice: &Entropy) -> (Fault, Duration) {
    let mut throw = dice.below(FAULTS.iter().map(|(_, weight, _)| weight).sum());
    for (fault, weight, lasts) in FAULTS {
        if throw < weight {
            return (fault, between(dice, lasts));
        }
        throw -= weight;
    }
    (FAULTS[0].0, between(dice, FAULTS[0].2))
}

impl Fault {
    fn steps(self, dice: &Entropy, parts: &Parts) -> Course {
        let one = |of: Vec<String>| of[index(dice, of.len())].clone();
        let kill = |victim: String| (vec![victim.clone()], Action::Kill(victim.clone()), Some(Action::Start(victim)));
        let pause =
            |victim: String| (vec![victim.clone()], Action::Pause(victim.clone()), Some(Action::Resume(victim)));
        let provider = || vec![PROVIDER.to_owned()];
        match self {
            Self::KillCore => kill(one(parts.all_cores())),
            Self::PauseCore => pause(one(parts.all_cores())),
            Self::KillShard => kill(one(parts.all_shards())),
            Self::PauseShard => pause(one(parts.all_shards())),
            Self::KillRedis => kill("redis".to_owned()),
            Self::PauseRedis => pause("redis".to_owned()),
            Self::KillPop => kill("pop".to_owned()),
            Self::PausePop => pause("pop".to_owned()),
            Self::CutRegions => between_regions(dice, parts, "cut", Weather::CUT),
            Self::CutRegionsOneWay => {
                let forward = Weather { forward: Conditions::CUT, ..Weather::default() };
                let backward = Weather { backward: Conditions::CUT, ..Weather::default() };
                let (name, weather) = if dice.below(2) == 0 {
                    ("cut on the way there", forward)
                } else {
                    ("cut on the way back", backward)
                };
                between_regions(dice, parts, name, weather)
            }
            Self::RoughRegions => between_regions(dice, parts, "rough", Weather::both(ROUGH)),
            Self::CutNeighbour => {
                let core = one(parts.all_cores());
                let region = parts.cores.values().find(|cores| cores.contains(&core)).cloned().unwrap_or_default();
                let neighbours = region.into_iter().filter(|other| *other != core).collect();
                links(vec![core], neighbours, "cut", Weather::CUT)
            }
            Self::CutPop => links(vec!["pop".to_owned()], vec![one(parts.all_cores())], "cut", Weather::CUT),
            Self::RoughPop => links(vec!["pop".to_owned()], parts.all_cores(), "rough", Weather::both(ROUGH)),
            Self::CutShard => {
                let (cores, shard) = cores_and_shard(dice, parts);
                links(vec![one(cores)], vec![shard], "cut", Weather::CUT)
            }
            Self::SlowShard => {
                let (cores, shard) = cores_and_shard(dice, parts);
                links(cores, vec![shard], "slow", Weather::both(SLOW))
            }
            Self::CutRedis => links(vec![one(parts.all_cores())], vec!["redis".to_owned()], "cut", Weather::CUT),
            Self::KillProvider => kill(PROVIDER.to_owned()),
            Self::PauseProvider => pause(PROVIDER.to_owned()),
            Self::SlowProvider => (provider(), Action::SlowProvider(LATE), Some(Action::SlowProvider(Duration::ZERO))),
            Self::ForgetKeys => (provider(), Action::ForgetKeys, None),
            Self::KillCarrier => kill(CARRIER.to_owned()),
            Self::PauseCarrier => pause(CARRIER.to_owned()),
            Self::SlowCarrier => {
                let ends = Action::SlowCarrier(Duration::ZERO);
                (vec![CARRIER.to_owned()], Action::SlowCarrier(LATE), Some(ends))
            }
        }
    }
}

/// The links from all cores of a region to all of the others.
fn between_regions(dice: &Entropy, parts: &Parts, name: &'static str, weather: Weather) -> Course {
    let region = parts.cores.keys().nth(index(dice, parts.cores.len())).cloned().unwrap_or_default();
    let (from, to): (Vec<_>, Vec<_>) = parts.cores.iter().partition(|(name, _)| **name == region);
    let cores = |of: Vec<(&String, &Vec<String>)>| of.into_iter().flat_map(|(_, cores)| cores.clone()).collect();
    links(cores(from), cores(to), name, weather)
}

fn cores_and_shard(dice: &Entropy, parts: &Parts) -> (Vec<String>, String) {
    let region = parts.cores.keys().nth(index(dice, parts.cores.len())).cloned().unwrap_or_default();
    let shards = &parts.shards[&region];
    (parts.cores[&region].clone(), shards[index(dice, shards.len())].clone())
}

fn links(from: Vec<String>, to: Vec<String>, name: &'static str, weather: Weather) -> Course {
    let victims = from.iter().flat_map(|from| to.iter().map(move |to| format!("{from} → {to}"))).collect();
    let begins = Action::Weather { from: from.clone(), to: to.clone(), name, weather };
    let ends = Action::Weather { from, to, name: "fair", weather: Weather::default() };
    (victims, begins, Some(ends))
}

fn index(dice: &Entropy, length: usize) -> usize {
    dice.below(u32::try_from(length).unwrap_or(u32::MAX).max(1)) as usize
}

impl Action {
    /// How many faults it is; none if it mends.
    pub(super) fn faults(&self) -> u32 {
        match self {
            Self::Deaths(deaths) => deaths.values().map(|deaths| u32::try_from(deaths.len()).unwrap_or(u32::MAX)).sum(),
            Self::Kill(_) | Self::Pause(_) | Self::Clocks(_) | Self::MoveSlots { .. } => 1,
            Self::Provider { .. } | Self::Carrier { .. } | Self::ForgetKeys => 1,
            Self::SlowProvider(later) | Self::SlowCarrier(later) => u32::from(!later.is_zero()),
            Self::Weather { weather, .. } => u32::from(*weather != Weather::default()),
            Self::Start(_) | Self::Resume(_) | Self::PublishMap => 0,
        }
    }

    /// Whether it breaks something, rather than mend it.
    #[cfg(test)]
    pub(super) fn breaks(&self) -> bool {
        self.faults() > 0
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, pass {}", self.at.name, self.pass)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} s  {}", self.at.as_secs_f64(), self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(part) => write!(f, "kill -9 {part}"),
            Self::Deaths(deaths) => {
                let each = deaths.iter().map(|(core, deaths)| {
                    let places: Vec<_> = deaths.iter().map(Death::to_string).collect();
                    format!("{core} dies at {}", places.join(", then at "))
                });
                f.write_str(&each.collect::<Vec<_>>().join("; "))
            }
            Self::Start(part) => write!(f, "start {part}"),
            Self::Pause(part) => write!(f, "SIGSTOP {part}"),
            Self::Resume(part) => write!(f, "SIGCONT {part}"),
            Self::Weather { from, to, name, .. } => write!(f, "{name}: {} → {}", from.join(", "), to.join(", ")),
            Self::Clocks(ahead) => write!(f, "the shards' clocks are {ahead} s ahead"),
            Self::MoveSlots { from, to } => write!(f, "slots move from shard {from} to shard {to}"),
            Self::PublishMap => write!(f, "the slot map follows"),
            Self::Provider { drop_answer, fail_before, fail_after } => write!(
                f,
                "the provider loses {drop_answer} of its answers, fails {fail_before} before and {fail_after} after"
            ),
            Self::Carrier { drop_answer, fail_before, fail_after } => write!(
                f,
                "the carrier loses {drop_answer} of its answers, fails {fail_before} before and {fail_after} after"
            ),
            Self::SlowCarrier(later) if later.is_zero() => f.write_str("the carrier answers in time"),
            Self::SlowCarrier(later) => write!(f, "the carrier answers {} ms later", later.as_millis()),
            Self::SlowProvider(later) if later.is_zero() => f.write_str("the provider answers in time"),
            Self::SlowProvider(later) => write!(f, "the provider answers {} ms later", later.as_millis()),
            Self::ForgetKeys => f.write_str("the provider forgets its idempotency keys"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let of = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        Parts {
            cores: [
                ("eu".to_owned(), of(&["core.eu-1", "core.eu-2"])),
                ("us".to_owned(), of(&["core.us-1", "core.us-2"])),
            ]
            .into(),
            shards: [("eu".to_owned(), of(&["shard-1", "shard-2"])), ("us".to_owned(), of(&["shard-3", "shard-4"]))]
                .into(),
        }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_repeats_its_faults_and_another_has_others() {
        assert_eq!(random(7, LONG, &parts()), random(7, LONG, &parts()));
        assert_ne!(random(7, LONG, &parts()), random(8, LONG, &parts()));
    }

    #[test]
    fn a_fault_comes_every_one_to_three_seconds_and_every_one_of_them_ends() {
        let steps = random(3, LONG, &parts());
        let breaks: Vec<_> = steps.iter().filter(|step| step.action.breaks()).collect();
        assert!((200..=600).contains(&breaks.len()), "{} faults in 600 s", breaks.len());
        let (at_once, last): (Vec<_>, Vec<_>) =
            breaks.iter().copied().partition(|step| step.action == Action::ForgetKeys);
        assert_eq!(at_once.len() + last.len() * 2, steps.len());
        for step in &last {
            let end = match &step.action {
                Action::Kill(part) => Action::Start(part.clone()),
                Action::Pause(part) => Action::Resume(part.clone()),
                Action::SlowProvider(_) => Action::SlowProvider(Duration::ZERO),
                Action::SlowCarrier(_) => Action::SlowCarrier(Duration::ZERO),
                Action::Weather { from, to, .. } => {
                    Action::Weather { from: from.clone(), to: to.clone(), name: "fair", weather: Weather::default() }
                }
                other => panic!("{other} is no random fault"),
            };
            assert!(steps.iter().any(|later| later.at > step.at && later.action == end), "{step} never ends");
        }
    }

    /// All deaths, core by core.
    fn planned(places: &[Failpoint]) -> Vec<Vec<Death>> {
        match deaths(1, places, &parts()).remove(0).action {
            Action::Deaths(deaths) => deaths.into_values().collect(),
            other => panic!("nobody dies: {other}"),
        }
    }

    #[test]
    fn cores_die_once_at_every_place_that_was_named_and_at_one_alone_several_times() {
        let cores = planned(&Failpoint::ALL);
        let (all, mut places) = (cores.concat(), cores.concat().iter().map(|death| death.at.name).collect::<Vec<_>>());
        places.sort_unstable();
        let mut named = Failpoint::ALL.map(|place| place.name);
        named.sort_unstable();
        assert_eq!(places, named);
        assert!(all.iter().all(|death| (1..=LATEST_PASS).contains(&death.pass)) && cores.len() > 1, "{cores:?}");
        let one = planned(&Failpoint::ALL[5..6]).concat();
        assert_eq!((one.len(), one[0].at), (FEWEST_DEATHS, Failpoint::ALL[5]));
    }

    #[test]
    fn no_part_suffers_twice_at_a_time() {
        let mut down = std::collections::BTreeSet::new();
        for step in random(11, LONG, &parts()) {
            match step.action {
                Action::Kill(part) | Action::Pause(part) => assert!(down.insert(part.clone()), "{part} twice"),
                Action::Start(part) | Action::Resume(part) => assert!(down.remove(&part), "{part} was not down"),
                _ => {}
            }
        }
        assert!(down.is_empty(), "{down:?} stay down");
    }

    #[test]
    fn every_kind_of_fault_turns_up_in_a_long_run() {
        let told: String = random(5, LONG * 4, &parts()).iter().map(|step| format!("{step}\n")).collect();
        for kind in [
            "kill -9 core",
            "SIGSTOP core",
            "kill -9 shard",
            "SIGSTOP shard",
            "kill -9 redis",
            "kill -9 pop",
            "cut: core.eu-1, core.eu-2 → core.us",
            "cut: core.eu-1 → core.eu-2",
            "cut: core.eu-1 → shard",
            "cut on the way",
            "rough: core",
            "rough: pop",
            "slow: core",
            "kill -9 payment-sandbox",
            "SIGSTOP payment-sandbox",
            "the provider answers 1000 ms later",
            "the provider forgets",
            "kill -9 carrier-sandbox",
            "SIGSTOP carrier-sandbox",
            "the carrier answers 1000 ms later",
        ] {
            assert!(told.contains(kind), "no {kind}");
        }
    }
}
