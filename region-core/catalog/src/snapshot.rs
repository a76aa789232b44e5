//! The region's copy of the catalog in memory: never changed, replaced as a whole by the next version.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use shared::api::catalog::{Category, CategoryRef, Variant};
use shared::{Money, ProductId, Sku};

use crate::delivery::DeliveryTable;
use crate::item::Item;

/// The catalog at one version. What is withdrawn is not in it.
#[derive(Debug, Default)]
pub struct Snapshot {
    version: u64,
    delivery: Option<Arc<DeliveryTable>>,
    by_id: HashMap<ProductId, Arc<Item>>,
    by_slug: HashMap<Box<str>, Arc<Item>>,
    by_sku: HashMap<Sku, (Arc<Item>, u32)>,
    by_title: Vec<Arc<Item>>,
    by_category: BTreeMap<Box<str>, Shelf>,
}

/// A category and its products, by title, then slug.
#[derive(Debug)]
struct Shelf {
    category: Arc<CategoryRef>,
    items: Vec<Arc<Item>>,
}

/// What a SKU is offered at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The product it belongs to.
    pub item: &'a Item,
    /// One value for each option of the product.
    pub option_values: &'a [String],
    /// Price of one, tax included.
    pub price: Money,
    /// What one weighs; 0 if nobody said.
    pub weight_grams: u32,
}

impl Snapshot {
    /// The version it was read at: rises with every change of the catalog.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What delivery costs; `None` in a store that delivers everything for nothing.
    #[must_use]
    pub fn delivery(&self) -> Option<&DeliveryTable> {
        self.delivery.as_deref()
    }

    /// This snapshot with that delivery table.
    #[must_use]
    pub fn delivering(self, delivery: Option<DeliveryTable>) -> Self {
        Self { delivery: delivery.map(Arc::new), ..self }
    }

    /// Products on sale.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_title.len()
    }

    /// Whether nothing is on sale.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_title.is_empty()
    }

    /// Price of one unit, tax included; `None` if the SKU is not for sale.
    #[must_use]
    pub fn price(&self, sku: &Sku) -> Option<Money> {
        self.offer(sku).map(|offer| offer.price)
    }

    /// What a SKU is offered at and as; `None` if it is not for sale.
    #[must_use]
    pub fn offer(&self, sku: &Sku) -> Option<Offer<'_>> {
        let (item, index) = self.by_sku.get(sku)?;
        let Variant { option_values, price, weight_grams, .. } = &item.variants[*index as usize];
        Some(Offer { item, option_values, price: *price, weight_grams: *weight_grams })
    }

    /// The product of that name in paths.
    #[must_use]
    pub fn find_by_slug(&self, slug: &str) -> Option<&Arc<Item>> {
        self.by_slug.get(slug)
    }

    /// The product of that id.
    #[must_use]
    pub fn find_by_id(&self, id: ProductId) -> Option<&Arc<Item>> {
        self.by_id.get(&id)
    }

    /// Every product, by title, then slug.
    #[must_use]
    pub fn items(&self) -> &[Arc<Item>] {
        &self.by_title
    }

    /// The products of a category, by title, then slug; `None` if there is no such category or nothing on sale in it.
    #[must_use]
    pub fn items_in(&self, category: &str) -> Option<&[Arc<Item>]> {
        self.by_category.get(category).map(|shelf| &shelf.items[..])
    }

    /// The name for people of a category that has something on sale.
    #[must_use]
    pub fn category(&self, slug: &str) -> Option<&Arc<CategoryRef>> {
        self.by_category.get(slug).map(|shelf| &shelf.category)
    }

    /// Categories that have something on sale, by name.
    #[must_use]
    pub fn categories(&self) -> Vec<Category> {
        let counted = |Shelf { category, items }: &Shelf| Category {
            slug: category.slug.clone(),
            name: category.name.clone(),
            product_count: u32::try_from(items.len()).unwrap_or(u32::MAX),
        };
        let mut categories: Vec<_> = self.by_category.values().map(counted).collect();
        categories.sort_by(|a, b| (a.name.to_lowercase(), &a.slug).cmp(&(b.name.to_lowercase(), &b.slug)));
        categories
    }

    /// This snapshot brought to `version`: `changed` products as they now are, `withdrawn` ones gone. Products that did not
    /// change are shared with this one.
    #[must_use]
    pub fn advanced(&self, version: u64, changed: Vec<Item>, withdrawn: &[ProductId]) -> Self {
        let mut by_id = self.by_id.clone();
        for gone in withdrawn {
            by_id.remove(gone);
        }
        by_id.extend(changed.into_iter().map(|item| (item.product_id, Arc::new(item))));
        Self { delivery: self.delivery.clone(), ..Self::build(version, by_id) }
    }

    fn build(version: u64, by_id: HashMap<ProductId, Arc<Item>>) -> Self {
        let mut by_title: Vec<_> = by_id.values().cloned().collect();
        by_title.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        let by_slug = by_title.iter().map(|item| (item.slug.clone(), item.clone())).collect();
        let mut by_sku = HashMap::with_capacity(by_title.len());
        let mut by_category: BTreeMap<Box<str>, Shelf> = BTreeMap::new();
        for item in &by_title {
            for (index, variant) in (0..).zip(&item.variants) {
                by_sku.insert(variant.sku.clone(), (item.clone(), index));
            }
            let slug = item.category.slug.as_str().into();
            let shelf = || Shelf { category: item.category.clone(), items: Vec::new() };
            by_category.entry(slug).or_insert_with(shelf).items.push(item.clone());
        }
        Self { version, delivery: None, by_id, by_slug, by_sku, by_title, by_category }
    }
}
