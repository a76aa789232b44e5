//! What is to be ordered: the file's sale invoices, by user, each user's in the order of the file. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use region_core_feed::{Invoice, InvoiceFile};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use shared::IdempotencyKey;
use shared::api::order::{Address, OrderItem};

use super::country;

/// Where an invoice goes that names no country.
const ELSEWHERE: &str = "GB";

/// Every order of a run.
#[derive(Debug)]
pub(super) struct Plan {
    /// By the first order of each.
    pub(super) users: Vec<User>,
    pub(super) skipped: Skipped,
    /// Orders sent to [`ELSEWHERE`] because the invoice's country is none, by what it says.
    pub(super) unknown_countries: BTreeMap<String, u64>,
}

/// Whoever bought: a customer of the file, or a guest who bought once.
#[derive(Debug)]
pub(super) struct User {
    pub(super) is_customer: bool,
    /// Index of the region in which he is met, below the number of regions.
    pub(super) region: usize,
    pub(super) orders: Vec<Planned>,
}

/// One order.
#[derive(Debug)]
pub(super) struct Planned {
    /// The invoice's number.
    pub(super) invoice: String,
    pub(super) key: IdempotencyKey,
    /// Time since the first invoice of the run.
    pub(super) due: Duration,
    pub(super) items: Vec<OrderItem>,
    pub(super) address: Address,
}

/// What is not placed, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Skipped {
    /// Cancelled invoices, and their lines.
    pub(super) cancellations: u64,
    pub(super) cancelled_lines: u64,
    /// Sale invoices without a line that can be sold.
    pub(super) nothing_sellable: u64,
    /// Lines for postage, fees, samples and vouchers.
    pub(super) service_lines: u64,
    /// Stock adjustments.
    pub(super) adjustment_lines: u64,
    /// Lines of SKUs that never have a price.
    pub(super) unpriced_lines: u64,
    /// Lines that cannot be read.
    pub(super) refused_lines: u64,
    /// Sale invoices beyond `--limit`.
    pub(super) beyond_limit: u64,
}

impl Plan {
    /// The first `limit` sale invoices of a file, as orders under keys that start with `prefix`.
    ///
    /// # Errors
    /// If an invoice number cannot be part of a key; the reader of the file lets only digits through.
    pub(super) fn of(file: &InvoiceFile, prefix: &str, regions: usize, limit: usize) -> anyhow::Result<Self> {
        let invoices = &file.invoices[..limit.min(file.invoices.len())];
        let skipped = Skipped::of(file, invoices.len());
        let mut plan = Self { users: Vec::new(), skipped, unknown_countries: BTreeMap::new() };
        let mut known: HashMap<u32, usize> = HashMap::new();
        let begin = invoices.iter().map(|invoice| invoice.at).min();
        for invoice in invoices {
            let due = begin.map_or(Duration::ZERO, |begin| (invoice.at - begin).unsigned_abs());
            let order = plan.planned(invoice, prefix, due)?;
            let next = plan.users.len();
            let at = invoice.customer.map_or(next, |customer| *known.entry(customer).or_insert(next));
            if at == next {
                plan.users.push(User::of(invoice, regions));
            }
            plan.users[at].orders.push(order);
        }
        Ok(plan)
    }

    fn planned(&mut self, invoice: &Invoice, prefix: &str, due: Duration) -> anyhow::Result<Planned> {
        let country = country::code(&invoice.country).unwrap_or_else(|| {
            *self.unknown_countries.entry(invoice.country.clone()).or_default() += 1;
            ELSEWHERE
        });
        let items = invoice.items.iter().map(|item| OrderItem { sku: item.sku.clone(), quantity: item.quantity });
        Ok(Planned {
            invoice: invoice.number.clone(),
            key: format!("{prefix}{}", invoice.number).parse()?,
            due,
            items: items.collect(),
            address: address(invoice, country),
        })
    }

    /// Orders in all.
    pub(super) fn order_count(&self) -> usize {
        self.users.iter().map(|user| user.orders.len()).sum()
    }
}

impl User {
    fn of(invoice: &Invoice, regions: usize) -> Self {
        let name =
            invoice.customer.map_or_else(|| format!("invoice {}", invoice.number), |id| format!("customer {id}"));
        Self { is_customer: invoice.customer.is_some(), region: spread(&name, regions), orders: Vec::new() }
    }
}

