//! What is told when, and what becomes of an attempt to tell it. No I/O.

use std::time::Duration;

use region_core_events::contract::{
    OrderCancelled, OrderConfirmed, Payload, PaymentRefunded, RefundIssued, ShipmentDelivered, ShipmentSent,
};
use region_core_events::{Event, HandleError};
use shared::EventId;

/// What is told, each for one kind of event. A new one is a case here and its words in `letter.rs`, nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Template {
    /// The order is paid.
    OrderConfirmed,
    /// The order ended without a sale.
    OrderCancelled,
    /// Money went back.
    PaymentRefunded,
    /// A part of the money went back.
    RefundIssued,
    /// A parcel left.
    ShipmentSent,
    /// A parcel arrived.
    ShipmentDelivered,
}

impl Template {
    /// Every one of them.
    pub const ALL: [Self; 6] = [
        Self::OrderConfirmed,
        Self::OrderCancelled,
        Self::PaymentRefunded,
        Self::RefundIssued,
        Self::ShipmentSent,
        Self::ShipmentDelivered,
    ];
    /// The events that they follow from, in the same order.
    pub const KINDS: [&'static str; 6] = [
        OrderConfirmed::KIND,
        OrderCancelled::KIND,
        PaymentRefunded::KIND,
        RefundIssued::KIND,
        ShipmentSent::KIND,
        ShipmentDelivered::KIND,
    ];

    /// How the database and the metrics name it; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderCancelled => "order_cancelled",
            Self::PaymentRefunded => "payment_refunded",
            Self::RefundIssued => "refund_issued",
            Self::ShipmentSent => "shipment_sent",
            Self::ShipmentDelivered => "shipment_delivered",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.name() == name)
    }

    /// Whether a shopper may do without it: his orders' money is always told of.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        match self {
            Self::ShipmentSent | Self::ShipmentDelivered => true,
            Self::OrderConfirmed | Self::OrderCancelled | Self::PaymentRefunded | Self::RefundIssued => false,
        }
    }

    /// What is told of `event`.
    ///
    /// # Errors
    /// [`HandleError::Rejected`] if nothing is, or the event does not say what its kind promises.
    pub fn of(event: &Event) -> Result<Self, HandleError> {
        if event.read::<OrderConfirmed>()?.is_some() {
            Ok(Self::OrderConfirmed)
        } else if event.read::<OrderCancelled>()?.is_some() {
            Ok(Self::OrderCancelled)
        } else if event.read::<PaymentRefunded>()?.is_some() {
            Ok(Self::PaymentRefunded)
        } else if event.read::<RefundIssued>()?.is_some() {
            Ok(Self::RefundIssued)
        } else if event.read::<ShipmentSent>()?.is_some() {
            Ok(Self::ShipmentSent)
        } else if event.read::<ShipmentDelivered>()?.is_some() {
            Ok(Self::ShipmentDelivered)
        } else {
            Err(HandleError::Rejected(format!("nobody is told of {}", event.kind)))
        }
    }
}

/// Most cancellations that one address is told of in a day, on each shard. Whoever orders without paying may name anybody's
/// address: all other news follows from money.
pub const MOST_CANCELLATIONS_A_DAY: i64 = 10;

/// A way to reach a shopper; each event is told once by each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Channel {
    /// E-mail.
    Mail,
    /// A text to a telephone.
    Sms,
    /// A message to a browser.
    Push,
}

impl Channel {
    /// How the database and the message id name it; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Sms => "sms",
            Self::Push => "push",
        }
    }

    /// What metrics and logs call many of its messages.
    #[must_use]
    pub const fn messages(self) -> &'static str {
        match self {
            Self::Mail => "mails",
            Self::Sms => "texts",
            Self::Push => "pushes",
        }
    }
}

