//! What stands around every page: title, search box, categories, basket.

use shared::api::catalog::{Category, CategoryList};

use crate::app::App;
use crate::asset;
use crate::platform::Platform;
use crate::route::DocumentRoute;
use crate::session::Visit;

/// The frame of a page.
pub(crate) struct Shell {
    /// Of this page, without the shop's name.
    pub title: String,
    /// For search engines.
    pub description: String,
    /// Every category; empty while no core can be reached.
    pub nav: Vec<Category>,
    /// The category that this page is in; empty for none.
    pub category: String,
    /// What stands in the search box.
    pub q: String,
    /// Units in the basket, on personal pages that know.
    pub units: Option<u64>,
    /// Whether search engines may list it.
    pub index: bool,
}

impl Shell {
    /// The frame of a public page, the same for everybody; also whether the categories are old ones.
    pub(crate) async fn public<P: Platform>(app: &App<P>) -> (Self, bool) {
        let found = app.document::<CategoryList>(DocumentRoute::Categories).await;
        let (mut nav, dated) = found.map_or((Vec::new(), true), |(list, dated)| (list.items, dated));
        nav.retain(|category| category.product_count > 0);
        let shell = Self {
            title: String::new(),
            description: "A small shop for gifts and things for the home.".to_owned(),
            nav,
            category: String::new(),
            q: String::new(),
            units: None,
            index: true,
        };
        (shell, dated)
    }

    /// The frame of a personal page.
    pub(crate) async fn personal<P: Platform>(app: &App<P>, _visit: &Visit, title: &str) -> Self {
        Self { index: false, ..Self::public(app).await.0 }.titled(title)
    }

    /// With that title.
    pub(crate) fn titled(self, title: &str) -> Self {
        Self { title: title.to_owned(), ..self }
    }

    /// Address of the style sheet.
    pub(crate) fn style(&self) -> &'static str {
        &asset::STYLE.href
    }

    /// Address of the script.
    pub(crate) fn script(&self) -> &'static str {
        &asset::SCRIPT.href
    }
}