/// Which of `regions` regions, the same at every run.
fn spread(name: &str, regions: usize) -> usize {
    let digest = Sha256::digest(name.as_bytes());
    let word = digest.iter().take(4).fold(0_usize, |word, byte| (word << 8) | usize::from(*byte));
    word % regions.max(1)
}

fn address(invoice: &Invoice, country: &str) -> Address {
    let name = invoice.customer.map_or_else(|| format!("Guest {}", invoice.number), |id| format!("Customer {id}"));
    let city =
        if invoice.country.is_empty() { "Unknown".to_owned() } else { invoice.country.chars().take(100).collect() };
    Address {
        name,
        line1: "1 Replay Street".to_owned(),
        line2: None,
        city,
        region: None,
        postal_code: None,
        country: country.to_owned(),
    }
}

impl Skipped {
    fn of(file: &InvoiceFile, placed: usize) -> Self {
        let counts = &file.counts;
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Self {
            cancellations: counts.cancelled_invoices,
            cancelled_lines: counts.cancelled_lines,
            nothing_sellable: counts.empty_invoices,
            service_lines: counts.service_lines,
            adjustment_lines: counts.adjustment_lines,
            unpriced_lines: counts.unpriced_lines,
            refused_lines: count(file.refused.len()),
            beyond_limit: count(file.invoices.len() - placed),
        }
    }
}

#[cfg(test)]
mod tests {
    use region_core_feed::Feed;
    use shared::Currency;

    use super::*;

    const FILE: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
        536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n\
        536365,85123a,HOLDER,2,2010-12-01 08:26:00,2.55,17850,United Kingdom\n\
        536366,71053,LANTERN,1,2010-12-01 08:28:00,3.39,,Unspecified\n\
        C536367,71053,LANTERN,-1,2010-12-01 08:30:00,3.39,17850,United Kingdom\n\
        536368,POST,POSTAGE,1,2010-12-01 08:31:00,18.00,12583,France\n\
        536369,71053,LANTERN,3,2010-12-01 08:36:00,3.39,17850,RSA\n\
        536370,71053,LANTERN,3,2010-12-01 08:40:00,3.39,,EIRE\n";

    fn file() -> InvoiceFile {
        match region_core_feed::read(FILE.as_bytes(), Currency::GBP).unwrap() {
            Feed::Invoices(file) => file,
            Feed::Products(_) => panic!("read as products"),
        }
    }

    #[test]
    fn a_customer_keeps_the_files_order_and_each_invoice_without_one_has_a_guest() {
        let plan = Plan::of(&file(), "replay-1-", 2, usize::MAX).unwrap();
        let invoices = |user: &User| user.orders.iter().map(|order| order.invoice.clone()).collect::<Vec<_>>();
        let users: Vec<_> = plan.users.iter().map(|user| (user.is_customer, invoices(user))).collect();
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            users,
            [(true, owned(&["536365", "536369"])), (false, owned(&["536366"])), (false, owned(&["536370"]))]
        );
        let order = &plan.users[0].orders[0];
        assert_eq!((order.items.len(), order.items[0].quantity.units()), (1, 8), "repeated SKUs are one item");
        assert_eq!(order.key.as_str(), "replay-1-536365");
        assert_eq!(plan.users[0].orders[1].due, Duration::from_secs(600));
    }

    #[test]
    fn what_is_not_placed_is_counted() {
        let plan = Plan::of(&file(), "r-", 1, 3).unwrap();
        let skipped = Skipped {
            cancellations: 1,
            cancelled_lines: 1,
            nothing_sellable: 1,
            service_lines: 1,
            beyond_limit: 1,
            ..Skipped::default()
        };
        assert_eq!((plan.order_count(), plan.skipped), (3, skipped));
        assert_eq!(plan.unknown_countries, BTreeMap::from([("Unspecified".to_owned(), 1)]));
        let countries: Vec<_> =
            plan.users.iter().flat_map(|user| &user.orders).map(|order| order.address.country.as_str()).collect();
        assert_eq!(countries, ["GB", "ZA", "GB"]);
    }

    #[test]
    fn users_are_spread_over_all_regions_and_always_alike() {
        let regions: Vec<_> = (0..300).map(|id| spread(&format!("customer {id}"), 3)).collect();
        for region in 0..3 {
            assert!(regions.iter().filter(|own| **own == region).count() > 70, "{regions:?}");
        }
        assert_eq!(regions[17], spread("customer 17", 3));
    }
}
