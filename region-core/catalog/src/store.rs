//! Its SQL, on a catalog database: importers write the primary, cores read their region's copy.

pub(crate) mod delivery;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use shared::api::catalog::{CategoryRef, Image, ProductOption, Variant};
use shared::{Currency, Money, ProductId, Sku};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::delivery::DeliveryTable;
use crate::item::Item;
use crate::rules::{Entry, Plan, PriceRow, ProductRow, VariantRow};

/// Serialises writers of the catalog, so that versions are in commit order: `catalog` in ASCII.
const WRITERS: i64 = 0x63_6174_616c_6f67;

/// Most products in one statement.
const CHUNK: usize = 1_000;

/// Why the catalog could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database failed.
    #[error("the catalog database could not be reached")]
    Sql(#[from] sqlx::Error),
    /// A row holds what no code of ours writes.
    #[error("catalog.{what} holds {value:?}")]
    Corrupt {
        /// Table and column.
        what: &'static str,
        /// What stands there.
        value: String,
    },
}

fn corrupt(what: &'static str, value: impl ToString) -> CatalogError {
    CatalogError::Corrupt { what, value: value.to_string() }
}

/// What changed in a copy since a version.
pub(crate) struct Changes {
    pub(crate) version: u64,
    pub(crate) changed: Vec<Item>,
    pub(crate) withdrawn: Vec<ProductId>,
    /// As it is at that version, changed or not.
    pub(crate) delivery: Option<DeliveryTable>,
}

/// Products that changed after `seen`, all read at one instant; `None` if the copy is still at that version, or while it is
/// being copied for the first time and has not every row of its version yet.
pub(crate) async fn load_changes(copy: &PgPool, seen: u64) -> Result<Option<Changes>, CatalogError> {
    let seen = i64::try_from(seen).unwrap_or(i64::MAX);
    let version = sqlx::query_scalar!("SELECT version FROM catalog.versions").fetch_optional(copy).await?;
    if version.is_none_or(|version| version <= seen) {
        return Ok(None);
    }
    let mut tx = copy.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let copy = sqlx::query!(
        r#"SELECT version,
               product_versions = (SELECT coalesce(sum(version), 0) FROM catalog.products)
               AND variant_versions = (SELECT coalesce(sum(version), 0) FROM catalog.variants)
               AND delivery_version = (SELECT coalesce(max(version), 0) FROM catalog.delivery_tables)
               AND NOT EXISTS (SELECT FROM catalog.products p
                               WHERE NOT EXISTS (SELECT FROM catalog.categories c WHERE c.slug = p.category)) AS "whole!"
           FROM catalog.versions"#
    )
    .fetch_one(&mut *tx)
    .await?;
    if !copy.whole {
        tracing::warn!(catalog.version = copy.version, "this copy of the catalog is not whole yet");
        return Ok(None);
    }
    let version = u64::try_from(copy.version).map_err(|_| corrupt("versions.version", copy.version))?;
    let (changed, withdrawn) = load_items(&mut tx, seen).await?;
    let delivery = delivery::find(&mut tx).await?.map(|(_, table)| table);
    tx.commit().await?;
    Ok(Some(Changes { version, changed, withdrawn, delivery }))
}

async fn load_items(conn: &mut PgConnection, seen: i64) -> Result<(Vec<Item>, Vec<ProductId>), CatalogError> {
    let mut variants = load_variants(conn, seen).await?;
    let mut strings = Interned::default();
    let rows = sqlx::query!(
        r#"SELECT product_id, p.slug, title, description, p.category, c.name AS category_name, vendor, tags,
                  options AS "options: Json<Vec<ProductOption>>", images AS "images: Json<Vec<Image>>", on_sale, version
           FROM catalog.products p JOIN catalog.categories c ON c.slug = p.category
           WHERE version > $1"#,
        seen,
    )
    .fetch_all(conn)
    .await?;
    let (mut changed, mut withdrawn) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let product_id = ProductId::from_uuid(row.product_id);
        let Some(variants) = variants.remove(&row.product_id).filter(|_| row.on_sale) else {
            withdrawn.push(product_id);
            continue;
        };
        changed.push(Item {
            product_id,
            sort_key: row.title.to_lowercase().into(),
            slug: row.slug.into(),
            title: row.title.into(),
            description: row.description.into(),
            category: strings.category(row.category, row.category_name),
            vendor: row.vendor.map(|vendor| strings.share(vendor)),
            tags: row.tags.into_iter().map(|tag| strings.share(tag)).collect(),
            options: row.options.0.into(),
            variants: variants.into(),
            images: row.images.0.into(),
            version: u64::try_from(row.version).map_err(|_| corrupt("products.version", row.version))?,
        });
    }
    Ok((changed, withdrawn))
}

