//! What becomes of a label by what the carrier says. No I/O.

use std::time::Duration;

use bytes::Bytes;
use shared::api::order::{Address, LabelState};
use shared::{OrderId, ShipmentId};

use crate::carrier::{Postage, Way};

/// Exchanges in a row without a result before a purchase is given up: about a day of them.
const MOST_FAILURES: i32 = 300;

/// How long is waited between exchanges.
#[derive(Clone, Debug)]
pub struct Pauses {
    /// After the first without a result; doubles with each.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
    /// Before a parcel is looked at without having been told of.
    pub look: Duration,
    /// How long it must be quiet before a label that is not seen bought counts as never bought: a purchase that was under way when
    /// voiding was asked for may arrive late.
    pub quiet: Duration,
    /// For how long a label that came to nothing is looked at: its parcel may have been handed over all the same.
    pub watch: Duration,
}

/// When the carrier is asked again about what it is not asked about any more.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Default for Pauses {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
            look: Duration::from_secs(6 * 3600),
            quiet: Duration::from_secs(120),
            watch: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// A label that the carrier is asked about.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The parcel.
    pub shipment_id: ShipmentId,
    /// Its order.
    pub order_id: OrderId,
    /// Where it stands.
    pub state: LabelState,
    /// The carrier's name for it.
    pub reference: Option<String>,
    /// What is bought.
    pub service: String,
    /// What it weighs.
    pub weight_grams: u32,
    /// Where it goes.
    pub destination: Address,
    /// This exchange's number.
    pub attempts: i32,
    /// How often the carrier had told of it when the exchange began.
    pub told: i32,
}

/// What the carrier is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question<'a> {
    /// To know it.
    Create,
    /// To sell it.
    Buy {
        /// The carrier's name for it.
        reference: &'a str,
    },
    /// To take it back.
    Void {
        /// The carrier's name for it.
        reference: Option<&'a str>,
    },
    /// Where it is.
    Look {
        /// The carrier's name for it.
        reference: &'a str,
    },
}

impl Question<'_> {
    /// In metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Buy { .. } => "buy",
            Self::Void { .. } => "void",
            Self::Look { .. } => "look",
        }
    }
}

impl Asked {
    /// What it waits for.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        match (self.state, self.reference.as_deref()) {
            (LabelState::ToVoid, reference) => Question::Void { reference },
            (LabelState::ToBuy, Some(reference)) => Question::Buy { reference },
            (
                LabelState::Bought
                | LabelState::Sent
                | LabelState::Arrived
                | LabelState::Refused
                | LabelState::Voided
                | LabelState::WrittenOff,
                Some(reference),
            ) => Question::Look { reference },
            // Without a name nothing can have been bought, whatever else is said: only what is to be bought is leased so.
            (_, None) => Question::Create,
        }
    }
}

/// What the carrier answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It knows it under this name.
    Named(String),
    /// It is bought.
    Bought {
        /// What was bought.
        postage: Postage,
        /// Where it is.
        way: Way,
        /// What is printed.
        pdf: Bytes,
    },
    /// Where it is.
    Shown(Way),
    /// It was taken back, or never sold.
    Voided,
    /// It is not bought, now.
    NothingBought,
    /// No, for good.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

impl Answer {
    /// In metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Named(_) | Self::Bought { .. } | Self::Shown(_) | Self::Voided | Self::NothingBought => "answered",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// A label as its row stands when an answer is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Where it stands.
    pub state: LabelState,
    /// Exchanges in a row without a result.
    pub failures: i32,
    /// How long it has stood there.
    pub since: Duration,
    /// Whether it was ever printed.
    pub printed: bool,
}

/// What an answer leads to, beside the facts in it, which are kept in any case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Where it stands from now on.
    pub state: LabelState,
    /// Exchanges in a row without a result.
    pub failures: i32,
    /// When the carrier is asked again.
    pub pause: Duration,
    /// What who keeps the store should know.
    pub problem: Option<String>,
    /// Whether its parcel was seen to have left although the label came to nothing.
    pub strayed: bool,
}

impl Settled {
    fn to(state: LabelState, pause: Duration) -> Self {
        Self { state, failures: 0, pause, problem: None, strayed: false }
    }

