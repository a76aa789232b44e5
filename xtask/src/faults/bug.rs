//! The bugs that a core can be told to have.

/// A planted bug. The names are those of the core's own list: it refuses to start with one that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bug {
    NoCreditCheck,
    NoDonorKey,
    RecreditOnTimeout,
    NoEpochCheck,
    NewPaymentKey,
}

impl Bug {
    pub(crate) const ALL: [Self; 5] =
        [Self::NoCreditCheck, Self::NoDonorKey, Self::RecreditOnTimeout, Self::NoEpochCheck, Self::NewPaymentKey];

    /// How it is asked for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NoCreditCheck => "no-credit-check",
            Self::NoDonorKey => "no-donor-key",
            Self::RecreditOnTimeout => "recredit-on-timeout",
            Self::NoEpochCheck => "no-epoch-check",
            Self::NewPaymentKey => "new-payment-key",
        }
    }

    /// What is wrong with it, and what that leads to.
    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::NoCreditCheck => "a borrower credits every answer to a grant: units from nowhere, and oversell",
            Self::NoDonorKey => "a donor forgets which grants it answered: a repeated one takes units that nobody gets",
            Self::RecreditOnTimeout => {
                "a donor takes units back when nothing was heard for a while: they are sold twice"
            }
            Self::NoEpochCheck => "a shard does not look whether it owns a slot: rows where nobody looks for them",
            Self::NewPaymentKey => {
                "a payment of unknown outcome is tried under a new key: the shopper is charged twice"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_cores_have_these_bugs_and_no_others() {
        let cores: Vec<_> = region_core_store::Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(Bug::ALL.map(Bug::name).to_vec(), cores);
    }

    #[test]
    fn every_bug_is_listed_under_the_name_it_is_asked_for() {
        assert_eq!(Bug::value_variants(), Bug::ALL);
        for bug in Bug::ALL {
            assert_eq!(Bug::from_str(bug.name(), false), Ok(bug));
        }
    }
}