/// Variants on sale of the products that changed after `seen`, in order.
async fn load_variants(conn: &mut PgConnection, seen: i64) -> Result<HashMap<Uuid, Vec<Variant>>, CatalogError> {
    let rows = sqlx::query!(
        "SELECT v.sku, v.product_id, v.option_values, v.currency, v.price_minor, v.compare_at_price_minor, v.weight_grams
         FROM catalog.variants v JOIN catalog.products p USING (product_id)
         WHERE p.version > $1 AND v.on_sale ORDER BY v.product_id, v.position",
        seen,
    )
    .fetch_all(conn)
    .await?;
    let mut variants: HashMap<Uuid, Vec<Variant>> = HashMap::new();
    for row in rows {
        let currency: Currency = row.currency.parse().map_err(|_| corrupt("variants.currency", &row.currency))?;
        let money = |minor: i64| Money::new(minor, currency).map_err(|_| corrupt("variants.price_minor", minor));
        let variant = Variant {
            sku: row.sku.parse::<Sku>().map_err(|_| corrupt("variants.sku", &row.sku))?,
            option_values: row.option_values,
            price: money(row.price_minor)?,
            compare_at_price: row.compare_at_price_minor.map(money).transpose()?,
            weight_grams: u32::try_from(row.weight_grams)
                .map_err(|_| corrupt("variants.weight_grams", row.weight_grams))?,
        };
        variants.entry(row.product_id).or_default().push(variant);
    }
    Ok(variants)
}

/// Strings that many products share, kept once.
#[derive(Default)]
struct Interned {
    strings: HashSet<Arc<str>>,
    categories: HashMap<String, Arc<CategoryRef>>,
}

impl Interned {
    fn share(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.strings.get(text.as_str()) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        self.strings.insert(shared.clone());
        shared
    }

    fn category(&mut self, slug: String, name: String) -> Arc<CategoryRef> {
        self.categories.entry(slug.clone()).or_insert_with(|| Arc::new(CategoryRef { slug, name })).clone()
    }
}

/// Takes the one lock of catalog writers until the transaction ends.
pub(crate) async fn lock_writers(conn: &mut PgConnection) -> Result<(), CatalogError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", WRITERS).execute(conn).await?;
    Ok(())
}

/// A currency other than `currency` that something is on sale in.
pub(crate) async fn find_other_currency(
    conn: &mut PgConnection,
    currency: &str,
) -> Result<Option<String>, CatalogError> {
    let other =
        sqlx::query_scalar!("SELECT currency FROM catalog.variants WHERE on_sale AND currency <> $1 LIMIT 1", currency);
    Ok(other.fetch_optional(conn).await?)
}

