//! region-core-store
