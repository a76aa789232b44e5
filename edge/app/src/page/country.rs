//! Countries to deliver to: ISO 3166-1 alpha-2 codes and English names, the shop's own first.

/// Code and name.
pub(super) const COUNTRIES: &[(&str, &str)] = &[
    ("GB", "United Kingdom"),
    ("AU", "Australia"),
    ("AT", "Austria"),
    ("BH", "Bahrain"),
    ("BE", "Belgium"),
    ("BR", "Brazil"),
    ("CA", "Canada"),
    ("CY", "Cyprus"),
    ("CZ", "Czechia"),
    ("DK", "Denmark"),
    ("FI", "Finland"),
    ("FR", "France"),
    ("DE", "Germany"),
    ("GR", "Greece"),
    ("HK", "Hong Kong"),
    ("IS", "Iceland"),
    ("IE", "Ireland"),
    ("IL", "Israel"),
    ("IT", "Italy"),
    ("JP", "Japan"),
    ("LB", "Lebanon"),
    ("LT", "Lithuania"),
    ("MT", "Malta"),
    ("NL", "Netherlands"),
    ("NZ", "New Zealand"),
    ("NO", "Norway"),
    ("PL", "Poland"),
    ("PT", "Portugal"),
    ("SA", "Saudi Arabia"),
    ("SG", "Singapore"),
    ("ZA", "South Africa"),
    ("ES", "Spain"),
    ("SE", "Sweden"),
    ("CH", "Switzerland"),
    ("AE", "United Arab Emirates"),
    ("US", "United States"),
];

/// Whether we deliver there.
pub(super) fn is_known(code: &str) -> bool {
    COUNTRIES.iter().any(|(own, _)| *own == code)
}

/// The country's name, or the code where we know none.
pub(super) fn name(code: &str) -> &str {
    COUNTRIES.iter().find(|(own, _)| *own == code).map_or(code, |(_, name)| name)
}