/// The id of what is told of `event`, without angle brackets: the same in every repeat, so that repeats can be recognised
/// (RFC 5322 section 3.6.4).
#[must_use]
pub fn message_id(event: EventId, channel: Channel, domain: &str) -> String {
    format!("{event}.{}@{domain}", channel.name())
}

/// Where a notification stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// It is to be sent, now or later.
    ToSend,
    /// The mail server took it.
    Sent,
    /// It was given up.
    Failed,
    /// Nobody reads mail at that address.
    Bounced,
    /// Whoever reads there does not want to be told.
    Unwanted,
}

impl State {
    const ALL: [Self; 5] = [Self::ToSend, Self::Sent, Self::Failed, Self::Bounced, Self::Unwanted];

    /// The one that the database keeps so.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// How the database keeps it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToSend => "to_send",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Bounced => "bounced",
            Self::Unwanted => "unwanted",
        }
    }
}

/// Most copies of one notification that the desk may ask for.
pub const MOST_COPIES: usize = 10;

/// Why no copy of a notification is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoCopy {
    /// It is on its way.
    #[error("it is still to be sent, and is tried again by itself")]
    StillToSend,
    /// It was sent often enough.
    #[error("it was sent again {} times already", MOST_COPIES)]
    Enough,
}

/// Whether one more copy may be sent of what stands so, whose copies stand so.
///
/// # Errors
/// [`NoCopy`].
pub fn may_copy(first: State, copies: &[State]) -> Result<(), NoCopy> {
    if first == State::ToSend || copies.contains(&State::ToSend) {
        Err(NoCopy::StillToSend)
    } else if copies.len() >= MOST_COPIES {
        Err(NoCopy::Enough)
    } else {
        Ok(())
    }
}

/// What became of an attempt. Texts are for the operator who reads the row: mail servers like to repeat the address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The mail server took it.
    Sent,
    /// Not now.
    Deferred(String),
    /// Not this mail, ever.
    Refused(String),
    /// Not to this address, ever.
    Bounced(String),
    /// Whoever reads there does not want it.
    Unwanted,
}

/// How far an exchange with a mail server had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Connection, encryption, sign-in.
    Greeting,
    /// Who writes: our own configuration.
    Sender,
    /// To whom.
    Recipient,
    /// The mail itself.
    Message,
}

impl Stage {
    /// What it means that the server answered `code` (three digits, if it answered with one) and `text`.
    ///
    /// Only a 5xx about the recipient speaks of the address, and one about the mail of the mail. Whatever else goes wrong is
    /// the server's fault, the network's or that of our configuration, which may be mended.
    #[must_use]
    pub fn outcome(self, code: Option<u16>, text: String) -> Outcome {
        let forever = code.is_some_and(|code| (500..600).contains(&code));
        match self {
            Self::Recipient if forever && names_the_recipient(code, &text) => Outcome::Bounced(text),
            Self::Message if forever && says_no_such_mailbox(&text) => Outcome::Bounced(text),
            Self::Message if forever => Outcome::Refused(text),
            Self::Greeting | Self::Sender | Self::Recipient | Self::Message => Outcome::Deferred(text),
        }
    }
}

/// Whether a 5xx to the recipient's address is about that address (RFC 5321 section 4.2.2), and not about the order of
/// commands, a missing sign-in, or whom the server relays for (RFC 3463 section 3.8).
fn names_the_recipient(code: Option<u16>, text: &str) -> bool {
    matches!(code, Some(501 | 550..=556)) && !text.starts_with("5.7.")
}

/// The recipient's mailbox, in the words of RFC 3463 sections 3.2 and 3.3: some servers look only once they have the mail.
fn says_no_such_mailbox(text: &str) -> bool {
    text.starts_with("5.1.") || text.starts_with("5.2.1")
}

/// How often and how patiently an attempt is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Pause after the first attempt; doubles with each.
    pub first_pause: Duration,
    /// Longest such pause.
    pub longest_pause: Duration,
    /// Attempts before it is given up.
    pub most_attempts: i32,
}

