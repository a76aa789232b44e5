//! How much speaks against an order: a score with its reasons, when the bank keeps its amount ready and nothing has moved.
//!
//! Judged between the bank's answer and its commit, where no connection is held. What is counted lives in the region's Redis;
//! while that is away nothing is counted and the rest decides, for a cache must not stop sales. An order counts once however
//! often it is judged, so a driver that died before its commit judges it again and finds the same.
//!
//! Deliberately absent: learning, outside services, and any rule about who somebody is.

mod counts;

use std::collections::BTreeSet;

use region_core_events::contract::{Assessment, Decision, OrderFacts};
use region_core_store::redis::Redis;
use shared::Money;
use shared_clock::Clock;

pub use counts::{Counts, MOST_COUNTED};

use crate::provider::Card;
use crate::rules::Payment;

/// From which counts and amounts something speaks against an order, and from which score what follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RiskRules {
    /// From this score a person looks at the order first.
    pub review_from: u16,
    /// From this score there is no sale.
    pub refuse_from: u16,
    /// How far back orders are counted, in seconds.
    pub window_seconds: u32,
    /// Orders of one user in that time that are too many.
    pub user_orders: u32,
    /// Orders to one address that are too many.
    pub address_orders: u32,
    /// Orders on one card that are too many.
    pub card_orders: u32,
    /// A total that is large, in minor units.
    pub large_total_minor: i64,
    /// Domains of mailboxes that are thrown away after use, in lower case.
    pub disposable_mail: BTreeSet<String>,
}

/// What can speak against an order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reason {
    ManyByUser,
    ManyToAddress,
    ManyOnCard,
    LargeTotal,
    OtherCountry,
    DisposableMail,
}

impl Reason {
    #[cfg(test)]
    const ALL: [Self; 6] = [
        Self::ManyByUser,
        Self::ManyToAddress,
        Self::ManyOnCard,
        Self::LargeTotal,
        Self::OtherCountry,
        Self::DisposableMail,
    ];

    /// As events, rows and the desk name it; never changes.
    const fn name(self) -> &'static str {
        match self {
            Self::ManyByUser => "many_orders_by_user",
            Self::ManyToAddress => "many_orders_to_address",
            Self::ManyOnCard => "many_orders_on_card",
            Self::LargeTotal => "large_total",
            Self::OtherCountry => "card_of_another_country",
            Self::DisposableMail => "disposable_mail",
        }
    }

    /// How much it weighs. A card that is tried on order after order weighs most: that is how stolen ones are used.
    const fn points(self) -> u16 {
        match self {
            Self::ManyOnCard => 60,
            Self::OtherCountry => 40,
            Self::ManyByUser | Self::ManyToAddress | Self::DisposableMail => 30,
            Self::LargeTotal => 20,
        }
    }
}

impl RiskRules {
    /// What these rules make of an order.
    #[must_use]
    pub fn assess(&self, total: Money, facts: &OrderFacts, card: Option<&Card>, counts: Counts) -> Assessment {
        let foreign = card.and_then(|card| card.country.as_deref()).is_some_and(|country| country != facts.country);
        let disposable = facts.mail_domain.as_ref().is_some_and(|domain| self.disposable_mail.contains(domain));
        let found = [
            (counts.by_user >= self.user_orders, Reason::ManyByUser),
            (counts.to_address >= self.address_orders, Reason::ManyToAddress),
            (counts.on_card >= self.card_orders, Reason::ManyOnCard),
            (total.minor() >= self.large_total_minor, Reason::LargeTotal),
            (foreign, Reason::OtherCountry),
            (disposable, Reason::DisposableMail),
        ];
        let reasons: Vec<Reason> = found.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect();
        let score = reasons.iter().map(|reason| reason.points()).sum();
        Assessment {
            score,
            reasons: reasons.into_iter().map(|reason| reason.name().to_owned()).collect(),
            decision: self.decide(score),
        }
    }

    fn decide(&self, score: u16) -> Decision {
        if score >= self.refuse_from {
            Decision::Refuse
        } else if score >= self.review_from {
            Decision::Review
        } else {
            Decision::Approve
        }
    }
}

/// Judges orders by rules and by what was counted in the region.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: RiskRules,
    redis: Redis,
    clock: Clock,
}

