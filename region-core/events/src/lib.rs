//! region-core-events
