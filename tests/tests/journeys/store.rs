//! The store that all of these tests share.

use std::sync::LazyLock;

use tests::{Books, Options, Sites, Store};

static SITES: LazyLock<Sites> = LazyLock::new(|| Store::shared("journeys", Options::WHOLE));

/// Where everything is.
pub(crate) fn sites() -> &'static Sites {
    &SITES
}

/// The shop at the PoP.
pub(crate) fn pop() -> &'static str {
    &sites().addresses.shop
}

/// The shop at the Worker.
pub(crate) fn worker() -> &'static str {
    sites().addresses.worker.as_deref().unwrap()
}

/// The store's books.
pub(crate) fn books() -> Books {
    Books::of(sites())
}
