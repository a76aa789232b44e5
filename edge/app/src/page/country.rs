//! Countries to deliver to.

/// Code and name, the shop's own first.
pub(super) use shared::country::NAMES as COUNTRIES;

/// Whether we deliver there.
pub(super) fn is_known(code: &str) -> bool {
    COUNTRIES.iter().any(|(own, _)| *own == code)
}
