//! One product as a core keeps it in memory, and the shapes it is shown in.

use std::sync::Arc;

use shared::api::catalog::{CategoryRef, Image, Product, ProductOption, ProductSummary, Variant};
use shared::{Money, ProductId};

/// A product on sale, with at least one variant on sale. Strings that many products share are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The product.
    pub product_id: ProductId,
    /// Its name in paths.
    pub slug: Box<str>,
    /// Its name for people.
    pub title: Box<str>,
    /// What lists are ordered by: the title without regard to case.
    pub(crate) sort_key: Box<str>,
    /// Plain text.
    pub description: Box<str>,
    /// Where it is filed.
    pub category: Arc<CategoryRef>,
    /// Who makes or sells it.
    pub vendor: Option<Arc<str>>,
    /// The merchant's labels.
    pub tags: Box<[Arc<str>]>,
    /// What its variants differ in.
    pub options: Box<[ProductOption]>,
    /// On sale, in the merchant's order; never empty.
    pub variants: Box<[Variant]>,
    /// In the merchant's order.
    pub images: Box<[Image]>,
    /// The catalog's version at which it last changed.
    pub version: u64,
}

impl Item {
    /// The lowest price of its variants.
    #[must_use]
    pub fn price_from(&self) -> Money {
        let cheapest = self.variants.iter().map(|variant| variant.price).min_by_key(|price| price.minor());
        cheapest.unwrap_or_else(|| unreachable!("an item has at least one variant"))
    }

    /// How it looks on a list.
    #[must_use]
    pub fn summary(&self) -> ProductSummary {
        let from = self.price_from();
        ProductSummary {
            product_id: self.product_id,
            slug: self.slug.to_string(),
            title: self.title.to_string(),
            category: (*self.category).clone(),
            price_from: from,
            price_varies: self.variants.iter().any(|variant| variant.price != from),
            only_sku: if let [only] = &*self.variants { Some(only.sku.clone()) } else { None },
            image: self.images.first().cloned(),
        }
    }

    /// All of it.
    #[must_use]
    pub fn product(&self) -> Product {
        Product {
            product_id: self.product_id,
            slug: self.slug.to_string(),
            title: self.title.to_string(),
            description: self.description.to_string(),
            category: (*self.category).clone(),
            vendor: self.vendor.as_deref().map(str::to_owned),
            tags: self.tags.iter().map(ToString::to_string).collect(),
            options: self.options.to_vec(),
            variants: self.variants.to_vec(),
            images: self.images.to_vec(),
            version: self.version,
        }
    }

    /// Where it stands on a list: by title without regard to case, then slug.
    pub(crate) fn place(&self) -> (&str, &str) {
        (&self.sort_key, &self.slug)
    }
}

#[cfg(any(test, feature = "test-support"))]
impl Item {
    /// A product with nothing but a title, a category and variants, for tests.
    #[must_use]
    pub fn simple(product_id: ProductId, title: &str, category: CategoryRef, variants: Vec<Variant>) -> Self {
        Self {
            product_id,
            slug: shared::text::slug(title).into(),
            title: title.into(),
            sort_key: title.to_lowercase().into(),
            description: "".into(),
            category: Arc::new(category),
            vendor: None,
            tags: Box::default(),
            options: Box::default(),
            variants: variants.into(),
            images: Box::default(),
            version: 1,
        }
    }
}
