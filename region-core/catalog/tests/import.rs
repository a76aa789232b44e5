//! Importing into a real catalog database, and following it from memory.

#![expect(clippy::unwrap_used, reason = "a test")]

use region_core_catalog::{
    Catalog, ImportError, ImportOptions, Imported, NoDelivery, SetDelivery, import, read_delivery, set_delivery,
};
use region_core_store::test_support::catalog_database;
use shared::{Currency, Sku};
use shared_clock::{Clock, Entropy};
use sqlx::PgPool;

const DEMO: &[u8] = include_bytes!("../../../infra/demo/catalog.csv");
const MONTH: &[u8] = include_bytes!("../../../infra/demo/orders-2010-12.csv.gz");
const HEADER: &str =
    "Handle,Title,Type,Published,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,Variant Price\n";

async fn take(pool: &PgPool, file: &[u8]) -> Result<Imported, ImportError> {
    let (clock, entropy) = (Clock::turned(1_800_000_000_000), Entropy::system());
    import(pool, &clock, &entropy, file.to_vec(), ImportOptions::default()).await
}

async fn take_rows(pool: &PgPool, rows: &str) -> Imported {
    take(pool, format!("{HEADER}{rows}").as_bytes()).await.unwrap()
}

fn sku(text: &str) -> Sku {
    text.parse().unwrap()
}

async fn history(pool: &PgPool, sku: &str) -> Vec<(i64, Option<i64>)> {
    let rows =
        sqlx::query!("SELECT version, price_minor FROM catalog.price_history WHERE sku = $1 ORDER BY version", sku);
    rows.fetch_all(pool).await.unwrap().into_iter().map(|row| (row.version, row.price_minor)).collect()
}

#[tokio::test]
async fn the_demo_shop_is_imported_once_and_a_repeat_changes_nothing() {
    let pool = catalog_database().await.pool;
    let first = take(&pool, DEMO).await.unwrap();
    assert_eq!((first.report.new_products, first.report.refused.len(), first.report.catalog_version), (2_728, 0, 1));
    let again = take(&pool, DEMO).await.unwrap();
    assert_eq!((again.report.unchanged_products, again.report.catalog_version), (2_728, 1));
    assert_eq!(first.receipts, again.receipts, "the references must repeat, or stock would double");

    // The invoices that the demo catalog was made from describe the same products at the same prices.
    let invoices = take(&pool, MONTH).await.unwrap();
    assert_eq!((invoices.report.unchanged_products, invoices.report.catalog_version), (2_728, 1));
    assert_eq!(invoices.report.units, first.report.units);

    let catalog = Catalog::load(pool).await.unwrap();
    let snapshot = catalog.snapshot();
    assert_eq!((snapshot.len(), snapshot.version()), (2_728, 1));
    assert_eq!(snapshot.price(&sku("85123a")).unwrap().to_string(), "£2.95");
    let names: u32 = snapshot.categories().iter().map(|category| category.product_count).sum();
    assert_eq!(names, 2_728);
}

#[tokio::test]
async fn a_new_price_reaches_the_snapshot_and_history_keeps_both() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,Size,S,MUG-S,5,2.50\nmug,,,,,L,MUG-L,5,3.50\ncup,Cup,Cups,true,,,CUP,1,1.00\n")
        .await;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    let mut told = catalog.changes();
    let before = catalog.snapshot();
    assert!(!catalog.refresh().await.unwrap(), "nothing has changed yet");

    take_rows(&pool, "mug,Mug,Mugs,true,Size,S,MUG-S,5,2.75\nmug,,,,,L,MUG-L,5,3.50\n").await;
    assert!(catalog.refresh().await.unwrap());
    assert!(told.has_changed().unwrap());
    assert_eq!(*told.borrow_and_update(), 2);
    let after = catalog.snapshot();
    assert_eq!(after.price(&sku("MUG-S")).unwrap().minor(), 275);
    assert_eq!(before.price(&sku("MUG-S")).unwrap().minor(), 250, "a snapshot never changes");
    assert!(std::sync::Arc::ptr_eq(before.find_by_slug("cup").unwrap(), after.find_by_slug("cup").unwrap()));
    assert_eq!(history(&pool, "MUG-S").await, [(1, Some(250)), (2, Some(275))]);
    assert_eq!(history(&pool, "MUG-L").await, [(1, Some(350))]);
}

