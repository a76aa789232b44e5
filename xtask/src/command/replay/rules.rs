//! What an answer to an order means, and whether to ask again. No I/O, no clock.

use std::time::Duration;

use shared::api::order::{Order, Quote};
use shared::{Money, OrderId, Problem, ProblemKind};

/// Times that an order is told to wait before it is given up.
const MOST_WAITS: u32 = 300;
/// Times that an order is sent without learning what became of it, before that is left open.
const MOST_UNSURE: u32 = 8;
/// The first pause after such a time; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// No pause is longer, whatever an answer asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What came back; the connection may have failed instead.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: &'a [u8],
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is an order.
    Accepted { order_id: OrderId, total: Money },
    /// It is none, for this reason: the last part of the problem's type.
    Refused(String),
    /// Nobody said. It may have been placed.
    Unknown(String),
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Done(Outcome),
    /// Send the same again.
    Again(Duration),
    /// The total changed; order at this one.
    AtTotal(Money),
    /// The token has run out.
    SignIn,
}

/// How often one order was put off, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// Told to slow down, or that stock is on its way.
    pub(super) waits: u32,
    /// No answer, or one that does not say what became of it.
    pub(super) unsure: u32,
    /// The total changed under way.
    pub(super) requotes: u32,
    sign_ins: u32,
}

impl Patience {
    /// What to do after `answer`, which is an error's text where the connection failed.
    pub(super) fn after(&mut self, answer: Result<Answer<'_>, String>) -> Next {
        match answer {
            Err(error) => self.unsure(error, None),
            Ok(answer) if answer.status == 201 => match serde_json::from_slice::<Order>(answer.body) {
                Ok(order) => Next::Done(Outcome::Accepted { order_id: order.order_id, total: order.total }),
                Err(error) => self.unsure(format!("201 with something else than an order: {error}"), None),
            },
            Ok(answer) => self.after_problem(&answer),
        }
    }

    fn after_problem(&mut self, answer: &Answer<'_>) -> Next {
        let problem = serde_json::from_slice::<Problem>(answer.body).ok();
        let is = |kind: ProblemKind| problem.as_ref().is_some_and(|problem| problem.is(kind));
        if answer.status >= 500 {
            return self.unsure(reason(answer.status, problem.as_ref()), answer.retry_after);
        }
        if answer.status == 429 || is(ProblemKind::StockInTransit) {
            self.waits += 1;
            if self.waits < MOST_WAITS {
                return Next::Again(answer.retry_after.unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE));
            }
        }
        if is(ProblemKind::QuoteChanged) && self.requotes == 0 {
            let quote = problem.as_ref().and_then(|problem| problem.members.get("quote")).cloned();
            if let Some(quote) = quote.and_then(|quote| serde_json::from_value::<Quote>(quote).ok()) {
                self.requotes += 1;
                return Next::AtTotal(quote.total);
            }
        }
        if answer.status == 401 && self.sign_ins == 0 {
            self.sign_ins += 1;
            return Next::SignIn;
        }
        Next::Done(Outcome::Refused(reason(answer.status, problem.as_ref())))
    }

    fn unsure(&mut self, reason: String, retry_after: Option<Duration>) -> Next {
        self.unsure += 1;
        if self.unsure >= MOST_UNSURE {
            return Next::Done(Outcome::Unknown(reason));
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << (self.unsure - 1));
        Next::Again(retry_after.unwrap_or(pause).min(LONGEST_PAUSE))
    }
}

/// `sold-out`, or the status where there is no problem document.
pub(super) fn reason(status: u16, problem: Option<&Problem>) -> String {
    match problem {
        Some(problem) => problem.kind.strip_prefix("/problems/").unwrap_or(&problem.kind).to_owned(),
        None => format!("status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use shared::Currency;

    use super::*;

    fn answer(problem: &Problem, body: &mut Vec<u8>, patience: &mut Patience) -> Next {
        *body = problem.to_json();
        let retry_after = problem.retry_after_seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
        patience.after(Ok(Answer { status: problem.status, retry_after, body }))
    }

    fn to(problem: &Problem, patience: &mut Patience) -> Next {
        answer(problem, &mut Vec::new(), patience)
    }

    #[test]
    fn a_limit_is_waited_out_as_long_as_it_asks_and_not_for_ever() {
        let (mut patience, slow_down) = (Patience::default(), Problem::new(ProblemKind::SlowDown).retry_after(3));
        assert_eq!(to(&slow_down, &mut patience), Next::Again(Duration::from_secs(3)));
        let last = (0..MOST_WAITS).map(|_| to(&slow_down, &mut patience)).last().unwrap();
        assert_eq!(last, Next::Done(Outcome::Refused("slow-down".to_owned())));
    }

    #[test]
    fn a_missing_answer_is_asked_for_again_and_then_left_open_never_called_a_refusal() {
        let mut patience = Patience::default();
        assert_eq!(patience.after(Err("connection reset".to_owned())), Next::Again(FIRST_PAUSE));
        let unavailable = Problem::new(ProblemKind::Unavailable).retry_after(2);
        assert_eq!(to(&unavailable, &mut patience), Next::Again(Duration::from_secs(2)));
        let timeout = Problem::new(ProblemKind::Timeout);
        let last = (2..MOST_UNSURE).map(|_| to(&timeout, &mut patience)).last().unwrap();
        assert_eq!(last, Next::Done(Outcome::Unknown("timeout".to_owned())));
    }

    #[test]
    fn refusals_are_final_and_named() {
        for kind in [ProblemKind::SoldOut, ProblemKind::UnknownSku, ProblemKind::Invalid, ProblemKind::NotFound] {
            let named = kind.uri().strip_prefix("/problems/").unwrap().to_owned();
            let next = to(&Problem::new(kind), &mut Patience::default());
            assert_eq!(next, Next::Done(Outcome::Refused(named)));
        }
        let page = Answer { status: 404, retry_after: None, body: b"<html>" };
        let next = Patience::default().after(Ok(page));
        assert_eq!(next, Next::Done(Outcome::Refused("status 404".to_owned())));
    }

    #[test]
    fn a_new_total_is_taken_once() {
        let total = Money::new(1_250, Currency::GBP).unwrap();
        let quote = Quote {
            lines: Vec::new(),
            subtotal: total,
            shipping: Money::zero(Currency::GBP),
            total,
            catalog_version: 2,
            delivery_options: Vec::new(),
            delivery_option: None,
            payment_methods: Vec::new(),
        };
        let changed = Problem::new(ProblemKind::QuoteChanged).with("quote", serde_json::to_value(quote).unwrap());
        let mut patience = Patience::default();
        assert_eq!(to(&changed, &mut patience), Next::AtTotal(total));
        assert_eq!(to(&changed, &mut patience), Next::Done(Outcome::Refused("quote-changed".to_owned())));
    }

    #[test]
    fn a_token_is_renewed_once() {
        let (mut patience, expired) = (Patience::default(), Problem::new(ProblemKind::NotSignedIn));
        assert_eq!(to(&expired, &mut patience), Next::SignIn);
        assert_eq!(to(&expired, &mut patience), Next::Done(Outcome::Refused("not-signed-in".to_owned())));
    }
}
