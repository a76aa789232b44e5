//! Shopify's product CSV: rows of one handle are one product; the first row describes it, each row may bring a variant
//! and a picture.
//!
//! Deliberately not read: units of weight other than grams, taxes, barcodes, SEO and Google columns other than the category.

use std::collections::{HashMap, HashSet};

use shared::api::catalog::{Image, ProductOption};
use shared::text::slug;
use shared::{Currency, Money, Sku};

use crate::html::plain_text;
use crate::product::{FeedProduct, FeedVariant};
use crate::source::{Reason, Refusal, Row, Table};

/// A file of products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductFile {
    /// As they first appear.
    pub products: Vec<FeedProduct>,
    /// Rows of the file without its header.
    pub lines: u64,
    /// Rows that were not taken, or not as written.
    pub refused: Vec<Refusal>,
}

const OPTIONS: usize = 3;
const MAX_TITLE: usize = 300;
/// Heaviest unit: ten tonnes.
const MAX_GRAMS: f64 = 10_000_000.0;

struct Columns {
    handle: Option<usize>,
    title: Option<usize>,
    body: Option<usize>,
    vendor: Option<usize>,
    kind: Option<usize>,
    google_category: Option<usize>,
    tags: Option<usize>,
    published: Option<usize>,
    status: Option<usize>,
    option_names: [Option<usize>; OPTIONS],
    option_values: [Option<usize>; OPTIONS],
    sku: Option<usize>,
    units: Option<usize>,
    price: Option<usize>,
    compare_at: Option<usize>,
    grams: Option<usize>,
    is_sent: Option<usize>,
    image: Option<usize>,
    image_alt: Option<usize>,
}

struct Reader {
    columns: Columns,
    currency: Currency,
    products: Vec<(u64, FeedProduct)>,
    /// Where a handle's product stands; `None` when its first row was refused.
    places: HashMap<String, Option<usize>>,
    slugs: HashSet<String>,
    skus: HashMap<Sku, u64>,
}

pub(crate) fn read(table: Table<'_>, currency: Currency) -> ProductFile {
    let mut refused = Vec::new();
    let columns = Columns::of(&table);
    let mut reader = Reader {
        columns,
        currency,
        products: Vec::new(),
        places: HashMap::new(),
        slugs: HashSet::new(),
        skus: HashMap::new(),
    };
    let lines = table.each(&mut refused, |row, refused| {
        if let Err(reason) = reader.take(row, refused) {
            refused.push(row.refuse(reason));
        }
    });
    let (taken, bare): (Vec<_>, Vec<_>) = reader.products.into_iter().partition(|(_, it)| !it.variants.is_empty());
    let orphan = |(line, it): (u64, FeedProduct)| Refusal { line, last_line: line, reason: Reason::NoVariant(it.slug) };
    refused.extend(bare.into_iter().map(orphan));
    refused.sort_by_key(|refusal| refusal.line);
    let products = taken.into_iter().map(|(_, product)| with_option_values(product)).collect();
    ProductFile { products, lines, refused }
}

impl Reader {
    fn take(&mut self, row: &Row<'_>, refused: &mut Vec<Refusal>) -> Result<(), Reason> {
        let handle = row.get(self.columns.handle);
        if handle.is_empty() {
            return Err(Reason::Missing("Handle"));
        }
        let place = match self.places.get(handle) {
            Some(Some(place)) => *place,
            Some(None) => return Err(Reason::Orphan(handle.chars().take(60).collect())),
            None => self.begin(handle, row)?,
        };
        // The picture stands by itself: a row may bring one without a variant.
        self.picture(place, row, refused);
        if self.brings_variant(place, row) { self.variant(place, handle, row, refused) } else { Ok(()) }
    }

    /// Starts a product from its first row.
    fn begin(&mut self, handle: &str, row: &Row<'_>) -> Result<usize, Reason> {
        self.places.insert(handle.to_owned(), None);
        let product = self.columns.product(handle, row)?;
        if !self.slugs.insert(product.slug.clone()) {
            return Err(Reason::field("Handle", handle, "a name of its own: another handle is the same in a path"));
        }
        let place = self.products.len();
        self.products.push((row.line, product));
        self.places.insert(handle.to_owned(), Some(place));
        Ok(place)
    }

    fn picture(&mut self, place: usize, row: &Row<'_>, refused: &mut Vec<Refusal>) {
        let source = row.get(self.columns.image);
        let product = &mut self.products[place].1;
        if source.is_empty() || product.images.iter().any(|image| image.url == source) {
            return;
        }
        match url::Url::parse(source) {
            Ok(url) if url.scheme() == "https" && url.host().is_some() && source.len() <= 2_000 => {
                let alt = row.get(self.columns.image_alt);
                let alt = if alt.is_empty() { &product.title } else { alt };
                product.images.push(Image { url: url.into(), alt: alt.chars().take(MAX_TITLE).collect() });
            }
            _ => refused.push(row.refuse(Reason::Picture(source.chars().take(60).collect()))),
        }
    }

