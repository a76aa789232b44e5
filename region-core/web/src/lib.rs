//! region-core-web
