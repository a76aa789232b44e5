//! Ids that say where their owner lives.
//!
//! A user id is a positive 63-bit integer: 41 bits of milliseconds since 2025-01-01 UTC, 12 bits of slot, 10 random bits.
//! What a user owns has a `UUIDv7` (RFC 9562 section 5.7) whose twelve `rand_a` bits are the user's slot, so any id says
//! where it lives and no look-up table is needed. What nobody owns has a plain `UUIDv7` and a type without `slot()`.
//! Ids order by millisecond only; cursors use the whole id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of slots; each belongs to one shard at a time.
pub const SLOTS: u16 = 4096;

/// 2025-01-01T00:00:00Z in Unix milliseconds: where the time in a user id starts.
pub const USER_EPOCH_MS: u64 = 1_735_689_600_000;

const USER_TIME_BITS: u32 = 41;
const USER_RANDOM_BITS: u32 = 10;

/// One of the 4096 parts that users are divided into, fixed for a user's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u16, example = 4095))]
pub struct Slot(u16);

impl Slot {
    /// The slot of that number, if there is one.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// The slot named by the low twelve bits: how random or hashed bits become a slot.
    #[must_use]
    pub const fn from_low_bits(bits: u16) -> Self {
        Self(bits & (SLOTS - 1))
    }

    /// 0 to 4095.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Every slot, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }
}

impl TryFrom<u16> for Slot {
    type Error = IdError;

    fn try_from(number: u16) -> Result<Self, IdError> {
        Self::new(number).ok_or(IdError::NotASlot(number))
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl From<Slot> for i16 {
    fn from(slot: Slot) -> Self {
        // 4095 fits with room to spare; `smallint` is how the databases keep it.
        slot.0.cast_signed()
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an id could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The instant lies before 2025 or does not fit 41 bits of milliseconds (the year 2094).
    #[error("{0} ms is outside the 41 bits of time in a user id")]
    TimeOutOfRange(u64),
    /// Slots are 0 to 4095.
    #[error("{0} is not a slot (0 to 4095)")]
    NotASlot(u16),
    /// Not a positive 63-bit decimal.
    #[error("{0:?} is not a user id")]
    NotAUserId(String),
    /// Not a canonical hyphenated `UUIDv7`.
    #[error("{0:?} is not a canonical UUIDv7")]
    NotAUuid(String),
}

/// A user, guest or with credentials. JSON carries it as a decimal string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "140737488355328"))]
pub struct UserId(i64);

impl UserId {
    /// A user id minted at `unix_ms` in `slot`, with the low ten bits of `random`.
    ///
    /// # Errors
    /// [`IdError::TimeOutOfRange`] outside 2025 to 2094.
    pub fn mint(unix_ms: u64, slot: Slot, random: u16) -> Result<Self, IdError> {
        let ms = unix_ms.checked_sub(USER_EPOCH_MS).filter(|ms| ms >> USER_TIME_BITS == 0);
        let ms = ms.ok_or(IdError::TimeOutOfRange(unix_ms))?;
        let random = u64::from(random) & ((1 << USER_RANDOM_BITS) - 1);
        let bits = (ms << (12 + USER_RANDOM_BITS)) | (u64::from(slot.0) << USER_RANDOM_BITS) | random;
        Self::from_i64(bits.cast_signed())
    }

    /// The id kept as that positive integer.
    ///
    /// # Errors
    /// [`IdError::NotAUserId`] unless positive.
    pub fn from_i64(id: i64) -> Result<Self, IdError> {
        if id > 0 { Ok(Self(id)) } else { Err(IdError::NotAUserId(id.to_string())) }
    }

    /// How databases keep it.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// The slot this user lives in.
    #[must_use]
    pub const fn slot(self) -> Slot {
        #[expect(clippy::cast_possible_truncation, reason = "masked to twelve bits by from_low_bits")]
        Slot::from_low_bits((self.0.cast_unsigned() >> USER_RANDOM_BITS) as u16)
    }

    /// When it was minted, in Unix milliseconds.
    #[must_use]
    pub const fn minted_at_ms(self) -> u64 {
        (self.0.cast_unsigned() >> (12 + USER_RANDOM_BITS)) + USER_EPOCH_MS
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UserId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError::NotAUserId(text.chars().take(32).collect());
        let plain = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        let id = if plain { text.parse().ok() } else { None };
        Self::from_i64(id.ok_or_else(refuse)?)
    }
}

impl Serialize for UserId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a canonical (hyphenated, lower-case) `UUIDv7` and nothing else, so that one id has one spelling.
fn parse_uuid_v7(text: &str) -> Result<Uuid, IdError> {
    let refuse = || IdError::NotAUuid(text.chars().take(40).collect());
    let uuid = Uuid::try_parse(text).map_err(|_| refuse())?;
    let mut canonical = Uuid::encode_buffer();
    let same = uuid.hyphenated().encode_lower(&mut canonical) == text;
    if same && uuid.get_version_num() == 7 { Ok(uuid) } else { Err(refuse()) }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = "uuid"))]
        pub struct $name(Uuid);

