//! What EasyPost says, as far as it is heard.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use shared::{Currency, Money};

use crate::carrier::{CarrierError, CarrierParcel, Postage, Rate, Refund, Shown, Way};
use crate::notice::{Notice, NoticeError};

/// Longest word of a carrier that is kept.
const MOST_CHARACTERS: usize = 60;
/// Longest cause of a refusal that is kept.
const MOST_CAUSE: usize = 300;

#[derive(Deserialize)]
struct Shipment {
    id: String,
    reference: Option<String>,
    #[serde(default)]
    rates: Vec<Offer>,
    selected_rate: Option<Offer>,
    postage_label: Option<PostageLabel>,
    tracking_code: Option<String>,
    tracker: Option<Tracker>,
    refund_status: Option<String>,
}

#[derive(Deserialize)]
struct Offer {
    id: String,
    carrier: String,
    service: String,
    /// A decimal number as a string.
    rate: String,
    currency: String,
}

#[derive(Deserialize)]
struct PostageLabel {
    label_url: Option<String>,
    label_pdf_url: Option<String>,
}

#[derive(Deserialize)]
struct Tracker {
    #[serde(default)]
    status: Way,
    public_url: Option<String>,
}

/// 2xx shows the shipment and 4xx is a refusal without effect; of anything else nothing is known. 408, 409 and 429 say "not now", and
/// 401 and 403 are about the account and not about the parcel.
pub(super) fn read(status: StatusCode, answer: &[u8]) -> Shown {
    if status.is_success() {
        let shipment: Shipment = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
        return shipment.into_parcel();
    }
    let cause = cause(status, answer);
    let passing = matches!(status.as_u16(), 401 | 403 | 408 | 409 | 429);
    if status.is_client_error() && !passing {
        Err(CarrierError::Refused(cause))
    } else {
        Err(CarrierError::Unknown(cause))
    }
}

fn unreadable(error: &impl std::fmt::Display) -> CarrierError {
    CarrierError::Unknown(format!("unreadable: {error}"))
}

/// The message is a string, or whatever a carrier behind EasyPost has said.
fn cause(status: StatusCode, answer: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(answer).unwrap_or_default();
    let message = match &said["error"]["message"] {
        Value::Null => status.to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    message.chars().filter(|character| !character.is_control()).take(MOST_CAUSE).collect()
}

impl Shipment {
    fn into_parcel(self) -> Shown {
        let tracker = self.tracker.unwrap_or(Tracker { status: Way::Unknown, public_url: None });
        let bought = self.selected_rate.zip(self.postage_label).zip(self.tracking_code);
        let postage = bought.map(|((rate, label), code)| postage(rate, label, code, tracker.public_url)).transpose()?;
        let refund = match self.refund_status.as_deref() {
            // Where nothing is charged before the first scan, there is nothing to give back.
            Some("submitted" | "refunded" | "not_applicable") => Some(Refund::Granted),
            Some(_) => Some(Refund::Rejected),
            None => None,
        };
        let rates = self.rates.into_iter().map(|offer| Rate { id: offer.id, service: offer.service }).collect();
        Ok(CarrierParcel {
            reference: self.id,
            our_reference: self.reference,
            rates,
            postage,
            way: tracker.status,
            refund,
        })
    }
}

fn postage(rate: Offer, label: PostageLabel, code: String, url: Option<String>) -> Result<Postage, CarrierError> {
    let fits = |text: &str| (1..=MOST_CHARACTERS).contains(&text.chars().count());
    if !fits(&rate.carrier) || !fits(&code) {
        return Err(unreadable(&"a carrier or a tracking code of more than 60 characters"));
    }
    let pdf_url = label.label_pdf_url.or(label.label_url).ok_or_else(|| unreadable(&"no address of the label"))?;
    Ok(Postage {
        cost: cost(&rate),
        carrier: rate.carrier,
        tracking_code: code,
        tracking_url: url.filter(|url| url.starts_with("https://") && url.len() <= 500),
        pdf_url,
    })
}

/// What cannot be read as an amount is not told: the label is bought all the same.
fn cost(rate: &Offer) -> Option<Money> {
    let currency: Currency = rate.currency.parse().ok()?;
    Money::parse_decimal(&rate.rate, currency).ok().filter(|cost| cost.minor() >= 0)
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(default)]
    description: String,
    result: Value,
}