    /// The first row always does; a later one does if it says anything of a variant.
    fn brings_variant(&self, place: usize, row: &Row<'_>) -> bool {
        let columns = &self.columns;
        let first = self.products[place].0 == row.line;
        let said = [columns.price, columns.sku].into_iter().chain(columns.option_values);
        first || said.into_iter().any(|column| !row.get(column).is_empty())
    }

    fn variant(&mut self, place: usize, handle: &str, row: &Row<'_>, refused: &mut Vec<Refusal>) -> Result<(), Reason> {
        let product = &mut self.products[place].1;
        let option_values: Vec<String> =
            self.columns.option_values.iter().take(product.options.len()).map(|at| row.get(*at).to_owned()).collect();
        let price = self.columns.money(row, self.columns.price, "Variant Price", self.currency)?;
        let price = price.ok_or(Reason::Missing("Variant Price"))?;
        let earlier = self.columns.money(row, self.columns.compare_at, "Variant Compare At Price", self.currency)?;
        let compare_at_price = earlier.filter(|earlier| earlier.minor() > price.minor());
        let sku = sku(row.get(self.columns.sku), handle, &option_values)?;
        let units = units(row.get(self.columns.units))?;
        // What is not sent weighs nothing, whatever the file says.
        let is_sent = !row.get(self.columns.is_sent).eq_ignore_ascii_case("false");
        let weight_grams = if is_sent { grams(row.get(self.columns.grams))? } else { Some(0) };
        if let Some(first) = self.skus.get(&sku) {
            return Err(Reason::RepeatedSku { sku: sku.to_string(), first: *first });
        }
        self.skus.insert(sku.clone(), row.line);
        let on_hand = u64::try_from(units).unwrap_or_else(|_| {
            refused.push(row.refuse(Reason::NegativeStock(units)));
            0
        });
        product.variants.push(FeedVariant {
            sku,
            option_values,
            price,
            compare_at_price,
            weight_grams,
            units: on_hand,
            line: row.line,
        });
        Ok(())
    }
}

/// Lists each option's values in the order the variants bring them.
fn with_option_values(mut product: FeedProduct) -> FeedProduct {
    for (index, option) in product.options.iter_mut().enumerate() {
        for variant in &product.variants {
            let value = &variant.option_values[index];
            if !option.values.contains(value) {
                option.values.push(value.clone());
            }
        }
    }
    product
}

/// The SKU as written, or the handle and the option values where there is none.
fn sku(written: &str, handle: &str, option_values: &[String]) -> Result<Sku, Reason> {
    if !written.is_empty() {
        let wanted = "a SKU: 1 to 100 letters, digits, '-', '_', '.' or '/'";
        return written.parse().map_err(|_| Reason::field("Variant SKU", written, wanted));
    }
    let parts = std::iter::once(handle).chain(option_values.iter().map(String::as_str)).map(slug);
    let made = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    made.parse().map_err(|_| Reason::field("Handle", handle, "usable as a SKU together with its option values"))
}

fn units(text: &str) -> Result<i64, Reason> {
    const MOST: i64 = 1_000_000_000;
    let read = if text.is_empty() { Some(0) } else { text.parse().ok() };
    read.filter(|units: &i64| units.unsigned_abs() <= MOST.unsigned_abs())
        .ok_or_else(|| Reason::field("Variant Inventory Qty", text, "a whole number of at most 1,000,000,000"))
}

