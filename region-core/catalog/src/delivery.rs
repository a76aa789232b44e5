//! What delivery costs: by country, weight and value. Pure.
//!
//! Countries are gathered in zones, none in two of them; one zone may take all that no other names. A zone offers options,
//! each priced by weight, and free from some value of goods on if it says so. A country of no zone is not delivered to.
//! Deliberately absent: promotions, parts of countries, and a carrier's own rates.

mod file;

use serde::{Deserialize, Serialize};
use shared::api::order::{DeliveryDays, DeliveryOption};
use shared::money::MoneyError;
use shared::{Currency, Money, country, text};

pub use file::{FileError, read_delivery};

/// Stands for every country that no zone names.
const ELSEWHERE: &str = "*";
/// Most zones: there are 249 countries.
const MAX_ZONES: usize = 250;
/// Most options of a zone.
const MAX_OPTIONS: usize = 8;
/// Most bands of an option.
const MAX_BANDS: usize = 32;
/// Longest name, in characters.
const MAX_NAME: usize = 60;
/// Most days that a delivery may take.
const MAX_DAYS: u16 = 365;

/// What delivery costs at one version of the catalog. Every table of this type keeps the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryTable {
    currency: Currency,
    zones: Vec<Zone>,
}

/// Countries that are delivered to alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// For who keeps the table.
    pub name: String,
    /// ISO 3166-1 alpha-2, upper-case; or `*` for all that no zone names.
    pub countries: Vec<String>,
    /// In the order in which they are offered.
    pub options: Vec<Rate>,
}

/// What one option costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Names it in requests.
    pub id: String,
    /// Names it for people.
    pub name: String,
    /// How long it takes.
    pub days: DeliveryDays,
    /// The carrier's service that labels are bought of for it, as the carrier calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The value of goods from which it costs nothing, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_from_minor: Option<i64>,
    /// Prices by weight, the lightest first. What is heavier than the last is not taken.
    pub bands: Vec<Band>,
}

/// What orders up to a weight cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// The heaviest order of this price.
    pub up_to_grams: u64,
    /// The price in minor units, tax included.
    pub price_minor: i64,
}

/// A part of a table that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", field(path))]
pub struct InvalidTable {
    /// Where it is.
    pub path: Vec<Step>,
    /// The rule.
    pub reason: String,
}

/// A step on the way to a value inside a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The field of this name.
    Field(&'static str),
    /// The element of this number.
    Element(usize),
}

/// `zones[1].options[0].id`.
fn field(path: &[Step]) -> String {
    let said = path.iter().map(|step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Element(index) => format!("[{index}]"),
    });
    said.collect::<String>().trim_start_matches('.').to_owned()
}

/// Why an order is not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDelivery {
    /// No zone has the country.
    #[error("not delivered to")]
    Country,
    /// Every option takes less.
    #[error("too heavy to be delivered there in one order")]
    TooHeavy,
    /// The goods have another currency than the table.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl DeliveryTable {
    /// A table of these zones, prices in `currency`.
    ///
    /// # Errors
    /// The first part that breaks a rule.
    pub fn new(currency: Currency, zones: Vec<Zone>) -> Result<Self, InvalidTable> {
        let at = Path::default().field("zones");
        at.counts("zones", zones.len(), 1, MAX_ZONES)?;
        let mut countries = std::collections::HashSet::new();
        for (index, zone) in zones.iter().enumerate() {
            let at = at.element(index);
            zone.check(&at)?;
            let repeated = zone.countries.iter().position(|country| !countries.insert(country.as_str()));
            if let Some(index) = repeated {
                return Err(at.field("countries").element(index).invalid("this country stands in a zone already"));
            }
        }
        Ok(Self { currency, zones })
    }

    /// The currency of its prices.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Its zones.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// How goods of that value and weight may be delivered to `country`, in the merchant's order; never nothing.
    ///
    /// # Errors
    /// [`NoDelivery`].
    pub fn offers(&self, country: &str, goods: Money, grams: u64) -> Result<Vec<DeliveryOption>, NoDelivery> {
        let zone = self.zone(country).ok_or(NoDelivery::Country)?;
        let nothing = Money::zero(self.currency);
        goods.checked_add(nothing)?; // of one currency
        let mut offers = Vec::with_capacity(zone.options.len());
        for rate in &zone.options {
            let Some(minor) = rate.price(goods.minor(), grams) else { continue };
            offers.push(DeliveryOption {
                id: rate.id.clone(),
                name: rate.name.clone(),
                price: Money::new(minor, self.currency)?,
                days: rate.days,
                service: rate.service.clone(),
            });
        }
        if offers.is_empty() { Err(NoDelivery::TooHeavy) } else { Ok(offers) }
    }

    fn zone(&self, country: &str) -> Option<&Zone> {
        let of = |name: &str| self.zones.iter().find(|zone| zone.countries.iter().any(|own| own == name));
        of(country).or_else(|| of(ELSEWHERE))
    }
}