/// An event about a tracker of a shipment; others are nothing to us.
pub(super) fn event(body: &[u8]) -> Result<Option<Notice>, NoticeError> {
    let unreadable = |error: serde_json::Error| NoticeError::Unreadable(error.to_string());
    let Event { id, description, result } = serde_json::from_slice(body).map_err(unreadable)?;
    let reference = result["shipment_id"].as_str().map(str::to_owned);
    let about_a_way = description.starts_with("tracker.");
    Ok(reference.filter(|_| about_a_way).map(|reference| Notice { event_id: id, reference }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bought() -> Value {
        let rate =
            json!({ "id": "rate_1", "carrier": "RoyalMail", "service": "Tracked", "rate": "3.20", "currency": "GBP" });
        json!({
            "id": "shp_1", "object": "Shipment", "reference": "ours", "rates": [rate], "selected_rate": rate,
            "postage_label": { "label_url": "https://files.example/1.pdf", "label_pdf_url": null },
            "tracking_code": "RM1", "tracker": { "status": "in_transit", "public_url": "https://track.example/1" },
            "refund_status": null, "messages": [],
        })
    }

    fn shown(shipment: &Value) -> CarrierParcel {
        read(StatusCode::OK, shipment.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_bought_shipment_shows_its_label_its_way_and_what_it_cost() {
        let parcel = shown(&bought());
        let postage = parcel.postage.unwrap();
        assert_eq!((postage.tracking_code.as_str(), postage.pdf_url.as_str()), ("RM1", "https://files.example/1.pdf"));
        assert_eq!((postage.cost.unwrap().minor(), parcel.way, parcel.refund), (320, Way::InTransit, None));
    }

    #[test]
    fn what_is_not_known_here_is_borne() {
        let mut odd = bought();
        odd["tracker"]["status"] = "on_the_moon".into();
        odd["tracker"]["public_url"] = "http://track.example".into();
        odd["selected_rate"]["rate"] = "some".into();
        let parcel = shown(&odd);
        let postage = parcel.postage.unwrap();
        assert_eq!((parcel.way, postage.tracking_url, postage.cost), (Way::Unknown, None, None));
        odd["tracking_code"] = Value::Null;
        assert!(shown(&odd).postage.is_none());
    }

    #[test]
    fn only_a_clear_refusal_is_one() {
        let answer = br#"{"error":{"code":"SHIPMENT.POSTAGE.EXISTS","message":["a","b"]}}"#;
        let refused = read(StatusCode::UNPROCESSABLE_ENTITY, answer).unwrap_err();
        assert_eq!(refused, CarrierError::Refused("[\"a\",\"b\"]".to_owned()));
        for status in [401, 403, 408, 409, 429, 500, 502, 504] {
            let unknown = read(StatusCode::from_u16(status).unwrap(), b"{}").unwrap_err();
            assert!(matches!(unknown, CarrierError::Unknown(_)), "{status}");
        }
        assert!(matches!(read(StatusCode::OK, b"{}"), Err(CarrierError::Unknown(_))));
    }

    #[test]
    fn an_event_is_about_a_tracker_of_a_shipment_or_nothing_to_us() {
        let about = |event: Value| event_of(&event).unwrap();
        let tracker = json!({ "id": "evt_1", "description": "tracker.updated", "result": { "shipment_id": "shp_1" } });
        assert_eq!(about(tracker.clone()).unwrap().reference, "shp_1");
        let mut other = tracker;
        other["description"] = "batch.created".into();
        assert!(about(other).is_none());
        assert!(about(json!({ "id": "evt_2", "description": "tracker.updated", "result": {} })).is_none());
        assert!(event(b"{}").is_err());
    }

    fn event_of(value: &Value) -> Result<Option<Notice>, NoticeError> {
        event(value.to_string().as_bytes())
    }
}
