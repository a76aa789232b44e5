//! What an order is judged by when its amount is kept ready.

use region_core_events::contract::OrderFacts;
use sha2::{Digest, Sha256};
use shared::UserId;
use shared::api::order::Address;

use super::CheckedOrder;

/// Bytes of a digest that are kept: two doors of one shop do not share them by chance.
const DIGEST: usize = 16;

/// The facts of a checked order.
#[must_use]
pub(crate) fn facts(user_id: UserId, order: &CheckedOrder) -> OrderFacts {
    let domain = |email: &str| email.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    OrderFacts {
        user_id,
        address: door(&order.shipping_address),
        country: order.shipping_address.country.clone(),
        mail_domain: order.email.as_ref().and_then(|email| domain(email.as_str())),
    }
}

/// Letters and digits alone, in lower case: one door, however its lines are cut and spaced. Whoever lives there does not count.
fn door(address: &Address) -> String {
    let Address { name: _, line1, line2, city, region: _, postal_code, country } = address;
    let lines = [Some(line1), line2.as_ref(), Some(city), postal_code.as_ref(), Some(country)];
    let letters = lines.into_iter().flatten().flat_map(|line| line.chars()).filter(|letter| letter.is_alphanumeric());
    let spelled: String = letters.flat_map(char::to_lowercase).collect();
    Sha256::digest(spelled).iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let door_of = |line1, line2| door(&address(line1, line2));
        let known = door_of("221b Baker Street", None);
        assert_eq!(known.len(), 2 * DIGEST);
        assert_eq!(known, door_of("221B  Baker-Street", None));
        assert_eq!(known, door_of("221b", Some("Baker Street")));
        assert_eq!(known, door(&Address { name: "Mrs Hudson".to_owned(), ..address("221b Baker Street", None) }));
        assert_ne!(known, door_of("222b Baker Street", None));
        assert_ne!(known, door(&Address { country: "US".to_owned(), ..address("221b Baker Street", None) }));
    }
}