impl Default for Patience {
    /// Two days in all: a mail server that stood still over a weekend is told on Monday, and news does not get older.
    fn default() -> Self {
        Self { first_pause: Duration::from_secs(60), longest_pause: Duration::from_secs(4 * 3600), most_attempts: 20 }
    }
}

impl Patience {
    /// The same with those attempts alone that begin within `longest` of the first.
    #[must_use]
    pub fn within(self, longest: Duration) -> Self {
        let mut begun = Duration::ZERO;
        let fits = |attempt: &i32| {
            begun = begun.saturating_add(self.pause(*attempt));
            begun <= longest
        };
        let more = (1..self.most_attempts).take_while(fits).last();
        Self { most_attempts: more.map_or(1, |attempt| attempt + 1), ..self }
    }

    /// Pause after that many attempts.
    #[must_use]
    pub fn pause(&self, attempts: i32) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(16);
        self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause)
    }
}

/// Where a notification stands after an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Its state.
    pub state: State,
    /// When it is tried again, if it is.
    pub pause: Duration,
    /// What went wrong.
    pub error: Option<String>,
}

/// What the outcome of attempt number `attempts` comes to.
#[must_use]
pub fn settle(attempts: i32, outcome: Outcome, patience: &Patience) -> Settled {
    let done = |state, error| Settled { state, pause: Duration::ZERO, error };
    match outcome {
        Outcome::Sent => done(State::Sent, None),
        Outcome::Unwanted => done(State::Unwanted, None),
        Outcome::Bounced(why) => done(State::Bounced, Some(legible(&why))),
        Outcome::Refused(why) => done(State::Failed, Some(legible(&why))),
        Outcome::Deferred(why) if attempts >= patience.most_attempts => done(State::Failed, Some(legible(&why))),
        Outcome::Deferred(why) => {
            Settled { state: State::ToSend, pause: patience.pause(attempts), error: Some(legible(&why)) }
        }
    }
}