#[tokio::test]
async fn what_is_withdrawn_is_no_longer_for_sale_but_its_row_stays() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,Size,S,MUG-S,5,2.50\nmug,,,,,L,MUG-L,5,3.50\n").await;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    take_rows(&pool, "mug,Mug,Mugs,true,Size,L,MUG-L,5,3.50\n").await;
    catalog.refresh().await.unwrap();
    assert_eq!(catalog.snapshot().price(&sku("MUG-S")), None);
    assert!(catalog.snapshot().price(&sku("MUG-L")).is_some());
    take_rows(&pool, "mug,Mug,Mugs,false,Size,L,MUG-L,5,3.50\n").await;
    catalog.refresh().await.unwrap();
    assert!(catalog.snapshot().is_empty());
    assert!(catalog.snapshot().categories().is_empty());
    assert_eq!(history(&pool, "MUG-L").await, [(1, Some(350)), (3, None)]);
    let rows =
        sqlx::query_scalar!(r#"SELECT count(*) AS "rows!" FROM catalog.variants"#).fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn variants_may_swap_places_and_a_sku_may_move_to_another_product() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,Size,S,A,5,2.50\nmug,,,,,L,B,5,3.50\ncup,Cup,Cups,true,,,C,1,1.00\n").await;
    take_rows(&pool, "mug,Mug,Mugs,true,Size,L,B,5,3.50\nmug,,,,,S,A,5,2.50\nmug,,,,,XS,C,5,1.00\n").await;
    let catalog = Catalog::load(pool).await.unwrap();
    let snapshot = catalog.snapshot();
    let skus: Vec<_> = snapshot.find_by_slug("mug").unwrap().variants.iter().map(|it| it.sku.to_string()).collect();
    assert_eq!(skus, ["B", "A", "C"]);
    assert!(snapshot.find_by_slug("cup").is_none());
    assert_eq!(&*snapshot.offer(&sku("C")).unwrap().item.slug, "mug");
}

#[tokio::test]
async fn imports_at_once_are_taken_one_after_the_other() {
    let pool = catalog_database().await.pool;
    let (left, right) = tokio::join!(
        take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\n"),
        take_rows(&pool, "cup,Cup,Cups,true,,,CUP,5,1.50\n"),
    );
    let mut versions = [left.report.catalog_version, right.report.catalog_version];
    versions.sort_unstable();
    assert_eq!(versions, [1, 2]);
    let catalog = Catalog::load(pool).await.unwrap();
    assert_eq!((catalog.snapshot().version(), catalog.snapshot().len()), (2, 2));
}

#[tokio::test]
async fn a_store_keeps_to_one_currency() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\n").await;
    let file = format!("{HEADER}cup,Cup,Cups,true,,,CUP,1,1.00\n").into_bytes();
    let options = ImportOptions { currency: Currency::USD, ..ImportOptions::default() };
    let refused =
        import(&pool, &Clock::turned(1_800_000_000_000), &Entropy::system(), file, options).await.unwrap_err();
    assert!(refused.to_string().contains("in USD, but the store sells in GBP"), "{refused}");
    assert_eq!(Catalog::load(pool).await.unwrap().snapshot().len(), 1);
}

#[tokio::test]
async fn a_report_names_every_refused_line_and_what_to_receive() {
    let pool = catalog_database().await.pool;
    let done =
        take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\ncup,Cup,Cups,true,,,CUP,1,free\npot,Pot,,true,,,POT,0,1\n")
            .await;
    let [only] = &done.receipts[..] else { panic!("{:?}", done.receipts) };
    assert_eq!((only.sku.as_str(), only.units), ("MUG", 5));
    assert_eq!(only.reference, format!("import:{}:2:MUG", done.report.sha256));
    let said = done.report.to_string();
    assert!(said.contains("line 3: Variant Price \"free\" is not a price"), "{said}");
    let json = serde_json::to_value(&done.report).unwrap();
    assert_eq!((json["refused"][0]["line"].as_u64(), json["new_products"].as_u64()), (Some(3), Some(2)));
}

#[tokio::test]
async fn a_core_that_follows_hears_of_a_change_and_stops_when_told() {
    let pool = catalog_database().await.pool;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let follower = tokio::spawn({
        let (catalog, stop) = (catalog.clone(), stop.clone());
        async move { catalog.follow(std::time::Duration::from_millis(20), stop).await }
    });
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\n").await;
    let mut changes = catalog.changes();
    let heard = changes.wait_for(|version| *version == 1);
    tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.unwrap().unwrap();
    assert_eq!(catalog.snapshot().len(), 1);
    stop.cancel();
    follower.await.unwrap();
}

#[tokio::test]
async fn a_core_that_loses_its_copy_goes_on_with_what_it_knows() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\n").await;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    pool.close().await;
    assert!(catalog.refresh().await.is_err());
    assert_eq!(catalog.snapshot().price(&sku("MUG")).unwrap().minor(), 250);
}