    fn because(self, problem: String) -> Self {
        Self { problem: Some(problem), ..self }
    }
}

/// What an answer to what was asked leads to. If the label stands elsewhere by now, the carrier is asked anew.
#[must_use]
pub fn settle(asked: LabelState, now: Standing, answer: &Answer, pauses: &Pauses) -> Settled {
    if now.state != asked && !matches!(answer, Answer::Shown(_)) {
        return Settled::to(now.state, Duration::ZERO);
    }
    if came_to_nothing(now.state) {
        return watched(now, answer, pauses);
    }
    match answer {
        Answer::Named(_) => Settled::to(now.state, Duration::ZERO),
        Answer::Bought { .. } => Settled::to(LabelState::Bought, pauses.look),
        // It was asked to be given back while it was looked at: that is not to wait for the next look.
        Answer::Shown(_) if now.state != asked && now.state == LabelState::ToVoid => {
            Settled::to(now.state, Duration::ZERO)
        }
        Answer::Shown(_) => Settled::to(now.state, pauses.look),
        Answer::Voided => Settled::to(LabelState::Voided, Duration::ZERO),
        Answer::NothingBought if now.since < pauses.quiet => Settled::to(now.state, pauses.quiet),
        Answer::NothingBought => Settled::to(LabelState::Voided, Duration::ZERO),
        Answer::Refused(cause) => refused(now, cause.clone(), pauses),
        Answer::Unknown(cause) => unknown(now, cause.clone(), pauses),
    }
}

/// Whether a label was refused, given back or given up, so that no parcel should leave under it.
#[must_use]
pub const fn came_to_nothing(state: LabelState) -> bool {
    match state {
        LabelState::Refused | LabelState::Voided | LabelState::WrittenOff => true,
        LabelState::ToBuy | LabelState::Bought | LabelState::ToVoid | LabelState::Sent | LabelState::Arrived => false,
    }
}

/// Nobody waits for a label that came to nothing: whatever is said, it is looked at now and then, and one day no more.
fn watched(now: Standing, answer: &Answer, pauses: &Pauses) -> Settled {
    let strayed = matches!(answer, Answer::Shown(way) if way.has_left());
    let pause = if now.since < pauses.watch { pauses.look } else { NEVER };
    Settled { strayed, ..Settled::to(now.state, pause) }
}

fn refused(now: Standing, cause: String, pauses: &Pauses) -> Settled {
    match now.state {
        LabelState::ToBuy => Settled::to(LabelState::Refused, Duration::ZERO).because(cause),
        // It may have been scanned: it is looked at, soon.
        LabelState::ToVoid if now.printed => Settled::to(LabelState::Bought, pauses.first).because(cause),
        // What nobody could print is on no parcel, but it may be paid for: it is asked for until a person writes it off.
        LabelState::ToVoid
        | LabelState::Bought
        | LabelState::Sent
        | LabelState::Arrived
        | LabelState::Refused
        | LabelState::Voided
        | LabelState::WrittenOff => unknown(now, cause, pauses),
    }
}

