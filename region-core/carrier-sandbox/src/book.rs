//! All parcels in memory, made from the log's records alone: what is not in the log never happened.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most parcels held.
const MOST_PARCELS: usize = 100_000;
/// What this carrier calls itself.
pub const CARRIER: &str = "SandboxPost";
/// What it sells, for how many pounds.
pub const SERVICES: [(&str, &str); 4] =
    [("Standard", "3.20"), ("Tracked", "4.45"), ("Express", "9.90"), ("Letter", "1.35")];
/// Which of [`SERVICES`] is a stamp: what was sold of it is never taken back.
const STAMP: usize = 3;
/// Where it does not go.
const NOWHERE: &str = "AQ";

/// Where a parcel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It has a label.
    PreTransit,
    /// It was scanned.
    InTransit,
    /// It arrives today.
    OutForDelivery,
    /// It has arrived.
    Delivered,
}

impl Way {
    /// Where it is next, unless it has arrived.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::PreTransit => Some(Self::InTransit),
            Self::InTransit => Some(Self::OutForDelivery),
            Self::OutForDelivery => Some(Self::Delivered),
            Self::Delivered => None,
        }
    }
}

/// A line of the log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// From 1 without gaps.
    pub sequence: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// The parcel, `shp_…`.
    pub id: String,
    /// What happened to it.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happens to parcels.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// It is known.
    Created(Consignment),
    /// Its label was sold.
    Bought {
        /// Which of [`SERVICES`].
        service: usize,
        /// What is printed on it.
        tracking_code: String,
    },
    /// Its label was taken back.
    Refunded,
    /// It went on.
    Moved {
        /// Where it is.
        way: Way,
    },
}

/// What a parcel is created with.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Consignment {
    /// The shop's name for it.
    #[serde(default)]
    pub reference: Option<String>,
    /// Where it goes.
    pub to_address: Value,
    /// Where it leaves from.
    pub from_address: Value,
    /// Its `weight`, in ounces.
    pub parcel: Value,
}

/// A parcel.
#[derive(Clone, PartialEq, Debug)]
pub struct Parcel {
    /// `shp_…`.
    pub id: String,
    /// What it was created with.
    pub consignment: Consignment,
    /// The service that was bought, and the tracking code.
    pub bought: Option<(usize, String)>,
    /// Whether the label was taken back.
    pub refunded: bool,
    /// Where it is.
    pub way: Way,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
}

/// Why a request had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such parcel.
    #[error("The requested resource could not be found.")]
    Unknown,
    /// An address that is none, or that nobody goes to.
    #[error("Unable to verify address.")]
    Address,
    /// No such rate.
    #[error("The rate is not one of this shipment's.")]
    Rate,
    /// It was sold before.
    #[error("Postage already exists for this shipment.")]
    PostageExists,
    /// There is nothing to take back, or not any more.
    #[error("Refund not possible: the shipment is not bought, was scanned, or has a stamp.")]
    NoRefund,
    /// Nothing more fits in.
    #[error("The sandbox is full.")]
    Full,
}

/// Every parcel.
#[derive(Debug, Default)]
pub struct Book {
    parcels: Vec<Parcel>,
    by_name: HashMap<String, usize>,
    last_sequence: u64,
}

