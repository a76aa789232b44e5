//! A letter as a mail: headers, both forms, one Message-ID.

use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use time::OffsetDateTime;

use crate::Shop;
use crate::letter::Letter;
use crate::rules::Outcome;

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
    let message = Message::builder()
        .from(shop.from().clone())
        .to(Mailbox::new(None, recipient))
        .subject(&letter.subject)
        .date(written_at.into())
        .message_id(Some(format!("<{message_id}>")))
        // No out-of-office answers, please (RFC 3834 section 5).
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .multipart(forms)?;
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
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .singlepart(SinglePart::plain(text))?;
    Ok(Mail { envelope: message.envelope().clone(), bytes: message.formatted() })
}

impl From<MailError> for Outcome {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Recipient(_) => Self::Bounced(error.to_string()),
            MailError::Letter(_) | MailError::Mail(_) => Self::Refused(error.to_string()),
        }
    }
}
