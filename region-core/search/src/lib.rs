//! region-core-search
