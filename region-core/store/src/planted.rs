//! Bugs that are planted on purpose, so that the fault runs can show that they would find them.
//!
//! Only a build with the feature `planted-bugs` has any; `MERIDIAN_PLANTED_BUG` then names the one that this process has.
//! Without the feature every question is answered "no" at compile time and the wrong branch is not in the program.

/// The variable that names the bug of this process.
pub const PLANTED_BUG: &str = "MERIDIAN_PLANTED_BUG";

/// A known way to be wrong. Each was shown to break a promise in the models of the protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A borrower credits a grant's answer without looking whether it did so before.
    NoCreditCheck,
    /// A donor does not remember which grants it has answered.
    NoDonorKey,
    /// A donor takes units back when nothing was heard of them for a while.
    RecreditOnTimeout,
    /// A shard does not look whether it owns the slot that is written to.
    NoEpochCheck,
    /// A payment whose outcome is unknown is charged again under a new key.
    NewPaymentKey,
}

impl Bug {
    /// Every bug.
    pub const ALL: &'static [Self] =
        &[Self::NoCreditCheck, Self::NoDonorKey, Self::RecreditOnTimeout, Self::NoEpochCheck, Self::NewPaymentKey];

    /// How it is asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCreditCheck => "no-credit-check",
            Self::NoDonorKey => "no-donor-key",
            Self::RecreditOnTimeout => "recredit-on-timeout",
            Self::NoEpochCheck => "no-epoch-check",
            Self::NewPaymentKey => "new-payment-key",
        }
    }

    /// The bug of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Why a process may not start with the faults that were asked for: it would prove nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArmError {
    /// A bug was asked for that this build cannot have.
    #[error("{PLANTED_BUG} is set, but this program was built without the feature planted-bugs")]
    NotPlanted,
    /// No bug has this name.
    #[error("{PLANTED_BUG}: there is no bug {0:?}")]
    Unknown(String),
}

/// Whether this process has that bug.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
#[must_use]
pub const fn planted(_: Bug) -> bool {
    false
}

/// Whether this process has that bug.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var(PLANTED_BUG).ok().as_deref().and_then(Bug::parse)) == Some(bug)
}

/// Checks what was asked for against what this program can do, and makes failpoints ready. To be called first.
///
/// # Errors
/// [`ArmError`].
pub fn arm() -> Result<(), ArmError> {
    let asked = std::env::var(PLANTED_BUG).ok().filter(|name| !name.is_empty());
    check(asked.as_deref(), cfg!(feature = "planted-bugs"))?;
    crate::failpoint::arm();
    Ok(())
}

fn check(asked: Option<&str>, can: bool) -> Result<(), ArmError> {
    match asked {
        None => Ok(()),
        Some(_) if !can => Err(ArmError::NotPlanted),
        Some(name) => Bug::parse(name).map(|_| ()).ok_or_else(|| ArmError::Unknown(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name_and_no_other() {
        for bug in Bug::ALL {
            assert_eq!(Bug::parse(bug.name()), Some(*bug));
        }
        assert_eq!(Bug::parse("no-such-bug"), None);
    }

    #[test]
    fn a_process_never_runs_without_the_bug_that_was_asked_for() {
        assert_eq!(check(None, false), Ok(()));
        assert_eq!(check(Some("no-donor-key"), false), Err(ArmError::NotPlanted));
        assert_eq!(check(Some("no-donor-key"), true), Ok(()));
        assert_eq!(check(Some("typo"), true), Err(ArmError::Unknown("typo".to_owned())));
    }

    #[test]
    #[cfg(not(feature = "planted-bugs"))]
    fn an_ordinary_build_has_no_bug() {
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
    }
}
