//! What an answer to an order means to its shopper, and whether to ask again. No I/O, no clock.

use std::time::Duration;

use shared::api::order::Order;
use shared::{Money, OrderId, Problem, ProblemKind};

/// Times that an order is told to wait before it is given up.
const MOST_WAITS: u32 = 40;
/// Times that an order is sent without learning what became of it, before that is left open.
const MOST_UNSURE: u32 = 40;
/// The first pause after such a time; it doubles, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why an order was given up by its own shopper.
pub(super) const TOO_LONG: &str = "told to wait for too long";

/// What a shopper was told in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is an order.
    Ok { order_id: OrderId, total: Money },
    /// It is none, and never was: every answer said so.
    Fail(String),
    /// Nobody said, or not of every attempt. It may be an order.
    Unknown(String),
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Done(Outcome),
    /// Send the same again under the same key.
    Again(Duration),
}

/// What came back, unless the connection failed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// What is known of one order so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// Told to slow down, or that stock is on its way.
    pub(super) waits: u32,
    /// Attempts of which nobody knows what became.
    pub(super) unsure: u32,
}

impl Patience {
    /// What to do after `answer`, which is an error's text where the connection failed.
    pub(super) fn after(&mut self, answer: Result<Answer, String>) -> Next {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.unsure(error, None),
        };
        if answer.status == 201 {
            return match serde_json::from_slice::<Order>(&answer.body) {
                Ok(order) => Next::Done(Outcome::Ok { order_id: order.order_id, total: order.total }),
                Err(error) => self.unsure(format!("201 with something else than an order: {error}"), None),
            };
        }
        let problem = serde_json::from_slice::<Problem>(&answer.body).ok();
        let is = |kind: ProblemKind| problem.as_ref().is_some_and(|problem| problem.is(kind));
        let reason = reason(answer.status, problem.as_ref());
        if answer.status >= 500 {
            return self.unsure(reason, answer.retry_after);
        }
        if (answer.status == 429 || is(ProblemKind::StockInTransit)) && self.waits < MOST_WAITS {
            self.waits += 1;
            return Next::Again(answer.retry_after.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE));
        }
        Next::Done(self.refused(reason))
    }

    /// A refusal is one only if no earlier attempt is left open: that one may still be carried out.
    fn refused(self, reason: String) -> Outcome {
        if self.unsure == 0 {
            Outcome::Fail(reason)
        } else {
            Outcome::Unknown(format!("{reason} after an open attempt"))
        }
    }

    fn unsure(&mut self, reason: String, retry_after: Option<Duration>) -> Next {
        self.unsure += 1;
        if self.unsure >= MOST_UNSURE {
            return Next::Done(Outcome::Unknown(reason));
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << (self.unsure - 1).min(10));
        Next::Again(retry_after.unwrap_or(pause).min(LONGEST_PAUSE))
    }
}

/// `sold-out`, or the status where there is no problem document.
fn reason(status: u16, problem: Option<&Problem>) -> String {
    let name = problem.and_then(|problem| problem.kind.rsplit('/').next()).filter(|name| !name.is_empty());
    name.map_or_else(|| status.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: ProblemKind) -> Result<Answer, String> {
        let body = serde_json::to_vec(&Problem::new(kind)).unwrap();
        Ok(Answer { status: kind.status(), retry_after: None, body })
    }

    #[test]
    fn a_plain_refusal_is_a_failure() {
        let told = Patience::default().after(problem(ProblemKind::SoldOut));
        assert_eq!(told, Next::Done(Outcome::Fail("sold-out".to_owned())));
    }

    #[test]
    fn a_refusal_after_an_open_attempt_stays_open() {
        let mut patience = Patience::default();
        assert!(matches!(patience.after(Err("connection reset".to_owned())), Next::Again(_)));
        let told = patience.after(problem(ProblemKind::SoldOut));
        assert!(matches!(told, Next::Done(Outcome::Unknown(_))), "{told:?}");
    }

    #[test]
    fn stock_on_its_way_is_waited_for_and_in_the_end_a_refusal() {
        let mut patience = Patience::default();
        for _ in 0..MOST_WAITS {
            assert!(matches!(patience.after(problem(ProblemKind::StockInTransit)), Next::Again(_)));
        }
        let told = patience.after(problem(ProblemKind::StockInTransit));
        assert_eq!(told, Next::Done(Outcome::Fail("stock-in-transit".to_owned())));
    }

    #[test]
    fn what_nobody_answers_is_asked_a_bounded_number_of_times() {
        let mut patience = Patience::default();
        let asked = (0..).take_while(|_| matches!(patience.after(problem(ProblemKind::Timeout)), Next::Again(_)));
        assert_eq!(asked.count() + 1, MOST_UNSURE as usize);
    }
}
