//! What an order is judged by when its amount is kept ready.

use hmac::{Hmac, Mac};
use region_core_events::contract::OrderFacts;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use shared::UserId;
use shared::api::order::Address;

use super::CheckedOrder;

/// Bytes of a digest that are kept: two doors of one shop do not share them by chance.
const DIGEST: usize = 16;

/// What doors are told apart by. There are few enough that whoever read their plain digests could try them all; without this key
/// he cannot. Under another key every count of a door starts anew.
#[derive(Clone, Debug)]
pub struct DoorKey(SecretString);

impl DoorKey {
    /// The same in all of a region's cores.
    #[must_use]
    pub const fn new(key: SecretString) -> Self {
        Self(key)
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104 section 2)")]
    fn mac(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes()).expect("a key of any length")
    }
}

/// The facts of a checked order.
#[must_use]
pub(crate) fn facts(user_id: UserId, order: &CheckedOrder, key: &DoorKey) -> OrderFacts {
    let domain = |email: &str| email.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    OrderFacts {
        user_id,
        address: door(&order.shipping_address, key),
        country: order.shipping_address.country.clone(),
        mail_domain: order.email.as_ref().and_then(|email| domain(email.as_str())),
    }
}

/// Letters and digits alone, in lower case: one door, however its lines are cut and spaced. Whoever lives there does not count.
fn door(address: &Address, key: &DoorKey) -> String {
    let Address { name: _, line1, line2, city, region: _, postal_code, country } = address;
    let lines = [Some(line1), line2.as_ref(), Some(city), postal_code.as_ref(), Some(country)];
    let letters = lines.into_iter().flatten().flat_map(|line| line.chars()).filter(|letter| letter.is_alphanumeric());
    let spelled: String = letters.flat_map(char::to_lowercase).collect();
    let mac = key.mac().chain_update(spelled).finalize().into_bytes();
    mac.iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    fn key(letter: &str) -> DoorKey {
        DoorKey::new(letter.repeat(32).into())
    }

    fn address(line1: &str, line2: Option<&str>) -> Address {
        Address {
            name: "Ada".to_owned(),
            line1: line1.to_owned(),
            line2: line2.map(str::to_owned),
            city: "London".to_owned(),
            region: None,
            postal_code: Some("NW1 6XE".to_owned()),
            country: "GB".to_owned(),
        }
    }

    #[test]
    fn one_door_is_one_however_it_is_written_and_whoever_lives_there() {
        let key = key("k");
        let door_of = |line1, line2| door(&address(line1, line2), &key);
        let known = door_of("221b Baker Street", None);
        assert_eq!(known.len(), 2 * DIGEST);
        assert_eq!(known, door_of("221B  Baker-Street", None));
        assert_eq!(known, door_of("221b", Some("Baker Street")));
        assert_eq!(known, door(&Address { name: "Mrs Hudson".to_owned(), ..address("221b Baker Street", None) }, &key));
        assert_ne!(known, door_of("222b Baker Street", None));
        assert_ne!(known, door(&Address { country: "US".to_owned(), ..address("221b Baker Street", None) }, &key));
    }

    #[test]
    fn without_the_key_nobody_finds_a_door_by_trying_them_all() {
        let address = address("221b Baker Street", None);
        let plain = Sha256::digest("221bbakerstreetlondonnw16xegb");
        let plain: String = plain.iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect();
        assert_ne!(door(&address, &key("k")), plain);
        assert_ne!(door(&address, &key("k")), door(&address, &key("l")), "another key, other doors");
    }
}
