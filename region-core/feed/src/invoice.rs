//! A shop's invoice lines: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country.
//!
//! One product a stock code of five digits and optional letters, upper-cased; its name is the commonest description and
//! its price the commonest price other than zero, over all of its lines. Every line of the file lands in exactly one of
//! the counts of [`InvoiceCounts`].

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use shared::{Currency, Money, Quantity, Sku};
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::category;
use crate::product::{FeedProduct, FeedVariant};
use crate::source::{Reason, Refusal, Row, Table};
use crate::title::display_title;

/// Longest name that is kept, in characters.
const MAX_TITLE: usize = 300;

/// A file of invoice lines.
#[derive(Debug, Clone, PartialEq)]
pub struct InvoiceFile {
    /// By SKU. `units` of a variant are those that [`InvoiceFile::invoices`] ask for.
    pub products: Vec<FeedProduct>,
    /// Sale invoices with something sellable on them, as they first appear.
    pub invoices: Vec<Invoice>,
    /// Where each line went.
    pub counts: InvoiceCounts,
    /// Lines that were not taken.
    pub refused: Vec<Refusal>,
}

/// A sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its number, as written.
    pub number: String,
    /// Who bought; absent for a guest.
    pub customer: Option<u32>,
    /// Where to.
    pub country: String,
    /// Local time of the shop.
    pub at: PrimitiveDateTime,
    /// What, each SKU once, in the order they first appear.
    pub items: Vec<InvoiceItem>,
}

/// A SKU on an invoice, its lines added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceItem {
    /// What was sold.
    pub sku: Sku,
    /// How many, over all lines of the invoice.
    pub quantity: Quantity,
}

/// How many lines were what: `lines` is the sum of the refused ones and of all counts that end in `_lines`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct InvoiceCounts {
    /// Lines of the file without its header.
    pub lines: u64,
    /// Lines on sale invoices that can be sold.
    pub sale_lines: u64,
    /// Lines of cancelled invoices (number starts with C).
    pub cancelled_lines: u64,
    /// Cancelled invoices.
    pub cancelled_invoices: u64,
    /// Lines for postage, fees, samples, vouchers and other services.
    pub service_lines: u64,
    /// Those lines by code.
    pub services: BTreeMap<String, u64>,
    /// Stock adjustments: a negative quantity on an invoice that is no cancellation.
    pub adjustment_lines: u64,
    /// Sale lines of SKUs that no line gives a price.
    pub unpriced_lines: u64,
    /// SKUs that no line gives a price: not sellable.
    pub unpriced_skus: u64,
    /// Sale invoices with nothing sellable on them, skipped.
    pub empty_invoices: u64,
    /// Sale invoices that name a SKU more than once.
    pub repeating_invoices: u64,
}

/// Where the columns stand.
struct Columns {
    invoice: Option<usize>,
    code: Option<usize>,
    description: Option<usize>,
    quantity: Option<usize>,
    date: Option<usize>,
    price: Option<usize>,
    customer: Option<usize>,
    country: Option<usize>,
}

/// A line with every field read.
struct Line<'a> {
    number: &'a str,
    kind: Kind,
    code: Code<'a>,
    description: &'a str,
    quantity: i64,
    at: PrimitiveDateTime,
    price: Money,
    customer: Option<u32>,
    country: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sale,
    Cancellation,
}

enum Code<'a> {
    Product(Sku),
    Service(&'a str),
}

/// What the lines say of one SKU.
#[derive(Default)]
struct Facts {
    first_line: u64,
    titles: HashMap<String, u64>,
    prices: HashMap<i64, u64>,
    units: u64,
}

/// A line that may be sold once all prices are known.
struct Pending {
    line: u64,
    last_line: u64,
    invoice: usize,
    sku: Sku,
    units: i64,
}

#[derive(Default)]
struct Gathered {
    facts: BTreeMap<Sku, Facts>,
    invoices: Vec<Invoice>,
    places: HashMap<String, usize>,
    cancelled: std::collections::HashSet<String>,
    pending: Vec<Pending>,
    counts: InvoiceCounts,
}