impl Book {
    /// The parcel of that id, or the last one of that reference, or of that tracking code.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Parcel> {
        self.parcels.get(*self.by_name.get(name)?)
    }

    /// Every parcel, the first first.
    #[must_use]
    pub fn parcels(&self) -> &[Parcel] {
        &self.parcels
    }

    /// Ids of parcels that are to go on and have stood still since then.
    #[must_use]
    pub fn due(&self, since_ms: u64) -> Vec<String> {
        let due = |parcel: &&Parcel| {
            parcel.bought.is_some() && !parcel.refunded && parcel.way.next().is_some() && parcel.since_ms <= since_ms
        };
        self.parcels.iter().filter(due).map(|parcel| parcel.id.clone()).collect()
    }

    /// Whether a parcel may be created so.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn create(&self, new: Consignment) -> Result<Fact, Refusal> {
        let whole =
            |address: &Value| ["name", "street1", "city", "country"].iter().all(|field| address[field].is_string());
        let reached = new.to_address["country"] != NOWHERE;
        if !(whole(&new.to_address) && whole(&new.from_address) && reached) {
            return Err(Refusal::Address);
        }
        if self.parcels.len() >= MOST_PARCELS {
            return Err(Refusal::Full);
        }
        Ok(Fact::Created(new))
    }

    /// Whether the parcel's label may be sold at that rate, under a tracking code.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn buy(&self, id: &str, rate: &str, tracking_code: String) -> Result<Fact, Refusal> {
        let parcel = self.find(id).ok_or(Refusal::Unknown)?;
        if parcel.bought.is_some() {
            return Err(Refusal::PostageExists);
        }
        let service = (0..SERVICES.len()).find(|service| parcel.rate_id(*service) == rate).ok_or(Refusal::Rate)?;
        Ok(Fact::Bought { service, tracking_code })
    }

    /// Whether the parcel's label may be taken back; `None` if it was before.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn refund(&self, id: &str) -> Result<Option<Fact>, Refusal> {
        let parcel = self.find(id).ok_or(Refusal::Unknown)?;
        let taken_back = parcel.bought.as_ref().is_some_and(|(service, _)| *service != STAMP);
        if !taken_back || parcel.way != Way::PreTransit {
            return Err(Refusal::NoRefund);
        }
        Ok((!parcel.refunded).then_some(Fact::Refunded))
    }

    /// Whether the parcel may go on; `None` if it has arrived. Who hands in a parcel may do so under a label that was taken back.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn go_on(&self, name: &str) -> Result<Option<Fact>, Refusal> {
        let parcel = self.find(name).ok_or(Refusal::Unknown)?;
        if parcel.bought.is_none() {
            return Err(Refusal::Unknown);
        }
        Ok(parcel.way.next().map(|way| Fact::Moved { way }))
    }

    /// The next record about a parcel.
    #[must_use]
    pub fn record(&self, id: String, fact: Fact, at_ms: u64) -> Record {
        Record { sequence: self.last_sequence + 1, at_ms, id, fact }
    }

    /// Takes a record of the log.
    ///
    /// # Errors
    /// Says what is wrong if the record cannot follow those before it.
    pub fn replay(&mut self, record: &Record) -> Result<(), String> {
        if record.sequence != self.last_sequence + 1 {
            return Err(format!("record {} follows record {}", record.sequence, self.last_sequence));
        }
        if let Fact::Created(consignment) = &record.fact {
            self.insert(record, consignment.clone());
        }
        let place = *self.by_name.get(&record.id).ok_or("a record of an unknown parcel")?;
        let parcel = &mut self.parcels[place];
        parcel.since_ms = record.at_ms;
        match &record.fact {
            Fact::Created(_) => {}
            Fact::Refunded => parcel.refunded = true,
            Fact::Moved { way } => parcel.way = *way,
            Fact::Bought { service, tracking_code } if *service < SERVICES.len() => {
                parcel.bought = Some((*service, tracking_code.clone()));
                self.by_name.insert(tracking_code.clone(), place);
            }
            Fact::Bought { service, .. } => return Err(format!("there is no service {service}")),
        }
        self.last_sequence = record.sequence;
        Ok(())
    }

    fn insert(&mut self, record: &Record, consignment: Consignment) {
        let place = self.parcels.len();
        self.by_name.insert(record.id.clone(), place);
        self.by_name.extend(consignment.reference.clone().map(|reference| (reference, place)));
        let id = record.id.clone();
        let since_ms = record.at_ms;
        self.parcels.push(Parcel { id, consignment, bought: None, refunded: false, way: Way::PreTransit, since_ms });
    }
}

impl Parcel {
    fn rate_id(&self, service: usize) -> String {
        format!("rate_{}_{service}", self.id.trim_start_matches("shp_"))
    }

    fn rate(&self, service: usize) -> Value {
        let (name, rate) = SERVICES[service];
        json!({
            "id": self.rate_id(service), "object": "Rate", "carrier": CARRIER, "service": name, "rate": rate,
            "currency": "GBP", "shipment_id": self.id,
        })
    }

    /// The tracker as EasyPost shows it, once there is something to track.
    #[must_use]
    pub fn tracker(&self) -> Value {
        let Some((_, code)) = &self.bought else { return Value::Null };
        json!({
            "id": self.id.replace("shp_", "trk_"), "object": "Tracker", "tracking_code": code, "status": self.way,
            "carrier": CARRIER, "shipment_id": self.id, "public_url": format!("https://track.example/{code}"),
        })
    }