/// Whole grams, rounded up; shops write them with and without a fraction.
fn grams(text: &str) -> Result<Option<u32>, Reason> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<f64>().ok().filter(|grams| (0.0..=MAX_GRAMS).contains(grams));
    let grams = read.ok_or_else(|| Reason::field("Variant Grams", text, "a weight of at most 10,000,000 grams"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was checked")]
    Ok(Some(grams.ceil() as u32))
}

impl Columns {
    fn of(table: &Table<'_>) -> Self {
        let numbered = |what: &str| [1, 2, 3].map(|number| table.column(&format!("Option{number} {what}")));
        let google = ["Google Shopping / Google Product Category", "Product Category"];
        Self {
            handle: table.column("Handle"),
            title: table.column("Title"),
            body: table.column("Body (HTML)"),
            vendor: table.column("Vendor"),
            kind: table.column("Type"),
            google_category: google.iter().find_map(|name| table.column(name)),
            tags: table.column("Tags"),
            published: table.column("Published"),
            status: table.column("Status"),
            option_names: numbered("Name"),
            option_values: numbered("Value"),
            sku: table.column("Variant SKU"),
            units: table.column("Variant Inventory Qty"),
            price: table.column("Variant Price"),
            compare_at: table.column("Variant Compare At Price"),
            grams: table.column("Variant Grams"),
            is_sent: table.column("Variant Requires Shipping"),
            image: table.column("Image Src"),
            image_alt: table.column("Image Alt Text"),
        }
    }

    fn product(&self, handle: &str, row: &Row<'_>) -> Result<FeedProduct, Reason> {
        let title = row.get(self.title);
        let slug = slug(handle);
        if title.is_empty() {
            return Err(Reason::Missing("Title"));
        } else if title.chars().count() > MAX_TITLE {
            return Err(Reason::field("Title", title, "at most 300 characters long"));
        } else if slug.is_empty() {
            return Err(Reason::field("Handle", handle, "usable in a path: it has no letter or digit of ASCII"));
        }
        let tags = tags(row.get(self.tags));
        Ok(FeedProduct {
            slug,
            title: title.to_owned(),
            description: plain_text(row.get(self.body)),
            category: self.category(row, &tags),
            vendor: Some(row.get(self.vendor)).filter(|vendor| !vendor.is_empty()).map(str::to_owned),
            tags,
            options: self.options(row),
            images: Vec::new(),
            on_sale: self.on_sale(row)?,
            variants: Vec::new(),
        })
    }

    /// The type, else the last part of the Google category, else the first tag.
    fn category(&self, row: &Row<'_>, tags: &[String]) -> String {
        let google = row.get(self.google_category).rsplit('>').next().unwrap_or("").trim();
        let google = if google.bytes().all(|byte| byte.is_ascii_digit()) { "" } else { google };
        let named = [row.get(self.kind), google, tags.first().map_or("", String::as_str)];
        let name = named.into_iter().find(|name| !slug(name).is_empty()).unwrap_or("Other");
        let mut letters = name.chars().take(80);
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    }

    /// Its options; a single one called Title with the value Default Title stands for none.
    fn options(&self, row: &Row<'_>) -> Vec<ProductOption> {
        let named = self.option_names.iter().map(|at| row.get(*at)).take_while(|name| !name.is_empty());
        let options: Vec<_> = named.map(|name| ProductOption { name: name.to_owned(), values: Vec::new() }).collect();
        let none =
            options.len() == 1 && options[0].name == "Title" && row.get(self.option_values[0]) == "Default Title";
        if none { Vec::new() } else { options }
    }

    fn on_sale(&self, row: &Row<'_>) -> Result<bool, Reason> {
        let active = matches!(row.get(self.status), "" | "active");
        match row.get(self.published).to_ascii_lowercase().as_str() {
            "" | "true" => Ok(active),
            "false" => Ok(false),
            other => Err(Reason::field("Published", other, "true or false")),
        }
    }

    fn money(
        &self,
        row: &Row<'_>,
        at: Option<usize>,
        column: &'static str,
        currency: Currency,
    ) -> Result<Option<Money>, Reason> {
        let text = row.get(at);
        if text.is_empty() {
            return Ok(None);
        }
        let money = Money::parse_decimal(text, currency).ok().filter(|money| money.minor() >= 0);
        money.map(Some).ok_or_else(|| Reason::field(column, text, "a price of zero or more in the currency's units"))
    }
}

fn tags(text: &str) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.chars().take(100).collect());
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Feed, read as read_feed};

    const HEADER: &str = "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,\
                          Option2 Value,Variant SKU,Variant Inventory Qty,Variant Price,Variant Compare At Price,Image Src\n";

    fn file(rows: &str) -> ProductFile {
        match read_feed(format!("{HEADER}{rows}").as_bytes(), Currency::USD).unwrap() {
            Feed::Products(file) => file,
            Feed::Invoices(_) => panic!("read as invoices"),
        }
    }

    #[test]
    fn rows_of_one_handle_are_one_product() {
        let file = file(
            "pot,Clay Pot,<p>Blown &amp; fired</p>,Acme,,\"Pot, Plants\",true,Size,Small,Colour,Red,,1,9.99,12,https://x.test/1.jpg\n\
             pot,,,,,,,,Large,,Red,,3,15.99,15.99,https://x.test/2.jpg\n\
             pot,,,,,,,,,,,,,,,https://x.test/3.jpg\n",
        );
        assert_eq!(file.refused, []);
        let [pot] = &file.products[..] else { panic!("{file:?}") };
        assert_eq!((pot.category.as_str(), pot.description.as_str()), ("Pot", "Blown & fired"));
        assert_eq!(pot.options[0].values, ["Small", "Large"]);
        assert_eq!(pot.options[1].values, ["Red"]);
        assert_eq!(pot.images.len(), 3);
        let skus: Vec<_> = pot.variants.iter().map(|variant| variant.sku.as_str()).collect();
        assert_eq!(skus, ["POT-SMALL-RED", "POT-LARGE-RED"]);
        let prices: Vec<_> =
            pot.variants.iter().map(|it| (it.price.minor(), it.compare_at_price.map(Money::minor))).collect();
        assert_eq!(prices, [(999, Some(1200)), (1599, None)]);
        assert_eq!(pot.variants[1].units, 3);
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        let file = file(
            ",No handle,,,,,true,Title,Default Title,,,,1,1,,\n\
             a,,,,,,true,Title,Default Title,,,,1,1,,\n\
             a,,,,,,,,Other,,,,1,1,,\n\
             b,B,,,,,true,Size,S,,,,1,£5,,\n\
             b,,,,,,,,M,,,,-2,5,,\n\
             b,,,,,,,,M,,,,2,5,,\n\
             c,C,,,,,maybe,Title,Default Title,,,,1,1,,\n\
             d,D,,,,,true,Title,Default Title,,,bad sku,1,1,,ftp://x\n\
             e,E,,,,,false,Title,Default Title,,,,x,1,,\n\
             B,Twin,,,,,true,Title,Default Title,,,,1,1,,\n",
        );
        let said: Vec<_> = file.refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "line 2: Handle is empty",
                "line 3: Title is empty",
                "line 4: it continues the product \"a\", whose first row was refused",
                "line 5: Variant Price \"£5\" is not a price of zero or more in the currency's units",
                "line 6: Variant Inventory Qty is -2; taken as 0",
                "line 7: SKU B-M already stands on line 6",
                "line 8: Published \"maybe\" is not true or false",
                "line 9: Image Src \"ftp://x\" is not an https URL; the picture is left out",
                "line 9: Variant SKU \"bad sku\" is not a SKU: 1 to 100 letters, digits, '-', '_', '.' or '/'",
                "line 9: the product \"d\" has no variant that can be taken",
                "line 10: Variant Inventory Qty \"x\" is not a whole number of at most 1,000,000,000",
                "line 10: the product \"e\" has no variant that can be taken",
                "line 11: Handle \"B\" is not a name of its own: another handle is the same in a path",
            ]
        );
        assert_eq!(file.products.len(), 1);
    }

    #[test]
    fn weights_are_read_where_something_is_sent() {
        let rows = "Handle,Title,Variant SKU,Variant Price,Variant Grams,Variant Requires Shipping\n\
                    a,A,A,1,200,true\nb,B,B,1,0.5,\nc,C,C,1,300.0,false\nd,D,D,1,,true\ne,E,E,1,-1,true\nf,F,F,1,NaN,true\n";
        let Feed::Products(file) = read_feed(rows.as_bytes(), Currency::USD).unwrap() else {
            panic!("read as invoices")
        };
        let weights: Vec<_> = file.products.iter().map(|product| product.variants[0].weight_grams).collect();
        assert_eq!(weights, [Some(200), Some(1), Some(0), None]);
        let said: Vec<_> = file.refused.iter().map(ToString::to_string).collect();
        assert_eq!(said[0], "line 6: Variant Grams \"-1\" is not a weight of at most 10,000,000 grams");
        assert_eq!(file.refused.len(), 4, "{said:?}"); // and the two products without a variant
    }

    #[test]
    fn an_unpublished_product_is_read_but_not_on_sale() {
        let file = file("e,E,,,,,false,Title,Default Title,,,,1,1,,\n");
        assert_eq!((file.products[0].on_sale, file.products[0].category.as_str()), (false, "Other"));
    }

    proptest! {
        #[test]
        fn skus_in_a_file_are_unique_and_every_variant_has_a_value_for_each_option(
            rows in prop::collection::vec(("[ab]?", "[AB]?", "(Size|Title|)", "(S|M|L|)", "(X-1|x-1|)", "-?[0-9]{0,2}", "[0-9]{0,3}"), 0..20),
        ) {
            let text: String = rows.iter().map(|(handle, title, name, value, sku, units, price)| {
                format!("{handle},{title},,,,,true,{name},{value},,,{sku},{units},{price},,\n")
            }).collect();
            let file = file(&text);
            prop_assert_eq!(file.lines, rows.len() as u64);
            let mut seen = std::collections::HashSet::new();
            for product in &file.products {
                prop_assert!(!product.variants.is_empty());
                for variant in &product.variants {
                    prop_assert!(seen.insert(variant.sku.clone()));
                    prop_assert_eq!(variant.option_values.len(), product.options.len());
                }
            }
        }
    }
}