/// A stranger's words as a database takes them and a person reads them: no control characters, at most 500 of the others.
fn legible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_keeps_its_name() {
        let names = [
            "order_confirmed",
            "order_cancelled",
            "payment_refunded",
            "refund_issued",
            "shipment_sent",
            "shipment_delivered",
        ];
        assert_eq!(names.map(Template::parse), Template::ALL.map(Some));
        let kinds = [
            "OrderConfirmed",
            "OrderCancelled",
            "PaymentRefunded",
            "RefundIssued",
            "ShipmentSent",
            "ShipmentDelivered",
        ];
        assert_eq!(Template::KINDS, kinds);
        assert_eq!(Template::parse("order_lost"), None);
    }

    #[test]
    fn only_news_of_parcels_can_be_done_without() {
        let optional: Vec<_> = Template::ALL.into_iter().filter(|template| template.is_optional()).collect();
        assert_eq!(optional, [Template::ShipmentSent, Template::ShipmentDelivered]);
    }

    #[test]
    fn repeats_of_one_event_have_one_message_id() {
        let event = EventId::mint(1_800_000_000_000, [1; 10]);
        let id = message_id(event, Channel::Mail, "shop.example");
        assert_eq!(id, format!("{event}.mail@shop.example"));
    }

    #[test]
    fn a_copy_is_sent_of_what_has_come_to_an_end_and_not_for_ever() {
        for ended in [State::Sent, State::Failed, State::Bounced, State::Unwanted] {
            assert_eq!(State::parse(ended.name()), Some(ended));
            assert_eq!(may_copy(ended, &[]), Ok(()));
            assert_eq!(may_copy(ended, &[State::Failed; MOST_COPIES - 1]), Ok(()));
            assert_eq!(may_copy(ended, &[State::Sent; MOST_COPIES]), Err(NoCopy::Enough));
            assert_eq!(may_copy(ended, &[State::Sent, State::ToSend]), Err(NoCopy::StillToSend));
        }
        assert_eq!(may_copy(State::ToSend, &[]), Err(NoCopy::StillToSend));
        assert_eq!(State::parse("lost"), None);
    }

    #[test]
    fn attempts_go_on_for_two_days_and_end() {
        let patience = Patience::default();
        let minutes = |attempts| patience.pause(attempts).as_secs() / 60;
        assert_eq!([1, 2, 3, 8, 9, 19, i32::MAX].map(minutes), [1, 2, 4, 128, 240, 240, 240]);
        let hours =
            (1..patience.most_attempts).map(|attempts| patience.pause(attempts)).sum::<Duration>().as_secs() / 3600;
        assert_eq!(hours, 48);
        let later = settle(19, Outcome::Deferred("busy".to_owned()), &patience);
        assert_eq!((later.state, later.pause), (State::ToSend, patience.longest_pause));
        assert_eq!(settle(20, Outcome::Deferred("busy".to_owned()), &patience).state, State::Failed);
    }

    #[test]
    fn what_is_decided_is_not_tried_again() {
        let no = || "no".to_owned();
        let states = [Outcome::Sent, Outcome::Refused(no()), Outcome::Bounced(no()), Outcome::Unwanted]
            .map(|outcome| settle(1, outcome, &Patience::default()).state);
        assert_eq!(states, [State::Sent, State::Failed, State::Bounced, State::Unwanted]);
    }

    #[test]
    fn whatever_a_server_says_can_be_kept() {
        let said = format!("no\0such\r\nuser {}", "x".repeat(600));
        let error = settle(1, Outcome::Bounced(said), &Patience::default()).error.unwrap();
        assert!(error.starts_with("no such  user xx") && error.chars().count() == 500, "{error}");
    }

    #[test]
    fn only_a_server_that_does_not_know_the_recipient_makes_a_bounce() {
        let says = |stage: Stage, code: u16, text: &str| stage.outcome(Some(code), text.to_owned());
        let why = |text: &str| text.to_owned();
        for (code, text) in [(550, "5.1.1 no such user"), (553, "not here"), (501, "5.1.3 bad address"), (552, "full")]
        {
            assert_eq!(says(Stage::Recipient, code, text), Outcome::Bounced(why(text)), "{code} {text}");
        }
        assert_eq!(says(Stage::Message, 550, "5.1.1 no such user"), Outcome::Bounced(why("5.1.1 no such user")));
        assert_eq!(says(Stage::Message, 554, "5.7.1 looks like spam"), Outcome::Refused(why("5.7.1 looks like spam")));
        for (stage, code, text) in [
            (Stage::Recipient, 450, "4.2.1 try later"),
            (Stage::Recipient, 550, "5.7.1 relaying denied"),
            (Stage::Recipient, 530, "sign in first"),
            (Stage::Recipient, 503, "wrong order"),
            (Stage::Sender, 550, "5.1.8 who are you"),
            (Stage::Greeting, 535, "5.7.8 wrong password"),
            (Stage::Greeting, 554, "go away"),
            (Stage::Message, 451, "4.3.0 try later"),
        ] {
            assert_eq!(says(stage, code, text), Outcome::Deferred(why(text)), "{stage:?} {code} {text}");
        }
        assert_eq!(Stage::Recipient.outcome(None, why("cut off")), Outcome::Deferred(why("cut off")));
    }

    #[test]
    fn what_is_stale_after_a_day_is_tried_for_a_day() {
        let (usual, day) = (Patience::default(), Duration::from_secs(24 * 3600));
        let patience = usual.within(day);
        let begins = |attempts| (1..attempts).map(|attempt| usual.pause(attempt)).sum::<Duration>();
        assert!(begins(patience.most_attempts) <= day && begins(patience.most_attempts + 1) > day, "{patience:?}");
        assert_eq!(usual.within(Duration::ZERO).most_attempts, 1);
        assert_eq!(usual.within(30 * day), usual);
    }
}