    /// The shipment as EasyPost shows it, by a sandbox that is reached at `origin`.
    #[must_use]
    pub fn shipment(&self, origin: &str) -> Value {
        let Consignment { reference, to_address, from_address, parcel } = &self.consignment;
        let selected = self.bought.as_ref().map(|(service, _)| self.rate(*service));
        let label = self.bought.as_ref().map(|_| {
            json!({
                "id": self.id.replace("shp_", "pl_"), "object": "PostageLabel", "label_size": "A6",
                "label_url": format!("{origin}/labels/{}.pdf", self.id), "label_pdf_url": null,
                "label_file_type": "application/pdf",
            })
        });
        json!({
            "id": self.id, "object": "Shipment", "mode": "test", "reference": reference, "to_address": to_address,
            "from_address": from_address, "parcel": parcel, "messages": [],
            "rates": (0..SERVICES.len()).map(|service| self.rate(service)).collect::<Vec<_>>(),
            "selected_rate": selected, "postage_label": label,
            "tracking_code": self.bought.as_ref().map(|(_, code)| code), "tracker": self.tracker(),
            "status": if self.bought.is_some() { json!(self.way) } else { json!("unknown") },
            "refund_status": self.refunded.then_some("refunded"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consignment(country: &str) -> Consignment {
        let address = json!({ "name": "A", "street1": "1 Quay", "city": "Hull", "country": country });
        let reference = Some("ours".to_owned());
        Consignment { reference, to_address: address.clone(), from_address: address, parcel: json!({ "weight": 17.7 }) }
    }

    fn take(book: &mut Book, fact: Fact) -> Record {
        let record = book.record("shp_1".to_owned(), fact, 5);
        book.replay(&record).unwrap();
        record
    }

    #[test]
    fn a_label_is_sold_once_and_taken_back_only_before_it_is_scanned() {
        let mut book = Book::default();
        assert_eq!(book.create(consignment("AQ")), Err(Refusal::Address));
        let created = book.create(consignment("GB")).unwrap();
        take(&mut book, created);
        assert_eq!(book.refund("shp_1"), Err(Refusal::NoRefund));
        assert_eq!(book.buy("ours", "rate_2_0", "T1".to_owned()), Err(Refusal::Rate));
        let bought = book.buy("ours", "rate_1_1", "T1".to_owned()).unwrap();
        take(&mut book, bought);
        assert_eq!(book.buy("shp_1", "rate_1_1", "T2".to_owned()), Err(Refusal::PostageExists));
        assert_eq!(book.refund("shp_1"), Ok(Some(Fact::Refunded)));
        assert_eq!((book.due(4), book.due(5)), (vec![], vec!["shp_1".to_owned()]));
        let moved = book.go_on("T1").unwrap().unwrap();
        take(&mut book, moved);
        assert_eq!(book.refund("shp_1"), Err(Refusal::NoRefund));
    }

    #[test]
    fn a_stamp_is_never_taken_back_and_a_label_that_was_can_still_be_handed_in() {
        let mut book = Book::default();
        let created = book.create(consignment("GB")).unwrap();
        take(&mut book, created);
        let bought = book.buy("ours", "rate_1_3", "T1".to_owned()).unwrap();
        take(&mut book, bought);
        assert_eq!(book.refund("shp_1"), Err(Refusal::NoRefund));
        take(&mut book, Fact::Refunded);
        assert_eq!(book.due(9), Vec::<String>::new(), "it does not go on by itself");
        assert_eq!(book.go_on("T1"), Ok(Some(Fact::Moved { way: Way::InTransit })));
    }

    #[test]
    fn a_replayed_book_is_the_same_book() {
        let mut book = Book::default();
        let mut records = vec![take(&mut book, Fact::Created(consignment("GB")))];
        records.push(take(&mut book, Fact::Bought { service: 2, tracking_code: "T1".to_owned() }));
        records.push(take(&mut book, Fact::Moved { way: Way::InTransit }));
        let mut replayed = Book::default();
        for record in &records {
            let line = serde_json::to_string(record).unwrap();
            replayed.replay(&serde_json::from_str(&line).unwrap()).unwrap();
        }
        assert_eq!(replayed.parcels(), book.parcels());
        assert!(replayed.replay(&records[0]).is_err(), "a record out of order was taken");
    }
}
