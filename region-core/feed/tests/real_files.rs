//! The files that people really have: a month of a shop's invoices and Shopify's own samples.

#![expect(clippy::unwrap_used, reason = "a test")]

use region_core_feed::{Feed, Format, InvoiceFile, ProductFile, read};
use shared::Currency;

const MONTH: &[u8] = include_bytes!("../../../infra/demo/orders-2010-12.csv.gz");
const DEMO: &[u8] = include_bytes!("../../../infra/demo/catalog.csv");

fn month() -> InvoiceFile {
    match read(MONTH, Currency::GBP).unwrap() {
        Feed::Invoices(file) => file,
        Feed::Products(_) => panic!("read as products"),
    }
}

fn products(bytes: &[u8], currency: Currency) -> ProductFile {
    match read(bytes, currency).unwrap() {
        Feed::Products(file) => file,
        Feed::Invoices(_) => panic!("read as invoices"),
    }
}

#[test]
fn every_line_of_the_month_is_accounted_for() {
    let file = month();
    let counts = &file.counts;
    assert_eq!((counts.lines, file.refused.len()), (42_481, 0));
    assert_eq!((file.products.len(), file.invoices.len()), (2_728, 1_608));
    assert_eq!((counts.sale_lines, counts.cancelled_lines, counts.service_lines), (41_498, 728, 170));
    assert_eq!((counts.adjustment_lines, counts.unpriced_lines), (70, 15));
    assert_eq!((counts.cancelled_invoices, counts.empty_invoices, counts.repeating_invoices), (326, 91, 241));
    let longest = file.invoices.iter().map(|invoice| invoice.items.len()).max();
    assert_eq!(longest, Some(673), "the longest invoice, its repeated SKUs added up");
}

#[test]
fn the_best_known_product_of_the_month_is_read_as_the_shop_sold_it() {
    let file = month();
    let holder = file.products.iter().find(|product| product.variants[0].sku.as_str() == "85123A").unwrap();
    assert_eq!(holder.title, "White Hanging Heart T-light Holder");
    assert_eq!(holder.slug, "white-hanging-heart-t-light-holder-85123a");
    assert_eq!(holder.variants[0].price.to_string(), "£2.95");
    assert_eq!(holder.category, "Candles & Lights");
}

#[test]
fn few_products_of_the_month_stay_unfiled_and_no_category_swallows_the_shop() {
    let mut sizes = std::collections::BTreeMap::new();
    for product in month().products {
        *sizes.entry(product.category).or_insert(0_usize) += 1;
    }
    assert!((12..=17).contains(&sizes.len()), "{sizes:?}");
    assert!(sizes["Gifts & Curiosities"] < 2_728 * 15 / 100, "{sizes:?}");
    assert!(sizes.values().all(|size| *size < 2_728 / 5), "{sizes:?}");
}

#[test]
fn the_demo_catalog_is_the_month_with_ten_times_its_demand() {
    let (demo, month) = (products(DEMO, Currency::GBP), month());
    assert_eq!(demo.refused, []);
    assert_eq!(demo.products.len(), month.products.len());
    for (stocked, mut sold) in demo.products.into_iter().zip(month.products) {
        for (variant, wanted) in sold.variants.iter_mut().zip(&stocked.variants) {
            variant.units *= 10;
            variant.line = wanted.line;
        }
        assert_eq!(stocked, sold);
    }
}

#[test]
fn a_cut_off_copy_of_the_month_is_not_read_as_a_whole_one() {
    let error = read(&MONTH[..MONTH.len() * 2 / 3], Currency::GBP).unwrap_err().to_string();
    assert!(error.contains("breaks off") && error.contains("after line"), "{error}");
}

#[test]
fn shopifys_samples_are_taken_whole() {
    let samples: [(&[u8], usize, usize); 3] = [
        (include_bytes!("data/apparel.csv"), 20, 22),
        (include_bytes!("data/home-and-garden.csv"), 20, 21),
        (include_bytes!("data/jewelery.csv"), 20, 23),
    ];
    for (bytes, wanted, variants) in samples {
        assert_eq!(read(bytes, Currency::USD).unwrap().format(), Format::ShopifyProducts);
        let file = products(bytes, Currency::USD);
        assert_eq!(file.refused, []);
        assert_eq!(file.products.len(), wanted);
        assert_eq!(file.products.iter().map(|product| product.variants.len()).sum::<usize>(), variants);
    }
}

#[test]
fn a_sample_product_has_its_options_pictures_and_made_up_skus() {
    let file = products(include_bytes!("data/jewelery.csv"), Currency::USD);
    let gemstone = file.products.iter().find(|product| product.slug == "gemstone").unwrap();
    assert_eq!((gemstone.category.as_str(), gemstone.images.len()), ("Necklace", 4));
    assert_eq!(
        (gemstone.options[0].name.as_str(), &gemstone.options[0].values[..]),
        ("Colour", &["Blue".to_owned(), "Purple".to_owned()][..])
    );
    assert_eq!(gemstone.variants[1].sku.as_str(), "GEMSTONE-PURPLE");
    assert_eq!(
        gemstone.description,
        "Gemstone pendant, housed in sterling silver, with sterling silver chain.\n\nSterling silver chain, 14 inches\n\n\
         Turquoise or Quartz\n\nBoho Chic\n\nMade in USA"
    );
    assert_eq!(gemstone.variants[0].compare_at_price.unwrap().to_string(), "$29.99");
}