#[tokio::test]
async fn a_copy_that_lacks_a_row_of_its_version_is_not_taken_over() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\n").await;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.75\ncup,Cup,Cups,true,,,CUP,1,1.00\n").await;
    // As if one table of a first copying were behind the others.
    sqlx::query!("UPDATE catalog.variants SET version = 1, price_minor = 250 WHERE sku = 'MUG'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(!catalog.refresh().await.unwrap());
    assert_eq!((catalog.snapshot().version(), catalog.snapshot().len()), (1, 1));
    sqlx::query!("UPDATE catalog.variants SET version = 2, price_minor = 275 WHERE sku = 'MUG'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(catalog.refresh().await.unwrap());
    assert_eq!(catalog.snapshot().price(&sku("MUG")).unwrap().minor(), 275);
}

const DELIVERY: &str = include_str!("../../../infra/demo/delivery.toml");

#[tokio::test]
async fn what_delivery_costs_is_versioned_with_the_prices_and_a_repeat_changes_nothing() {
    let pool = catalog_database().await.pool;
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.50\n").await;
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    assert!(catalog.snapshot().delivery().is_none(), "without a table all is free");

    let table = read_delivery(DELIVERY).unwrap();
    assert_eq!(set_delivery(&pool, &table, true).await.unwrap(), SetDelivery::Changed { version: 2 });
    assert!(catalog.refresh().await.unwrap());
    let before = catalog.snapshot();
    assert_eq!((before.version(), before.delivery()), (2, Some(&table)));
    assert_eq!(before.price(&sku("MUG")).unwrap().minor(), 250, "prices stay as they were");
    assert_eq!(set_delivery(&pool, &table, false).await.unwrap(), SetDelivery::AsItWas { version: 2 });

    let dearer = read_delivery(&DELIVERY.replacen("price_minor = 395", "price_minor = 495", 1)).unwrap();
    assert_eq!(set_delivery(&pool, &dearer, true).await.unwrap(), SetDelivery::AsItWas { version: 2 });
    assert_eq!(set_delivery(&pool, &dearer, false).await.unwrap(), SetDelivery::Changed { version: 3 });
    take_rows(&pool, "mug,Mug,Mugs,true,,,MUG,5,2.75\n").await;
    catalog.refresh().await.unwrap();
    let after = catalog.snapshot();
    assert_eq!((after.version(), after.delivery()), (4, Some(&dearer)), "an import leaves delivery as it is");
    assert_eq!(before.delivery(), Some(&table), "a snapshot never changes");
    let kept = sqlx::query_scalar!("SELECT version FROM catalog.delivery_tables ORDER BY version");
    assert_eq!(kept.fetch_all(&pool).await.unwrap(), [2, 3], "an audit needs both");
    let goods = after.price(&sku("MUG")).unwrap();
    assert_eq!(after.delivery().unwrap().offers("GB", goods, 70_001), Err(NoDelivery::TooHeavy));
}

#[tokio::test]
async fn a_copy_that_lacks_the_newest_table_waits_for_it_and_no_table_puts_a_country_in_two_zones() {
    let pool = catalog_database().await.pool;
    set_delivery(&pool, &read_delivery(DELIVERY).unwrap(), false).await.unwrap();
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    let next = "UPDATE catalog.versions SET version = 2, delivery_version = 2";
    sqlx::raw_sql(next).execute(&pool).await.unwrap();
    assert!(!catalog.refresh().await.unwrap(), "orders would be priced by a table that was replaced");
    let copied = "INSERT INTO catalog.delivery_tables SELECT 2, currency, zones FROM catalog.delivery_tables";
    sqlx::raw_sql(copied).execute(&pool).await.unwrap();
    assert!(catalog.refresh().await.unwrap());

    let twice = "INSERT INTO catalog.delivery_tables SELECT 3, currency, zones || zones FROM catalog.delivery_tables";
    let error = sqlx::raw_sql(twice).execute(&pool).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().constraint(), Some("delivery_tables_country_in_one_zone"));
}

#[tokio::test]
async fn what_goods_weigh_reaches_the_snapshot() {
    let pool = catalog_database().await.pool;
    let rows = "Handle,Title,Variant SKU,Variant Price,Variant Grams\nmug,Mug,MUG,2.50,350\ncup,Cup,CUP,1.00,\n";
    take(&pool, rows.as_bytes()).await.unwrap();
    let catalog = Catalog::load(pool.clone()).await.unwrap();
    let weights = || ["MUG", "CUP"].map(|name| catalog.snapshot().offer(&sku(name)).unwrap().weight_grams);
    assert_eq!(weights(), [350, 0]);

    let rows = "Handle,Title,Variant SKU,Variant Price\nmug,Mug,MUG,2.75\ncup,Cup,CUP,1.00\n";
    take(&pool, rows.as_bytes()).await.unwrap();
    assert!(catalog.refresh().await.unwrap());
    assert_eq!(weights(), [350, 0], "a file that says nothing of weights changes none");
}
