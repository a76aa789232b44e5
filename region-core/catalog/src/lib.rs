//! region-core-catalog