impl Judge {
    /// By these rules, counting in `redis`.
    #[must_use]
    pub fn new(rules: RiskRules, redis: Redis, clock: Clock) -> Self {
        Self { rules, redis, clock }
    }

    /// Counts the order and judges it.
    pub(crate) async fn assess(&self, payment: &Payment, facts: &OrderFacts, card: Option<&Card>) -> Assessment {
        let counted = counts::count(&self.redis, self.rules.window_seconds, self.clock.unix_ms(), payment, facts, card);
        let counts = counted.await.unwrap_or_else(|| {
            metrics::counter!("risk_counts_missing_total").increment(1);
            Counts::default()
        });
        let assessment = self.rules.assess(payment.amount, facts, card, counts);
        let decision = match assessment.decision {
            Decision::Approve => "approve",
            Decision::Review => "review",
            Decision::Refuse => "refuse",
        };
        metrics::counter!("risk_assessments_total", "decision" => decision).increment(1);
        assessment
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::id::{Slot, USER_EPOCH_MS};
    use shared::{Currency, UserId};

    use super::*;

    fn rules() -> RiskRules {
        RiskRules {
            review_from: 50,
            refuse_from: 100,
            window_seconds: 3_600,
            user_orders: 5,
            address_orders: 6,
            card_orders: 3,
            large_total_minor: 50_000,
            disposable_mail: ["throwaway.example".to_owned()].into(),
        }
    }

    fn facts(country: &str, mail: Option<&str>) -> OrderFacts {
        let user_id = UserId::mint(USER_EPOCH_MS, Slot::new(1).unwrap(), 1).unwrap();
        let mail_domain = mail.map(str::to_owned);
        OrderFacts { user_id, address: "door".to_owned(), country: country.to_owned(), mail_domain }
    }

    fn gbp(minor: i64) -> Money {
        Money::new(minor, Currency::GBP).unwrap()
    }

    fn card(country: Option<&str>) -> Card {
        Card { fingerprint: "card".to_owned(), country: country.map(str::to_owned) }
    }

    #[test]
    fn each_rule_says_what_it_found_from_its_bound_on() {
        let plain = facts("GB", Some("example.org"));
        let judged = |total, facts: &OrderFacts, card: Option<&Card>, counts| {
            let Assessment { score, reasons, decision } = rules().assess(gbp(total), facts, card, counts);
            (score, reasons.join(" "), decision)
        };
        let none = Counts::default();
        let same = card(Some("GB"));
        assert_eq!(judged(49_999, &plain, Some(&same), none), (0, String::new(), Decision::Approve));
        assert_eq!(judged(50_000, &plain, None, none), (20, "large_total".to_owned(), Decision::Approve));
        let many = Counts { by_user: 5, to_address: 5, on_card: 2 };
        assert_eq!(judged(1, &plain, None, many), (30, "many_orders_by_user".to_owned(), Decision::Approve));
        let many = Counts { by_user: 0, to_address: 6, on_card: 3 };
        let words = "many_orders_to_address many_orders_on_card".to_owned();
        assert_eq!(judged(1, &plain, None, many), (90, words, Decision::Review));
        let abroad = card(Some("US"));
        let thrown = facts("GB", Some("throwaway.example"));
        let words = "card_of_another_country disposable_mail".to_owned();
        assert_eq!(judged(1, &thrown, Some(&abroad), none), (70, words, Decision::Review));
        let all = Counts { by_user: 9, to_address: 9, on_card: 9 };
        assert_eq!(judged(50_000, &thrown, Some(&abroad), all).2, Decision::Refuse);
        assert_eq!(judged(1, &plain, Some(&card(None)), none).0, 0, "of a card whose country nobody says");
    }

    #[test]
    fn no_two_reasons_have_one_name() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    proptest! {
        #[test]
        fn more_orders_never_speak_for_an_order(
            by_user in 0_u32..20, to_address in 0_u32..20, on_card in 0_u32..20, more in 0_u32..20, total in 0_i64..100_000,
        ) {
            let judged = |counts| rules().assess(gbp(total), &facts("GB", None), None, counts);
            let fewer = judged(Counts { by_user, to_address, on_card });
            let many = judged(Counts { by_user: by_user + more, to_address: to_address + more, on_card: on_card + more });
            prop_assert!(fewer.score <= many.score);
            prop_assert_eq!(fewer.score == 0, fewer.reasons.is_empty());
        }
    }
}
