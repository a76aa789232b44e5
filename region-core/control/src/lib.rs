//! region-core-control
