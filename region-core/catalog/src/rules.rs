//! What an import changes: a plain comparison of the file with what stands, so that importing the same file again changes
//! nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use region_core_feed::FeedProduct;
use serde::{Deserialize, Serialize};
use shared::api::catalog::{Image, ProductOption};
use uuid::Uuid;

/// A row of `catalog.products`, without its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProductRow {
    pub(crate) product_id: Uuid,
    pub(crate) slug: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) category: String,
    pub(crate) vendor: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) options: Vec<ProductOption>,
    pub(crate) images: Vec<Image>,
    pub(crate) on_sale: bool,
}

/// A row of `catalog.variants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VariantRow {
    pub(crate) sku: String,
    pub(crate) product_id: Uuid,
    pub(crate) position: i32,
    pub(crate) option_values: Vec<String>,
    pub(crate) currency: String,
    pub(crate) price_minor: i64,
    pub(crate) compare_at_price_minor: Option<i64>,
    pub(crate) weight_grams: i32,
    pub(crate) on_sale: bool,
}

impl VariantRow {
    /// What it sells at, if it sells.
    fn price_in_force(&self) -> Option<(&str, i64)> {
        self.on_sale.then_some((self.currency.as_str(), self.price_minor))
    }
}

/// A row of `catalog.price_history`, without its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PriceRow {
    pub(crate) sku: String,
    pub(crate) currency: String,
    /// Absent from here on: withdrawn.
    pub(crate) price_minor: Option<i64>,
}

/// A product with all of its variants, on sale or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) product: ProductRow,
    pub(crate) variants: Vec<VariantRow>,
}

/// What is to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Products that are new or differ, each with all of its variants.
    pub(crate) entries: Vec<Entry>,
    pub(crate) prices: Vec<PriceRow>,
    /// Slug and name.
    pub(crate) categories: BTreeMap<String, String>,
    pub(crate) new: usize,
    pub(crate) changed: usize,
    pub(crate) unchanged: usize,
}

/// Compares a file's products with `standing`, which holds every product that shares a slug or a SKU with them.
pub(crate) fn plan(incoming: &[FeedProduct], standing: Vec<Entry>, mut mint: impl FnMut() -> Uuid) -> Plan {
    let before = Standing::of(standing);
    let matches = before.matches(incoming);
    let mut plan = Plan::default();
    let mut after: BTreeMap<Uuid, Entry> = BTreeMap::new();
    let named: HashSet<&str> =
        incoming.iter().flat_map(|product| &product.variants).map(|variant| variant.sku.as_str()).collect();
    for (product, standing) in incoming.iter().zip(&matches) {
        let category = shared::text::slug(&product.category);
        plan.categories.entry(category).or_insert_with(|| product.category.clone());
        let entry = entry(product, standing.map(|id| &before.entries[&id]), &before, &named, &mut mint);
        match standing.map(|id| before.entries[&id] == entry) {
            None => plan.new += 1,
            Some(false) => plan.changed += 1,
            Some(true) => plan.unchanged += 1,
        }
        after.insert(entry.product.product_id, entry);
    }
    for (id, entry) in &before.entries {
        if !after.contains_key(id) {
            after.insert(*id, without(entry, &named));
        }
    }
    plan.prices = prices(&before, &after);
    plan.entries =
        after.into_values().filter(|entry| before.entries.get(&entry.product.product_id) != Some(entry)).collect();
    plan
}

struct Standing {
    entries: BTreeMap<Uuid, Entry>,
    by_slug: HashMap<String, Uuid>,
    by_sku: HashMap<String, Uuid>,
}

impl Standing {
    fn of(entries: Vec<Entry>) -> Self {
        let by_slug = entries.iter().map(|entry| (entry.product.slug.clone(), entry.product.product_id)).collect();
        let skus = |entry: &Entry| entry.variants.iter().map(|it| (it.sku.clone(), it.product_id)).collect::<Vec<_>>();
        let by_sku = entries.iter().flat_map(skus).collect();
        Self { entries: entries.into_iter().map(|entry| (entry.product.product_id, entry)).collect(), by_slug, by_sku }
    }

    /// What one of that SKU weighs; 0 if nobody ever said.
    fn weight(&self, sku: &str) -> i32 {
        let entry = self.by_sku.get(sku).and_then(|product| self.entries.get(product));
        let variant = entry.and_then(|entry| entry.variants.iter().find(|variant| variant.sku == sku));
        variant.map_or(0, |variant| variant.weight_grams)
    }

