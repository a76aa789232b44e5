//! Pure rules about units.

use shared::{Quantity, Sku};

/// Units of one SKU that an order asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// A SKU of which fewer units are free than an order asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What.
    pub sku: Sku,
    /// As many as were asked for.
    pub wanted: u64,
    /// As many as are free.
    pub free: u64,
}

impl std::fmt::Display for Shortfall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} wanted, {} free", self.sku, self.wanted, self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortfall_reads_like_a_sentence() {
        let short = Shortfall { sku: "MUG".parse().unwrap(), wanted: 2, free: 1 };
        assert_eq!(short.to_string(), "MUG: 2 wanted, 1 free");
    }
}
