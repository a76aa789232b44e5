//! What each side does: orders, payments and the provider. The payment's own decisions are the product's (`rules`).

use region_core_payment::News;
use region_core_payment::rules::{self, Call, Said, Told};

use super::state::{
    Asked, Book, Event, Message, OrderStatus, REFERENCE, Row, Standing, State, Units, payment, row, shown,
};
use super::{Bug, Model};

/// Leases of one state that are explored: the second and the third repeat what those before may or may not have done.
const MOST_ATTEMPTS: u8 = 3;

impl Model {
    /// An event is heard, perhaps again; what it decides is one compare-and-set on one row.
    pub(crate) fn hear(&self, state: &mut State, event: Event) {
        match event {
            Event::OrderCreated => {
                state.row.get_or_insert_with(Row::new);
            }
            Event::PaymentAuthorized => claim(state),
            Event::PaymentCaptured => confirm(state),
            Event::PaymentFailed => cancel(state),
            Event::OrderClaimed => {
                let claimed = state.row.and_then(|kept| rules::claimed(&payment(kept)));
                state.row = claimed.as_ref().map(row).or(state.row);
            }
            Event::OrderCancelled => self.follow_cancellation(state),
        }
    }

    fn follow_cancellation(&self, state: &mut State) {
        let Some(kept) = state.row else { return };
        let Some((mut next, said)) = rules::cancelled(&payment(kept)) else { return };
        if self.bug == Some(Bug::CancelWithoutVoid) {
            next.state = rules::State::Abandoned;
        }
        keep(state, &next, said);
    }

    /// A worker takes the payment; after an attempt whose outcome nobody knows it reads first.
    pub(crate) fn lease(state: &mut State) -> Option<Message> {
        let kept = state.row.as_mut().filter(|kept| kept.attempts < MOST_ATTEMPTS && kept.call().is_some())?;
        kept.attempts += 1;
        let asked = kept.asked();
        Some(if kept.attempts > 1 { Message::Read(asked) } else { Message::Call(asked) })
    }

    /// What a message does where it arrives; the provider's bank may decline.
    pub(crate) fn deliver(&self, state: &mut State, message: Message, declines: bool) -> Option<Message> {
        match message {
            Message::Read(asked) => Some(Message::ReadAnswer(asked, state.book.standing)),
            Message::ReadAnswer(asked, standing) => take_reading(state, asked, standing),
            Message::Call(asked) => self.serve(&mut state.book, asked, declines),
            Message::CallAnswer(asked, standing) => {
                take_answer(state, asked, standing);
                None
            }
        }
    }

    /// The provider does what it is asked for, once for each key, and shows how the payment stands.
    pub(crate) fn serve(&self, book: &mut Book, asked: Asked, declines: bool) -> Option<Message> {
        let asking =
            Row { state: asked.state, attempts: asked.attempt, has_reference: true, captured: true, refunded: false };
        match asking.call()? {
            Call::Create => {
                book.standing.get_or_insert(Standing::Created);
            }
            Call::Authorize { .. } if book.standing == Some(Standing::Created) => {
                book.standing = Some(if declines { Standing::Declined } else { Standing::Authorized });
            }
            Call::Capture => self.capture(book, asked.attempt),
            Call::Void if matches!(book.standing, Some(Standing::Created | Standing::Authorized)) => {
                if self.forgets_voids {
                    return Some(Message::CallAnswer(asked, Standing::Voided));
                }
                book.standing = Some(Standing::Voided);
            }
            Call::Refund { .. } if book.standing == Some(Standing::Captured) => {
                book.standing = Some(Standing::Refunded);
                book.refunded = true;
            }
            Call::Authorize { .. } | Call::Look | Call::Confirm { .. } | Call::Void | Call::Refund { .. } => {}
        }
        book.standing.map(|standing| Message::CallAnswer(asked, standing))
    }

    /// Under a new key a provider charges a captured payment again.
    fn capture(&self, book: &mut Book, attempt: u8) {
        let key = if self.bug == Some(Bug::NewKeyPerRetry) { attempt } else { 0 };
        let again =
            !book.captures.is_empty() && !book.captures.contains(&key) && book.standing == Some(Standing::Captured);
        if book.standing == Some(Standing::Authorized) || again {
            book.captures.insert(key);
            book.standing = Some(Standing::Captured);
        }
    }

    /// The provider tells of a capture. The product's rule: it is read, and what moved for a payment that is over goes back.
    pub(crate) fn hear_notice(&self, state: &mut State) {
        if self.bug == Some(Bug::NoticeConfirms) {
            state.order = OrderStatus::Confirmed;
        }
        let Some(kept) = state.row.filter(|_| self.refunds_late) else { return };
        if let Told::Look(next) = rules::told(&payment(kept), REFERENCE, News::Money) {
            state.row = Some(row(&next));
        }
    }
}

/// PENDING, not claimed and in time: the units are sold and cannot expire any more. Out of time: cancelled here and now.
fn claim(state: &mut State) {
    if state.order != OrderStatus::Pending || state.claimed {
        return;
    }
    if state.expired {
        return cancel(state);
    }
    (state.claimed, state.units) = (true, Units::Sold);
    state.said.insert(Event::OrderClaimed);
}

fn confirm(state: &mut State) {
    if state.order == OrderStatus::Pending && state.claimed {
        state.order = OrderStatus::Confirmed;
    }
}

fn cancel(state: &mut State) {
    if state.order == OrderStatus::Pending {
        (state.order, state.units) = (OrderStatus::Cancelled, Units::Free);
        state.said.insert(Event::OrderCancelled);
    }
}

/// The sweeper.
pub(crate) fn expire(state: &mut State) {
    if state.expired && !state.claimed {
        cancel(state);
    }
}

/// What was read may be the answer already; otherwise it is asked for, under the same key.
fn take_reading(state: &mut State, asked: Asked, standing: Option<Standing>) -> Option<Message> {
    let kept = state.row.filter(|kept| kept.asked() == asked)?;
    match standing {
        Some(standing) if rules::settle(&payment(kept), &shown(standing)).progress => {
            take_answer(state, asked, standing);
            None
        }
        _ => Some(Message::Call(asked)),
    }
}

/// Commits what follows from an answer, unless the question no longer stands.
fn take_answer(state: &mut State, asked: Asked, standing: Standing) {
    let Some(kept) = state.row.filter(|kept| kept.asked() == asked) else { return };
    let settled = rules::settle(&payment(kept), &shown(standing));
    keep(state, &settled.payment, settled.said);
}

/// The payment's row and what is said about it, in one transaction.
fn keep(state: &mut State, next: &rules::Payment, said: Option<Said>) {
    state.row = Some(row(next));
    let event = match said {
        Some(Said::Authorized) => Event::PaymentAuthorized,
        Some(Said::Captured) => Event::PaymentCaptured,
        Some(Said::Failed(_)) => Event::PaymentFailed,
        Some(Said::ChallengeRequired(_) | Said::Voided | Said::Refunded(_) | Said::PartRefunded { .. }) | None => {
            return;
        }
    };
    state.said.insert(event);
}