fn unknown(now: Standing, cause: String, pauses: &Pauses) -> Settled {
    let failures = now.failures.saturating_add(1);
    if now.state == LabelState::ToBuy && failures >= MOST_FAILURES {
        return Settled::to(LabelState::ToVoid, Duration::ZERO).because(format!("given up: {cause}"));
    }
    let doubled = 1_u32 << failures.saturating_sub(1).clamp(0, 20).unsigned_abs();
    let pause = pauses.first.saturating_mul(doubled).min(pauses.longest);
    Settled { failures, ..Settled::to(now.state, pause).because(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [LabelState; 8] = [
        LabelState::ToBuy,
        LabelState::Bought,
        LabelState::Refused,
        LabelState::ToVoid,
        LabelState::Voided,
        LabelState::WrittenOff,
        LabelState::Sent,
        LabelState::Arrived,
    ];

    fn standing(state: LabelState) -> Standing {
        Standing { state, failures: 0, since: Duration::ZERO, printed: true }
    }

    fn after(state: LabelState, answer: &Answer) -> Settled {
        settle(state, standing(state), answer, &Pauses::default())
    }

    #[test]
    fn a_refusal_ends_a_purchase_and_keeps_a_label_that_cannot_be_given_back() {
        let no = Answer::Refused("no".to_owned());
        assert_eq!(after(LabelState::ToBuy, &no).state, LabelState::Refused);
        let kept = after(LabelState::ToVoid, &no);
        assert_eq!((kept.state, kept.problem.as_deref()), (LabelState::Bought, Some("no")));
        let never_printed = Standing { printed: false, ..standing(LabelState::ToVoid) };
        let settled = settle(LabelState::ToVoid, never_printed, &no, &Pauses::default());
        assert_eq!(
            (settled.state, settled.problem.as_deref(), settled.pause),
            (LabelState::ToVoid, Some("no"), Pauses::default().first),
            "it may be paid for, and is asked for again"
        );
    }

    #[test]
    fn a_label_that_came_to_nothing_is_watched_for_a_while_and_stays_what_it_is() {
        let pauses = Pauses::default();
        for state in [LabelState::Refused, LabelState::Voided, LabelState::WrittenOff] {
            let left = after(state, &Answer::Shown(Way::InTransit));
            assert_eq!((left.state, left.strayed, left.problem), (state, true, None));
            for answer in
                [Answer::Shown(Way::PreTransit), Answer::Unknown("late".to_owned()), Answer::Refused("no".to_owned())]
            {
                let quiet = after(state, &answer);
                assert_eq!((quiet.state, quiet.strayed, quiet.failures, quiet.pause), (state, false, 0, pauses.look));
            }
            let old = Standing { since: pauses.watch, ..standing(state) };
            assert_eq!(settle(state, old, &Answer::Shown(Way::PreTransit), &pauses).pause, NEVER);
        }
        let asked_to_void = settle(LabelState::ToVoid, standing(LabelState::WrittenOff), &Answer::Voided, &pauses);
        assert_eq!(asked_to_void.state, LabelState::WrittenOff, "what a person has said stands");
    }

    #[test]
    fn what_is_not_seen_bought_counts_as_never_bought_after_a_quiet_time() {
        let (pauses, early) = (Pauses::default(), standing(LabelState::ToVoid));
        assert_eq!(settle(LabelState::ToVoid, early, &Answer::NothingBought, &pauses).state, LabelState::ToVoid);
        let late = Standing { since: pauses.quiet, ..early };
        assert_eq!(settle(LabelState::ToVoid, late, &Answer::NothingBought, &pauses).state, LabelState::Voided);
    }

    #[test]
    fn an_unknown_outcome_changes_nothing_but_the_pause_and_is_borne_for_a_day() {
        for state in STATES {
            assert_eq!(after(state, &Answer::Unknown("late".to_owned())).state, state);
        }
        let pauses = Pauses::default();
        let (mut now, mut waited) = (standing(LabelState::ToBuy), Duration::ZERO);
        while now.state == LabelState::ToBuy {
            let settled = settle(LabelState::ToBuy, now, &Answer::Unknown("late".to_owned()), &pauses);
            waited += settled.pause;
            now = Standing { state: settled.state, failures: settled.failures, ..now };
        }
        assert_eq!(now.state, LabelState::ToVoid, "what may have been bought goes back");
        assert!(waited > Duration::from_secs(20 * 3600) && waited < Duration::from_secs(30 * 3600), "{waited:?}");
    }

    #[test]
    fn an_answer_to_another_question_only_has_it_asked_anew() {
        let now = standing(LabelState::ToVoid);
        let named = settle(LabelState::ToBuy, now, &Answer::Refused("no".to_owned()), &Pauses::default());
        assert_eq!((named.state, named.pause), (LabelState::ToVoid, Duration::ZERO));
        // Between asking where it is and keeping that, it has left: by what was seen.
        let sent =
            settle(LabelState::Bought, standing(LabelState::Sent), &Answer::Shown(Way::InTransit), &Pauses::default());
        assert_eq!((sent.state, sent.pause), (LabelState::Sent, Pauses::default().look));
        // And to give it back does not wait for the next look.
        let voided = settle(
            LabelState::Bought,
            standing(LabelState::ToVoid),
            &Answer::Shown(Way::PreTransit),
            &Pauses::default(),
        );
        assert_eq!((voided.state, voided.pause), (LabelState::ToVoid, Duration::ZERO));
    }
}
