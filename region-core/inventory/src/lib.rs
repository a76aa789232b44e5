//! region-core-inventory
