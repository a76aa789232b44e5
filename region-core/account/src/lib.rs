//! region-core-account