        impl $name {
            /// The id kept as that UUID by a database of ours.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// How databases keep it.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_uuid_v7(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! owned_id {
    ($(#[$doc:meta])* $name:ident) => {
        uuid_id!($(#[$doc])* $name);

        impl $name {
            /// An id minted at `unix_ms` for an owner who lives in `slot`.
            #[must_use]
            pub fn mint(unix_ms: u64, slot: Slot, random: [u8; 8]) -> Self {
                let mut bytes = [0; 10];
                bytes[..2].copy_from_slice(&slot.0.to_be_bytes());
                bytes[2..].copy_from_slice(&random);
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &bytes).into_uuid())
            }

            /// The slot its owner lives in: the twelve `rand_a` bits.
            #[must_use]
            pub const fn slot(self) -> Slot {
                let bytes = self.0.as_bytes();
                Slot::from_low_bits(u16::from_be_bytes([bytes[6], bytes[7]]))
            }
        }
    };
}

macro_rules! plain_id {
    ($(#[$doc:meta])* $name:ident) => {
        uuid_id!($(#[$doc])* $name);

        impl $name {
            /// An id minted at `unix_ms` that no user owns.
            #[must_use]
            pub fn mint(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }
        }
    };
}

owned_id!(
    /// An order.
    OrderId
);
owned_id!(
    /// One attempt to be paid for an order; the provider knows it as our reference.
    PaymentId
);
owned_id!(
    /// A parcel of an order.
    ShipmentId
);
owned_id!(
    /// A part of a payment that goes back; the provider knows it as our reference.
    RefundId
);
owned_id!(
    /// Goods of an order that come back.
    ReturnId
);
owned_id!(
    /// A user's cart.
    CartId
);
owned_id!(
    /// A signed-in session: the family of one refresh token.
    SessionId
);
plain_id!(
    /// A product as shown; what is counted are its SKUs.
    ProductId
);
plain_id!(
    /// An event in an outbox.
    EventId
);
plain_id!(
    /// Where a merchant's system is told of events.
    EndpointId
);
plain_id!(
    /// One change to a cart, named by the client so that a retry does nothing twice.
    OperationId
);

impl OrderId {
    /// What people call the order: its last eight characters, enough to tell one's own orders apart.
    #[must_use]
    pub fn short(self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_id_outside_its_years_is_refused() {
        let slot = Slot::new(7).unwrap();
        assert_eq!(UserId::mint(USER_EPOCH_MS - 1, slot, 1), Err(IdError::TimeOutOfRange(USER_EPOCH_MS - 1)));
        let last = USER_EPOCH_MS + (1 << USER_TIME_BITS) - 1;
        assert_eq!(UserId::mint(last, slot, 1).unwrap().minted_at_ms(), last);
        assert!(UserId::mint(last + 1, slot, 1).is_err());
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = OrderId::mint(USER_EPOCH_MS, Slot::new(4095).unwrap(), [9; 8]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<OrderId>().is_err());
        assert!(id.as_uuid().simple().to_string().parse::<OrderId>().is_err());
        assert!("f47ac10b-58cc-4372-a567-0e02b2c3d479".parse::<OrderId>().is_err(), "a UUIDv4 was taken");
        for bad in ["", "0", "-1", "+1", "01", "9223372036854775808", "1 "] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn every_owned_id_says_its_slot(ms in USER_EPOCH_MS..USER_EPOCH_MS + (1 << 41), slot in 0..SLOTS, random: [u8; 8], low: u16) {
            let slot = Slot::new(slot).unwrap();
            let user = UserId::mint(ms, slot, low);
            prop_assume!(user.is_ok());
            let user = user.unwrap();
            prop_assert_eq!((user.slot(), user.minted_at_ms()), (slot, ms));
            prop_assert_eq!(user.to_string().parse::<UserId>().unwrap(), user);
            let order = OrderId::mint(ms, slot, random);
            prop_assert_eq!(order.slot(), slot);
            prop_assert_eq!(order.as_uuid().get_version_num(), 7);
            prop_assert_eq!(order.to_string().parse::<OrderId>().unwrap(), order);
        }

        #[test]
        fn later_ids_sort_later(ms in USER_EPOCH_MS..USER_EPOCH_MS + (1 << 40), a: [u8; 8], b: [u8; 8], slots in (0..SLOTS, 0..SLOTS)) {
            let earlier = OrderId::mint(ms, Slot::new(slots.0).unwrap(), a);
            let later = OrderId::mint(ms + 1, Slot::new(slots.1).unwrap(), b);
            prop_assert!(earlier < later);
        }
    }
}
