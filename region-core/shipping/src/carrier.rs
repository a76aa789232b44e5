//! What any carrier must be able to do for us.

use std::future::Future;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use shared::api::order::Address;
use shared::{Money, ShipmentId};

use crate::notice::{Notice, NoticeError};

/// Where a parcel is, in the words of EasyPost's trackers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A label was made; the carrier has not seen the parcel.
    PreTransit,
    /// The carrier has it.
    InTransit,
    /// It arrives today.
    OutForDelivery,
    /// It has arrived.
    Delivered,
    /// It waits for who receives it.
    AvailableForPickup,
    /// It comes back.
    ReturnToSender,
    /// It was lost or damaged.
    Failure,
    /// It will not be carried.
    Cancelled,
    /// The carrier cannot say.
    Error,
    /// Nothing is known yet, or it is called by a word that is not known here.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Way {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreTransit => "pre_transit",
            Self::InTransit => "in_transit",
            Self::OutForDelivery => "out_for_delivery",
            Self::Delivered => "delivered",
            Self::AvailableForPickup => "available_for_pickup",
            Self::ReturnToSender => "return_to_sender",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the carrier has certainly had the parcel in its hands.
    #[must_use]
    pub const fn has_left(self) -> bool {
        match self {
            Self::InTransit
            | Self::OutForDelivery
            | Self::Delivered
            | Self::AvailableForPickup
            | Self::ReturnToSender => true,
            Self::PreTransit | Self::Failure | Self::Cancelled | Self::Error | Self::Unknown => false,
        }
    }
}

/// A way of sending a parcel that can be bought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    /// The carrier's name for the offer.
    pub id: String,
    /// What the service is called.
    pub service: String,
}

/// What was bought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Postage {
    /// Who takes the parcel.
    pub carrier: String,
    /// The carrier's name for the parcel.
    pub tracking_code: String,
    /// Where its way can be followed.
    pub tracking_url: Option<String>,
    /// Where the label is.
    pub pdf_url: String,
    /// What it cost.
    pub cost: Option<Money>,
}

/// A parcel as the carrier shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CarrierParcel {
    /// The carrier's name for it.
    pub reference: String,
    /// Our name for it: the parcel's id.
    pub our_reference: Option<String>,
    /// What can be bought for it.
    pub rates: Vec<Rate>,
    /// What was bought for it: at most once.
    pub postage: Option<Postage>,
    /// Where it is.
    pub way: Way,
    /// Whether what was bought is given back, once that was asked for.
    pub refund: Option<Refund>,
}

/// What became of a label that was to be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refund {
    /// It cannot be used any more, and is paid back or was never charged.
    Granted,
    /// It was refused; it may be asked for again.
    Rejected,
}

/// A parcel to make known.
#[derive(Clone, Copy, Debug)]
pub struct Consignment<'a> {
    /// Our name for it.
    pub shipment_id: ShipmentId,
    /// Where it goes.
    pub to: &'a Address,
    /// What it weighs.
    pub weight_grams: u32,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CarrierError {
    /// The carrier refused it for good; it had no effect.
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody knows whether it had an effect: no connection, no answer in time, or an error after the fact.
    #[error("unknown: {0}")]
    Unknown(String),
}

/// An answer of the carrier.
pub type Shown = Result<CarrierParcel, CarrierError>;

/// A carrier, or a broker of several. Every call has a deadline.
///
/// Nothing is paid before a parcel's `reference` is committed here, and a parcel can be paid for once: so a purchase whose answer was
/// lost is found by reading, and is never made twice.
pub trait Carrier: Send + Sync + 'static {
    /// Makes a parcel known; nothing is paid.
    fn create(&self, new: Consignment<'_>) -> impl Future<Output = Shown> + Send;

    /// Buys a label, once for each parcel.
    fn buy(&self, reference: &str, rate: &Rate) -> impl Future<Output = Shown> + Send;

    /// Gives the label back.
    fn void(&self, reference: &str) -> impl Future<Output = Shown> + Send;

    /// How the parcel of that name of the carrier's stands, and where it is.
    fn track(&self, reference: &str) -> impl Future<Output = Shown> + Send;

    /// How the parcel of that name of ours stands, if the carrier knows it.
    fn find(&self, shipment: ShipmentId) -> impl Future<Output = Result<Option<CarrierParcel>, CarrierError>> + Send;

    /// The label, to be printed.
    fn pdf(&self, postage: &Postage) -> impl Future<Output = Result<Bytes, CarrierError>> + Send;

    /// What the carrier has told us by itself, if the sender proves to be the carrier; `None` if it is nothing to us.
    ///
    /// # Errors
    /// [`NoticeError::Forged`], [`NoticeError::Unreadable`].
    fn notice(&self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Notice>, NoticeError>;
}
