//! region-core-server