pub(crate) fn read(table: Table<'_>, currency: Currency) -> InvoiceFile {
    let columns = Columns::of(&table);
    let mut refused = Vec::new();
    let mut gathered = Gathered::default();
    let lines = table.each(&mut refused, |row, refused| match columns.read(row, currency) {
        Ok(line) => gathered.take(row, line),
        Err(reason) => refused.push(row.refuse(reason)),
    });
    gathered.counts.lines = lines;
    gathered.finish(refused, currency)
}

impl Gathered {
    fn take(&mut self, row: &Row<'_>, line: Line<'_>) {
        let invoice = match line.kind {
            Kind::Sale => Some(self.invoice(&line)),
            Kind::Cancellation => {
                self.cancelled.insert(line.number.to_owned());
                None
            }
        };
        if let Code::Product(sku) = &line.code {
            self.learn(row.line, sku, &line);
        }
        match (invoice, line.code) {
            (None, _) => self.counts.cancelled_lines += 1,
            (Some(_), Code::Service(code)) => {
                self.counts.service_lines += 1;
                *self.counts.services.entry(code.to_owned()).or_default() += 1;
            }
            (Some(_), Code::Product(_)) if line.quantity < 0 => self.counts.adjustment_lines += 1,
            (Some(invoice), Code::Product(sku)) => {
                let Row { line: at, last_line, .. } = *row;
                self.pending.push(Pending { line: at, last_line, invoice, sku, units: line.quantity });
            }
        }
    }

    fn learn(&mut self, at: u64, sku: &Sku, line: &Line<'_>) {
        let facts = self.facts.entry(sku.clone()).or_insert_with(|| Facts { first_line: at, ..Facts::default() });
        if !line.description.is_empty() {
            *facts.titles.entry(line.description.to_owned()).or_default() += 1;
        }
        if line.price.minor() > 0 {
            *facts.prices.entry(line.price.minor()).or_default() += 1;
        }
    }

    fn invoice(&mut self, line: &Line<'_>) -> usize {
        if let Some(place) = self.places.get(line.number) {
            return *place;
        }
        let place = self.invoices.len();
        self.places.insert(line.number.to_owned(), place);
        self.invoices.push(Invoice {
            number: line.number.to_owned(),
            customer: line.customer,
            country: line.country.to_owned(),
            at: line.at,
            items: Vec::new(),
        });
        place
    }

    fn finish(mut self, mut refused: Vec<Refusal>, currency: Currency) -> InvoiceFile {
        self.sell(&mut refused);
        refused.sort_by_key(|refusal| refusal.line);
        let all = self.invoices.len();
        let invoices: Vec<_> = self.invoices.into_iter().filter(|invoice| !invoice.items.is_empty()).collect();
        self.counts.empty_invoices = count(all - invoices.len());
        self.counts.cancelled_invoices = count(self.cancelled.len());
        self.counts.unpriced_skus = count(self.facts.values().filter(|facts| facts.prices.is_empty()).count());
        let products = self.facts.into_iter().filter_map(|(sku, facts)| facts.product(sku, currency)).collect();
        InvoiceFile { products, invoices, counts: self.counts, refused }
    }

