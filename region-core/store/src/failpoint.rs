//! Named places, directly before and after every commit and publish, at which a test build can crash, fail or wait.
//!
//! Only a build with the feature `failpoints` has any; the variable `FAILPOINTS` says what happens where, in the words of
//! the crate `fail`, for example `store.commit.after=1%return(crash)`. The argument of `return` is `crash` (the process
//! ends at once, as by kill -9), `error` (as if the way to the database broke) or `delay:MS` (so many milliseconds).

use crate::error::StoreError;

/// Every place that there is: fault runs crash at each of them.
pub const FAILPOINTS: &[&str] = &[
    "store.commit.before",
    "store.commit.after",
    "events.publish.before",
    "events.publish.after",
    "writer.statement.before",
    "writer.statement.after",
    "writer.commit.before",
    "writer.commit.after",
];

/// Passes the place of that name.
///
/// # Errors
/// Never in an ordinary build; [`StoreError::Sql`] if the place was told to fail.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub async fn failpoint(_: &'static str) -> Result<(), StoreError> {
    Ok(())
}

/// Passes the place of that name.
///
/// # Errors
/// [`StoreError::Sql`] if the place was told to fail.
///
/// # Panics
/// If it was told something that is not known, or is not among [`FAILPOINTS`].
#[cfg(feature = "failpoints")]
pub async fn failpoint(name: &'static str) -> Result<(), StoreError> {
    assert!(FAILPOINTS.contains(&name), "{name} is not listed");
    let Some(told) = told(name) else { return Ok(()) };
    match told.as_deref().map(|action| action.split_once(':').unwrap_or((action, ""))) {
        Some(("crash", _)) => {
            tracing::error!(failpoint = name, "the process ends here, as it was told");
            std::process::abort()
        }
        Some(("error", _)) => Err(StoreError::Sql(sqlx::Error::Io(std::io::Error::other(name)))),
        Some(("delay", milliseconds)) => {
            let milliseconds = milliseconds.parse().unwrap_or_else(|_| panic!("{name}: delay:MS, not {told:?}"));
            tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            Ok(())
        }
        _ => panic!("{name}: crash, error or delay:MS, not {told:?}"),
    }
}

/// What the place was told this time, if anything.
#[cfg(feature = "failpoints")]
fn told(name: &'static str) -> Option<Option<String>> {
    fail::fail_point!(name, Some);
    None
}

/// Reads `FAILPOINTS`, for the rest of this process' life.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() {
    std::mem::forget(fail::FailScenario::setup());
}

/// There are none.
#[cfg(not(feature = "failpoints"))]
pub(crate) const fn arm() {}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_does_what_it_was_told_and_nothing_otherwise() {
        let scenario = fail::FailScenario::setup();
        let place = FAILPOINTS[0];
        assert!(failpoint(place).await.is_ok());
        fail::cfg(place, "1*return(error)->1*return(delay:50)").unwrap();
        assert!(matches!(failpoint(place).await, Err(StoreError::Sql(sqlx::Error::Io(_)))));
        let begun = tokio::time::Instant::now();
        assert!(failpoint(place).await.is_ok());
        assert_eq!(begun.elapsed().as_millis(), 50);
        assert!(failpoint(place).await.is_ok(), "told twice only");
        scenario.teardown();
    }
}