    /// Which standing product each incoming one is: that of its slug, else that of its first known SKU, so that a product
    /// that was renamed keeps its id and its address. No standing product is taken twice.
    fn matches(&self, incoming: &[FeedProduct]) -> Vec<Option<Uuid>> {
        let mut found: Vec<_> = incoming.iter().map(|product| self.by_slug.get(&product.slug).copied()).collect();
        let mut taken: HashSet<Uuid> = found.iter().flatten().copied().collect();
        for (product, found) in incoming.iter().zip(&mut found) {
            if found.is_none() {
                let ids = product.variants.iter().filter_map(|variant| self.by_sku.get(variant.sku.as_str()));
                *found = ids.copied().find(|id| !taken.contains(id));
                taken.extend(*found);
            }
        }
        found
    }
}

/// The product as it will be: the file's variants first, then those that the file no longer names, withdrawn.
fn entry(
    product: &FeedProduct,
    standing: Option<&Entry>,
    before: &Standing,
    named: &HashSet<&str>,
    mint: &mut impl FnMut() -> Uuid,
) -> Entry {
    let product_id = standing.map_or_else(mint, |entry| entry.product.product_id);
    let slug = standing.map_or(&product.slug, |entry| &entry.product.slug).clone();
    let row = ProductRow {
        product_id,
        slug,
        title: product.title.clone(),
        description: product.description.clone(),
        category: shared::text::slug(&product.category),
        vendor: product.vendor.clone(),
        tags: product.tags.clone(),
        options: product.options.clone(),
        images: product.images.clone(),
        on_sale: product.on_sale,
    };
    let offered = product.variants.iter().map(|variant| VariantRow {
        sku: variant.sku.to_string(),
        product_id,
        position: 0,
        option_values: variant.option_values.clone(),
        currency: variant.price.currency().code().to_owned(),
        price_minor: variant.price.minor(),
        compare_at_price_minor: variant.compare_at_price.map(shared::Money::minor),
        // What a file does not say stands as it was: delivery is paid by weight. The reader's bound is far below i32's.
        weight_grams: variant
            .weight_grams
            .map_or_else(|| before.weight(variant.sku.as_str()), |grams| i32::try_from(grams).unwrap_or(i32::MAX)),
        on_sale: product.on_sale,
    });
    let kept = standing.into_iter().flat_map(|entry| &entry.variants).filter(|it| !named.contains(it.sku.as_str()));
    let withdrawn = kept.map(|variant| VariantRow { on_sale: false, ..variant.clone() });
    Entry { product: row, variants: numbered(offered.chain(withdrawn)) }
}

fn numbered(variants: impl Iterator<Item = VariantRow>) -> Vec<VariantRow> {
    (0..).zip(variants).map(|(position, variant)| VariantRow { position, ..variant }).collect()
}

/// A standing product that the file does not name, less the SKUs that the file gave to another.
fn without(entry: &Entry, named: &HashSet<&str>) -> Entry {
    let rest = entry.variants.iter().filter(|variant| !named.contains(variant.sku.as_str()));
    let variants: Vec<_> = rest.cloned().collect();
    if variants.len() == entry.variants.len() {
        return entry.clone();
    }
    let on_sale = entry.product.on_sale && variants.iter().any(|variant| variant.on_sale);
    Entry { product: ProductRow { on_sale, ..entry.product.clone() }, variants }
}

