//! region-core-cart