    /// Puts each pending line of a priced SKU on its invoice, repeated SKUs added up.
    fn sell(&mut self, refused: &mut Vec<Refusal>) {
        let mut places: HashMap<(usize, Sku), usize> = HashMap::new();
        let mut repeating = std::collections::HashSet::new();
        for Pending { line, last_line, invoice, sku, units } in std::mem::take(&mut self.pending) {
            let Some(facts) = self.facts.get_mut(&sku).filter(|facts| !facts.prices.is_empty()) else {
                self.counts.unpriced_lines += 1;
                continue;
            };
            let items = &mut self.invoices[invoice].items;
            let place = places.get(&(invoice, sku.clone())).copied();
            let before = place.map_or(0, |place| i64::from(items[place].quantity.units()));
            let Ok(quantity) = Quantity::new(before.saturating_add(units)) else {
                let number = self.invoices[invoice].number.clone();
                let reason = Reason::TooManyUnits { invoice: number, sku: sku.to_string() };
                refused.push(Refusal { line, last_line, reason });
                continue;
            };
            self.counts.sale_lines += 1;
            facts.units += units.unsigned_abs();
            match place {
                Some(place) => {
                    items[place].quantity = quantity;
                    repeating.insert(invoice);
                }
                None => {
                    places.insert((invoice, sku.clone()), items.len());
                    items.push(InvoiceItem { sku, quantity });
                }
            }
        }
        self.counts.repeating_invoices = count(repeating.len());
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Facts {
    fn product(self, sku: Sku, currency: Currency) -> Option<FeedProduct> {
        // Equally common prices: the lower one. Equally common names: the longer one, then by alphabet.
        let (price, _) = self.prices.iter().max_by_key(|(price, times)| (**times, std::cmp::Reverse(**price)))?;
        let price = Money::new(*price, currency).ok()?;
        let common = |(text, times): &(&String, &u64)| (**times, text.len(), std::cmp::Reverse((*text).clone()));
        let short = |text: &str| display_title(text).chars().take(MAX_TITLE).collect::<String>();
        let title = self.titles.iter().max_by_key(common).map(|(text, _)| short(text));
        let title = title.filter(|title| !title.is_empty()).unwrap_or_else(|| format!("Item {sku}"));
        let category = category::of(&title);
        let named = shared::text::slug(&title.chars().take(60).collect::<String>());
        let slug = shared::text::slug(&format!("{named} {sku}"));
        let variant = FeedVariant {
            sku: sku.clone(),
            option_values: Vec::new(),
            price,
            compare_at_price: None,
            weight_grams: None,
            units: self.units,
            line: self.first_line,
        };
        Some(FeedProduct {
            slug,
            description: described(&title, category),
            category: category.to_owned(),
            vendor: None,
            tags: category::tags(&title),
            options: Vec::new(),
            images: Vec::new(),
            on_sale: true,
            variants: vec![variant],
            title,
        })
    }
}

/// What the name and the shelf already say, as a sentence or two; nothing else is known of the thing.
fn described(title: &str, category: &str) -> String {
    format!("{title}, from our range \u{201c}{category}\u{201d}.{}", sold_as(title))
}

fn sold_as(title: &str) -> String {
    let words: Vec<_> = title.split_whitespace().collect();
    let bundle = words.windows(3).find_map(|three| match three {
        [kind @ ("Set" | "Pack" | "Box"), "of", number] => Some((*kind, number.parse::<u32>().ok()?)),
        _ => None,
    });
    bundle.map_or_else(String::new, |(kind, number)| format!(" Sold as a {} of {number}.", kind.to_lowercase()))
}

impl Columns {
    fn of(table: &Table<'_>) -> Self {
        Self {
            invoice: table.column("InvoiceNo"),
            code: table.column("StockCode"),
            description: table.column("Description"),
            quantity: table.column("Quantity"),
            date: table.column("InvoiceDate"),
            price: table.column("UnitPrice"),
            customer: table.column("CustomerID"),
            country: table.column("Country"),
        }
    }

    fn read<'a>(&self, row: &'a Row<'_>, currency: Currency) -> Result<Line<'a>, Reason> {
        let number = row.get(self.invoice);
        let price = row.get(self.price);
        let price = Money::parse_decimal(price, currency)
            .ok()
            .filter(|price| price.minor() >= 0)
            .ok_or_else(|| Reason::field("UnitPrice", price, "a price of zero or more in the currency's units"))?;
        Ok(Line {
            number,
            kind: kind(number)?,
            code: code(row.get(self.code))?,
            description: known(row.get(self.description)),
            quantity: quantity(row.get(self.quantity))?,
            at: date(row.get(self.date))?,
            price,
            customer: customer(row.get(self.customer))?,
            country: row.get(self.country),
        })
    }
}

/// The text, unless it is how spreadsheets and data frames spell nothing.
fn known(text: &str) -> &str {
    if text.eq_ignore_ascii_case("nan") || text.eq_ignore_ascii_case("null") { "" } else { text }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn kind(number: &str) -> Result<Kind, Reason> {
    match number.strip_prefix(['C', 'c']) {
        _ if number.is_empty() => Err(Reason::Missing("InvoiceNo")),
        None if digits(number) => Ok(Kind::Sale),
        Some(rest) if digits(rest) => Ok(Kind::Cancellation),
        _ => Err(Reason::field("InvoiceNo", number, "a number, or C and a number")),
    }
}

/// Five digits and optional letters name a product; any other code is a service.
fn code(text: &str) -> Result<Code<'_>, Reason> {
    let product = text.len() >= 5 && digits(&text[..5.min(text.floor_char_boundary(5))]);
    if text.is_empty() {
        Err(Reason::Missing("StockCode"))
    } else if product && text[5..].bytes().all(|byte| byte.is_ascii_alphabetic()) {
        text.parse().map(Code::Product).map_err(|_| Reason::field("StockCode", text, "a SKU"))
    } else {
        Ok(Code::Service(text))
    }
}

fn quantity(text: &str) -> Result<i64, Reason> {
    let bound = i64::from(shared::sku::MAX_QUANTITY);
    let read = text.parse().ok().filter(|units| *units != 0 && (-bound..=bound).contains(units));
    read.ok_or_else(|| Reason::field("Quantity", text, "a whole number other than zero, at most 100,000 either way"))
}

fn customer(text: &str) -> Result<Option<u32>, Reason> {
    let text = known(text);
    let whole = text.strip_suffix(".0").unwrap_or(text);
    match whole.parse() {
        _ if text.is_empty() => Ok(None),
        Ok(customer) => Ok(Some(customer)),
        Err(_) => Err(Reason::field("CustomerID", text, "a number")),
    }
}

/// As the data set was published, and as spreadsheets save it.
const DATES: [&[BorrowedFormatItem<'static>]; 2] = [
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"),
    format_description!("[month padding:none]/[day padding:none]/[year] [hour padding:none]:[minute]"),
];

fn date(text: &str) -> Result<PrimitiveDateTime, Reason> {
    let read = DATES.iter().find_map(|format| PrimitiveDateTime::parse(text, format).ok());
    read.ok_or_else(|| Reason::field("InvoiceDate", text, "a date and time such as 2010-12-01 08:26:00"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Feed, read as read_feed};

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn file(lines: &[&str]) -> InvoiceFile {
        let text = format!("{HEADER}{}\n", lines.join("\n"));
        match read_feed(text.as_bytes(), Currency::GBP).unwrap() {
            Feed::Invoices(file) => file,
            Feed::Products(_) => panic!("read as products"),
        }
    }

    #[test]
    fn a_sku_is_named_and_priced_by_what_is_said_most_often() {
        let file = file(&[
            "1,85123A,WHITE HEART,1,2010-12-01 08:26:00,2.55,17850,United Kingdom",
            "2,85123a,WHITE HEART,1,2010-12-01 08:26:00,2.55,,France",
            "3,85123A,?,1,2010-12-01 08:26:00,9.99,,France",
            "4,85123A,nan,1,2010-12-01 08:26:00,0.0,,France",
            "5,85123A,nan,1,2010-12-01 08:26:00,0.0,,France",
            "6,85123A,nan,1,2010-12-01 08:26:00,0.0,,France",
        ]);
        let product = &file.products[0];
        assert_eq!((product.title.as_str(), product.slug.as_str()), ("White Heart", "white-heart-85123a"));
        assert_eq!((product.variants[0].price.to_string(), product.variants[0].units), ("£2.55".to_owned(), 6));
        assert_eq!((file.invoices[0].customer, file.invoices[1].customer), (Some(17850), None));
    }

    #[test]
    fn every_kind_of_line_is_counted_where_it_belongs() {
        let file = file(&[
            "1,22423,STAND,2,2010-12-01 08:26:00,12.75,1,UK",
            "1,22423,STAND,3,2010-12-01 08:26:00,12.75,1,UK",
            "1,POST,POSTAGE,1,2010-12-01 08:26:00,18.00,1,UK",
            "C2,22423,STAND,-1,2010-12-01 08:26:00,12.75,1,UK",
            "3,22423,nan,-10,2010-12-01 08:26:00,0.0,,UK",
            "4,11111,LOST,5,2010-12-01 08:26:00,0.0,,UK",
        ]);
        let counts = InvoiceCounts {
            lines: 6,
            sale_lines: 2,
            cancelled_lines: 1,
            cancelled_invoices: 1,
            service_lines: 1,
            services: [("POST".to_owned(), 1)].into(),
            adjustment_lines: 1,
            unpriced_lines: 1,
            unpriced_skus: 1,
            empty_invoices: 2,
            repeating_invoices: 1,
        };
        assert_eq!(file.counts, counts);
        assert_eq!(file.invoices.len(), 1);
        assert_eq!(file.invoices[0].items[0].quantity.units(), 5);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_refused_with_number_and_reason() {
        let file = file(&[
            "1,22423,STAND,two,2010-12-01 08:26:00,12.75,1,UK",
            "1,22423,STAND,0,2010-12-01 08:26:00,12.75,1,UK",
            "1,22423,STAND,1,yesterday,12.75,1,UK",
            "1,22423,STAND,1,2010-12-01 08:26:00,12.755,1,UK",
            "1,22423,STAND,1,2010-12-01 08:26:00,-1,1,UK",
            "A1,22423,STAND,1,2010-12-01 08:26:00,1,1,UK",
            "1,,STAND,1,2010-12-01 08:26:00,1,1,UK",
            "1,22423,STAND,1,2010-12-01 08:26:00,1,x,UK",
            "1,22423,STAND,60000,2010-12-01 08:26:00,1,1,UK",
            "1,22423,STAND,60000,2010-12-01 08:26:00,1,1,UK",
            "1,22423",
        ]);
        let said: Vec<_> = file.refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "line 2: Quantity \"two\" is not a whole number other than zero, at most 100,000 either way",
                "line 3: Quantity \"0\" is not a whole number other than zero, at most 100,000 either way",
                "line 4: InvoiceDate \"yesterday\" is not a date and time such as 2010-12-01 08:26:00",
                "line 5: UnitPrice \"12.755\" is not a price of zero or more in the currency's units",
                "line 6: UnitPrice \"-1\" is not a price of zero or more in the currency's units",
                "line 7: InvoiceNo \"A1\" is not a number, or C and a number",
                "line 8: StockCode is empty",
                "line 9: CustomerID \"x\" is not a number",
                "line 11: with this line invoice 1 would hold more than 100,000 units of 22423",
                "line 12: 2 columns where the header has 8; the file breaks off here",
            ]
        );
        assert_eq!(file.counts.sale_lines, 1);
    }

    fn any_line() -> impl Strategy<Value = String> {
        let number = prop_oneof![Just("1"), Just("2"), Just("C3"), Just("A4"), Just("")];
        let code = prop_oneof![Just("22423"), Just("85123a"), Just("85123A"), Just("POST"), Just("M"), Just("é1234")];
        let text = prop_oneof![Just("STAND"), Just("WHITE HEART"), Just("nan"), Just(""), Just("\"a,b\"")];
        let price = prop_oneof![Just("0.0"), Just("2.55"), Just("4.25"), Just("x")];
        let date = prop_oneof![9 => Just("2010-12-01 08:26:00"), 1 => Just("never")];
        (number, code, text, -3..4_i32, date, price).prop_map(|(number, code, text, units, date, price)| {
            format!("{number},{code},{text},{units},{date},{price},,UK")
        })
    }

    proptest! {
        #[test]
        fn no_line_is_lost_and_demand_is_what_the_invoices_ask(lines in prop::collection::vec(any_line(), 0..40)) {
            let file = file(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let counts = &file.counts;
            let told = counts.sale_lines + counts.cancelled_lines + counts.service_lines + counts.adjustment_lines
                + counts.unpriced_lines + u64::try_from(file.refused.len()).unwrap();
            prop_assert_eq!((counts.lines, told), (lines.len() as u64, lines.len() as u64));
            let demand: u64 = file.products.iter().flat_map(|product| &product.variants).map(|variant| variant.units).sum();
            let asked: u64 = file.invoices.iter().flat_map(|invoice| &invoice.items).map(|item| u64::from(item.quantity.units())).sum();
            prop_assert_eq!(demand, asked);
        }

        #[test]
        fn products_do_not_depend_on_the_order_of_lines(lines in prop::collection::vec(any_line(), 0..20)) {
            let forward = file(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let backward = file(&lines.iter().rev().map(String::as_str).collect::<Vec<_>>());
            let shown = |file: &InvoiceFile| file.products.iter().map(|product| {
                (product.title.clone(), product.slug.clone(), product.variants[0].price, product.variants[0].units)
            }).collect::<Vec<_>>();
            prop_assert_eq!(shown(&forward), shown(&backward));
        }
    }
}
