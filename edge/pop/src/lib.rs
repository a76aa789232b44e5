//! edge-pop