/// A row for each SKU whose price in force is another than before.
fn prices(before: &Standing, after: &BTreeMap<Uuid, Entry>) -> Vec<PriceRow> {
    let old: HashMap<&str, Option<(&str, i64)>> = before
        .entries
        .values()
        .flat_map(|entry| &entry.variants)
        .map(|variant| (variant.sku.as_str(), variant.price_in_force()))
        .collect();
    let row = |variant: &VariantRow| {
        let now = variant.price_in_force();
        let was = old.get(variant.sku.as_str()).copied().flatten();
        let price = PriceRow {
            sku: variant.sku.clone(),
            currency: variant.currency.clone(),
            price_minor: now.map(|(_, minor)| minor),
        };
        (now != was).then_some(price)
    };
    after.values().flat_map(|entry| &entry.variants).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use region_core_feed::FeedVariant;
    use shared::{Currency, Money};

    use super::*;

    fn product(slug: &str, on_sale: bool, variants: &[(&str, i64)]) -> FeedProduct {
        let variant = |(sku, minor): &(&str, i64)| FeedVariant {
            sku: sku.parse().unwrap(),
            option_values: Vec::new(),
            price: Money::new(*minor, Currency::GBP).unwrap(),
            compare_at_price: None,
            weight_grams: Some(350),
            units: 1,
            line: 2,
        };
        FeedProduct {
            slug: slug.to_owned(),
            title: slug.to_uppercase(),
            description: String::new(),
            category: "Mugs".to_owned(),
            vendor: None,
            tags: Vec::new(),
            options: Vec::new(),
            images: Vec::new(),
            on_sale,
            variants: variants.iter().map(variant).collect(),
        }
    }

    fn counter() -> impl FnMut() -> Uuid {
        let mut next = 0_u128;
        move || {
            next += 1;
            Uuid::from_u128(next)
        }
    }

    fn apply(standing: &mut BTreeMap<Uuid, Entry>, plan: Plan) {
        standing.extend(plan.entries.into_iter().map(|entry| (entry.product.product_id, entry)));
    }

    fn price(sku: &str, minor: Option<i64>) -> PriceRow {
        PriceRow { sku: sku.to_owned(), currency: "GBP".to_owned(), price_minor: minor }
    }

    #[test]
    fn only_a_changed_price_is_written_to_history() {
        let mut mint = counter();
        let first = plan(&[product("mug", true, &[("A", 100), ("B", 200)])], vec![], &mut mint);
        assert_eq!((first.new, first.prices.clone()), (1, vec![price("A", Some(100)), price("B", Some(200))]));
        let second = plan(&[product("mug", true, &[("A", 100), ("B", 250)])], first.entries, &mut mint);
        assert_eq!((second.changed, second.prices), (1, vec![price("B", Some(250))]));
    }

    #[test]
    fn a_sku_that_left_its_product_is_withdrawn_and_an_unpublished_product_withdraws_all() {
        let mut mint = counter();
        let first = plan(&[product("mug", true, &[("A", 100), ("B", 200)])], vec![], &mut mint);
        let second = plan(&[product("mug", true, &[("B", 200)])], first.entries, &mut mint);
        assert_eq!(second.prices, [price("A", None)]);
        let states: Vec<_> =
            second.entries[0].variants.iter().map(|it| (it.sku.as_str(), it.position, it.on_sale)).collect();
        assert_eq!(states, [("B", 0, true), ("A", 1, false)]);
        let third = plan(&[product("mug", false, &[("B", 200)])], second.entries, &mut mint);
        assert_eq!(third.prices, [price("B", None)]);
    }

    #[test]
    fn a_renamed_product_keeps_its_id_and_address_and_a_moved_sku_leaves_its_old_product() {
        let mut mint = counter();
        let first = plan(&[product("mug", true, &[("A", 100)]), product("cup", true, &[("B", 50)])], vec![], &mut mint);
        let renamed = plan(&[product("big-mug", true, &[("A", 100)])], first.entries[..1].to_vec(), &mut mint);
        let entry = &renamed.entries[0].product;
        assert_eq!(
            (entry.product_id, entry.slug.as_str(), entry.title.as_str()),
            (Uuid::from_u128(1), "mug", "BIG-MUG")
        );
        let moved = plan(&[product("mug", true, &[("A", 100), ("B", 50)])], first.entries, &mut mint);
        let cup = moved.entries.iter().find(|entry| entry.product.slug == "cup").unwrap();
        assert_eq!((cup.product.on_sale, cup.variants.len()), (false, 0));
        assert_eq!(moved.prices, [], "the price did not change with the move");
    }

    fn any_file() -> impl Strategy<Value = Vec<FeedProduct>> {
        let product = (0..4_u8, any::<bool>(), prop::collection::btree_map(0..6_u8, 1..4_i64, 1..4));
        prop::collection::vec(product, 0..4).prop_map(|products| {
            let (mut slugs, mut skus) = (HashSet::new(), HashSet::new());
            let mut file = Vec::new();
            for (slug, on_sale, variants) in products {
                let names: Vec<_> = variants.into_iter().map(|(sku, minor)| (format!("S{sku}"), minor)).collect();
                let fresh: Vec<_> = names.iter().filter(|(sku, _)| skus.insert(sku.clone())).collect();
                let variants: Vec<_> = fresh.iter().map(|(sku, minor)| (sku.as_str(), *minor)).collect();
                if slugs.insert(slug) && !variants.is_empty() {
                    file.push(self::product(&format!("p{slug}"), on_sale, &variants));
                }
            }
            file
        })
    }

    proptest! {
        #[test]
        fn importing_twice_changes_nothing_and_history_tells_every_price(files in prop::collection::vec(any_file(), 1..5)) {
            let mut mint = counter();
            let mut standing = BTreeMap::new();
            let mut told: HashMap<String, Option<i64>> = HashMap::new();
            for file in &files {
                let first = plan(file, standing.values().cloned().collect(), &mut mint);
                told.extend(first.prices.iter().map(|row| (row.sku.clone(), row.price_minor)));
                apply(&mut standing, first);
                let again = plan(file, standing.values().cloned().collect(), &mut mint);
                prop_assert_eq!((&again.entries, &again.prices), (&vec![], &vec![]));
                let mut seen = HashSet::new();
                for variant in standing.values().flat_map(|entry| &entry.variants) {
                    prop_assert!(seen.insert(variant.sku.clone()), "{} stands twice", variant.sku);
                    let in_force = variant.price_in_force().map(|(_, minor)| minor);
                    prop_assert_eq!(told.get(&variant.sku).copied().flatten(), in_force);
                }
            }
        }
    }
}
