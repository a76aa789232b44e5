//! shared-link