/// Every product that has one of the slugs or owns one of the SKUs, with all of its variants.
pub(crate) async fn load_standing(
    conn: &mut PgConnection,
    slugs: &[String],
    skus: &[String],
) -> Result<Vec<Entry>, CatalogError> {
    let products = sqlx::query_as!(
        Standing,
        r#"SELECT product_id, slug, title, description, category, vendor, tags,
                  options AS "options: Json<Vec<ProductOption>>", images AS "images: Json<Vec<Image>>", on_sale
           FROM catalog.products
           WHERE slug = ANY($1) OR product_id IN (SELECT product_id FROM catalog.variants WHERE sku = ANY($2))"#,
        slugs,
        skus,
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = products.iter().map(|product| product.product_id).collect();
    let rows = sqlx::query_as!(
        VariantRow,
        "SELECT sku, product_id, position, option_values, currency, price_minor, compare_at_price_minor, weight_grams, on_sale
         FROM catalog.variants WHERE product_id = ANY($1) ORDER BY product_id, position",
        &ids,
    )
    .fetch_all(conn)
    .await?;
    let mut variants: HashMap<Uuid, Vec<VariantRow>> = HashMap::new();
    for row in rows {
        variants.entry(row.product_id).or_default().push(row);
    }
    let entry = |product: Standing| {
        let variants = variants.remove(&product.product_id).unwrap_or_default();
        Entry { product: product.into(), variants }
    };
    Ok(products.into_iter().map(entry).collect())
}

struct Standing {
    product_id: Uuid,
    slug: String,
    title: String,
    description: String,
    category: String,
    vendor: Option<String>,
    tags: Vec<String>,
    options: Json<Vec<ProductOption>>,
    images: Json<Vec<Image>>,
    on_sale: bool,
}

impl From<Standing> for ProductRow {
    fn from(row: Standing) -> Self {
        Self {
            product_id: row.product_id,
            slug: row.slug,
            title: row.title,
            description: row.description,
            category: row.category,
            vendor: row.vendor,
            tags: row.tags,
            options: row.options.0,
            images: row.images.0,
            on_sale: row.on_sale,
        }
    }
}

/// Writes a plan under the catalog's next version and answers that version. The caller holds the writers' lock.
pub(crate) async fn write(conn: &mut PgConnection, plan: &Plan) -> Result<i64, CatalogError> {
    let version = advance(conn).await?;
    write_categories(conn, plan).await?;
    for entries in plan.entries.chunks(CHUNK) {
        write_products(conn, version, entries).await?;
    }
    // After all products: a SKU may move to one that is new.
    for entries in plan.entries.chunks(CHUNK) {
        write_variants(conn, version, entries).await?;
    }
    for prices in plan.prices.chunks(CHUNK) {
        write_prices(conn, version, prices).await?;
    }
    write_sums(conn).await?;
    Ok(version)
}

/// The catalog's next version, from now on its current one.
async fn advance(conn: &mut PgConnection) -> Result<i64, CatalogError> {
    let version = sqlx::query_scalar!(
        "INSERT INTO catalog.versions AS standing (version) VALUES (1)
         ON CONFLICT (one_row) DO UPDATE SET version = standing.version + 1 RETURNING version"
    );
    Ok(version.fetch_one(conn).await?)
}

/// Tells the copies what they must hold to have all of this version.
async fn write_sums(conn: &mut PgConnection) -> Result<(), CatalogError> {
    sqlx::query!(
        "UPDATE catalog.versions SET
             product_versions = (SELECT coalesce(sum(version), 0) FROM catalog.products),
             variant_versions = (SELECT coalesce(sum(version), 0) FROM catalog.variants)"
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The first name a category is given stands.
async fn write_categories(conn: &mut PgConnection, plan: &Plan) -> Result<(), CatalogError> {
    let (slugs, names): (Vec<String>, Vec<String>) =
        plan.categories.iter().map(|(slug, name)| (slug.clone(), name.clone())).unzip();
    sqlx::query!(
        "INSERT INTO catalog.categories (slug, name) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (slug) DO NOTHING",
        &slugs,
        &names,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_products(conn: &mut PgConnection, version: i64, entries: &[Entry]) -> Result<(), CatalogError> {
    let rows: Vec<&ProductRow> = entries.iter().map(|entry| &entry.product).collect();
    sqlx::query!(
        "INSERT INTO catalog.products
             (product_id, slug, title, description, category, vendor, tags, options, images, on_sale, version)
         SELECT product_id, slug, title, description, category, vendor, tags, options, images, on_sale, $2
         FROM jsonb_to_recordset($1) AS rows (product_id uuid, slug text, title text, description text, category text,
             vendor text, tags text[], options jsonb, images jsonb, on_sale boolean)
         ON CONFLICT (product_id) DO UPDATE SET
             title = excluded.title, description = excluded.description, category = excluded.category,
             vendor = excluded.vendor, tags = excluded.tags, options = excluded.options, images = excluded.images,
             on_sale = excluded.on_sale, version = excluded.version",
        Json(rows) as _,
        version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_variants(conn: &mut PgConnection, version: i64, entries: &[Entry]) -> Result<(), CatalogError> {
    let rows: Vec<&VariantRow> = entries.iter().flat_map(|entry| &entry.variants).collect();
    sqlx::query!(
        "INSERT INTO catalog.variants
             (sku, product_id, position, option_values, currency, price_minor, compare_at_price_minor, weight_grams,
              on_sale, version)
         SELECT sku, product_id, position, option_values, currency, price_minor, compare_at_price_minor, weight_grams,
             on_sale, $2
         FROM jsonb_to_recordset($1) AS rows (sku text, product_id uuid, position integer, option_values text[],
             currency text, price_minor bigint, compare_at_price_minor bigint, weight_grams integer, on_sale boolean)
         ON CONFLICT (sku) DO UPDATE SET
             product_id = excluded.product_id, position = excluded.position, option_values = excluded.option_values,
             currency = excluded.currency, price_minor = excluded.price_minor,
             compare_at_price_minor = excluded.compare_at_price_minor, weight_grams = excluded.weight_grams,
             on_sale = excluded.on_sale,
             version = excluded.version",
        Json(rows) as _,
        version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_prices(conn: &mut PgConnection, version: i64, prices: &[PriceRow]) -> Result<(), CatalogError> {
    sqlx::query!(
        "INSERT INTO catalog.price_history (sku, version, currency, price_minor)
         SELECT sku, $2, currency, price_minor
         FROM jsonb_to_recordset($1) AS rows (sku text, currency text, price_minor bigint)",
        Json(prices) as _,
        version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The version that stands; 0 before the first import.
pub(crate) async fn read_version(conn: &mut PgConnection) -> Result<i64, CatalogError> {
    Ok(sqlx::query_scalar!("SELECT version FROM catalog.versions").fetch_optional(conn).await?.unwrap_or(0))
}
