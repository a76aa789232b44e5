//! region-core-order
