//! Mail: a letter with headers, in both forms, under one Message-ID, to whoever wants it.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use shared::{EmailAddress, UserId};
use time::OffsetDateTime;

use crate::letter::Letter;
use crate::rules::{Channel, Outcome};
use crate::way::{Told, Way};
use crate::{Preferences, PreferencesError, Shop, Smtp};

/// Sends mails.
pub(crate) struct Mailing {
    pub(crate) shop: Shop,
    pub(crate) smtp: Arc<Smtp>,
    pub(crate) preferences: Preferences,
}

impl Way for Mailing {
    fn channel(&self) -> Channel {
        Channel::Mail
    }

    fn tell<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, Outcome> {
        self.mail(told).boxed()
    }
}

impl Mailing {
    async fn mail(&self, told: Told<'_>) -> Outcome {
        let Told { leased, order, mut letter } = told;
        let address = leased.recipient.parse::<EmailAddress>().ok().filter(|_| leased.template.is_optional());
        if let Some(address) = &address {
            match self.wanted(order.user_id, address).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Unwanted,
                Err(error) => return Outcome::Deferred(format!("nobody knows whether it is wanted: {error}")),
            }
        }
        let token = address.and_then(|address| self.preferences.token(&address));
        letter.unsubscribe = token.map(|token| format!("{}/unsubscribe/{token}", self.shop.origin()));
        match compose(&self.shop, &letter, &leased.recipient, &leased.message_id, leased.created_at) {
            Ok(mail) => self.smtp.send(&mail).await,
            Err(error) => error.into(),
        }
    }

    /// Whether news of parcels is: both by whoever ordered and by whoever reads at the address.
    async fn wanted(&self, user: UserId, address: &EmailAddress) -> Result<bool, PreferencesError> {
        Ok(self.preferences.of_user(user).await?.parcels && self.preferences.of(address).await?.parcels)
    }
}

/// A mail ready to be handed to a mail server.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) envelope: Envelope,
    /// RFC 5322, lines ended by CRLF.
    pub(crate) bytes: Vec<u8>,
}

/// Why a letter could not be made a mail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    /// Mail cannot be addressed to it.
    #[error("no mail can be addressed to it: {0}")]
    Recipient(#[from] lettre::address::AddressError),
    /// The letter has no text.
    #[error("the letter cannot be written: {0}")]
    Letter(#[from] askama::Error),
    /// The headers do not make a mail.
    #[error("the mail cannot be built: {0}")]
    Mail(#[from] lettre::error::Error),
}

/// The mail that brings `letter` to `recipient`. The same at every attempt: a repeat can be told by its bytes.
pub(crate) fn compose(
    shop: &Shop,
    letter: &Letter,
    recipient: &str,
    message_id: &str,
    written_at: OffsetDateTime,
) -> Result<Mail, MailError> {
    let recipient: Address = recipient.parse()?;
    let forms = MultiPart::alternative()
        .boundary(format!("=_{}", message_id.split('@').next().unwrap_or_default()))
        .singlepart(SinglePart::plain(letter.text()?))
        .singlepart(SinglePart::html(letter.html()?));
    let mut builder = Message::builder()
        .from(shop.from().clone())
        .to(Mailbox::new(None, recipient))
        .subject(&letter.subject)
        .date(written_at.into())
        .message_id(Some(format!("<{message_id}>")))
        // No out-of-office answers, please (RFC 3834 section 5).
        .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
    if let Some(link) = &letter.unsubscribe {
        // One click in the mail's reader is enough (RFC 8058 section 3.1).
        builder = builder
            .raw_header(header("List-Unsubscribe", format!("<{link}>")))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    let message = builder.multipart(forms)?;
    Ok(Mail { envelope: message.envelope().clone(), bytes: message.formatted() })
}

/// A plain mail of the shop to itself.
pub(crate) fn note(
    shop: &Shop,
    subject: &str,
    text: String,
    message_id: &str,
    written_at: OffsetDateTime,
) -> Result<Mail, MailError> {
    let message = Message::builder()
        .from(shop.from().clone())
        .to(shop.from().clone())
        .subject(subject)
        .date(written_at.into())
        .message_id(Some(format!("<{message_id}>")))
        .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
        .singlepart(SinglePart::plain(text))?;
    Ok(Mail { envelope: message.envelope().clone(), bytes: message.formatted() })
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

impl From<MailError> for Outcome {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Recipient(_) => Self::Bounced(error.to_string()),
            MailError::Letter(_) | MailError::Mail(_) => Self::Refused(error.to_string()),
        }
    }
}