impl Zone {
    fn check(&self, at: &Path) -> Result<(), InvalidTable> {
        at.field("name").is_name(&self.name)?;
        let countries = at.field("countries");
        countries.counts("countries", self.countries.len(), 1, MAX_ZONES)?;
        for (index, code) in self.countries.iter().enumerate() {
            if code != ELSEWHERE && !country::is_country(code) {
                let reason = "an upper-case ISO 3166-1 alpha-2 code, or \"*\" for all that no zone names";
                return Err(countries.element(index).invalid(reason));
            }
        }
        let options = at.field("options");
        options.counts("options", self.options.len(), 1, MAX_OPTIONS)?;
        for (index, rate) in self.options.iter().enumerate() {
            let at = options.element(index);
            rate.check(&at)?;
            if self.options.iter().take(index).any(|earlier| earlier.id == rate.id) {
                return Err(at.field("id").invalid("this zone has an option of that id already"));
            }
        }
        Ok(())
    }
}

impl Rate {
    /// What it costs for goods of that value and weight; `None` if it does not take so much.
    fn price(&self, goods_minor: i64, grams: u64) -> Option<i64> {
        let band = self.bands.iter().find(|band| grams <= band.up_to_grams)?;
        let free = self.free_from_minor.is_some_and(|from| goods_minor >= from);
        Some(if free { 0 } else { band.price_minor })
    }

    fn check(&self, at: &Path) -> Result<(), InvalidTable> {
        if !DeliveryOption::is_id(&self.id) {
            return Err(at.field("id").invalid("1 to 40 of a to z, 0 to 9 and -"));
        }
        at.field("name").is_name(&self.name)?;
        if self.days.from > self.days.to || self.days.to > MAX_DAYS {
            return Err(at.field("days").invalid(format!("from at most to, to at most {MAX_DAYS}")));
        }
        if let Some(service) = &self.service {
            at.field("service").is_name(service)?;
        }
        if let Some(from) = self.free_from_minor {
            at.field("free_from_minor").is_amount(from)?;
        }
        let bands = at.field("bands");
        bands.counts("bands", self.bands.len(), 1, MAX_BANDS)?;
        for (index, band) in self.bands.iter().enumerate() {
            let at = bands.element(index);
            at.field("price_minor").is_amount(band.price_minor)?;
            let lighter = index.checked_sub(1).map(|before| self.bands[before]);
            if lighter.is_some_and(|lighter| lighter.up_to_grams >= band.up_to_grams) {
                return Err(at.field("up_to_grams").invalid("more than the band before it"));
            }
            if lighter.is_some_and(|lighter| lighter.price_minor > band.price_minor) {
                return Err(at.field("price_minor").invalid("no less than the lighter band's"));
            }
        }
        Ok(())
    }
}

/// Where in a table a rule is checked.
#[derive(Clone, Default)]
struct Path(Vec<Step>);

impl Path {
    fn field(&self, name: &'static str) -> Self {
        Self([self.0.as_slice(), &[Step::Field(name)]].concat())
    }

    fn element(&self, index: usize) -> Self {
        Self([self.0.as_slice(), &[Step::Element(index)]].concat())
    }

    fn invalid(&self, reason: impl Into<String>) -> InvalidTable {
        InvalidTable { path: self.0.clone(), reason: reason.into() }
    }

    fn counts(&self, what: &str, count: usize, least: usize, most: usize) -> Result<(), InvalidTable> {
        if (least..=most).contains(&count) { Ok(()) } else { Err(self.invalid(format!("{least} to {most} {what}"))) }
    }

    fn is_name(&self, name: &str) -> Result<(), InvalidTable> {
        let length = name.chars().count();
        let plain = name.trim() == name && !name.chars().any(char::is_control) && !text::holds_card_number(name);
        if plain && (1..=MAX_NAME).contains(&length) {
            return Ok(());
        }
        Err(self.invalid(format!("1 to {MAX_NAME} printable characters, no space at either end")))
    }

    fn is_amount(&self, minor: i64) -> Result<(), InvalidTable> {
        let most = shared::money::MAX_MINOR;
        if (0..=most).contains(&minor) { Ok(()) } else { Err(self.invalid(format!("0 to {most} minor units"))) }
    }
}

#[cfg(test)]
mod tests;
