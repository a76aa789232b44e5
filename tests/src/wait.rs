//! Waiting for other processes, which tell nobody when they are done: asked often, never for ever.

use std::time::Duration;

use tokio::time::Instant;

/// How often is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// After `within`, saying `what` was waited for.
pub async fn until<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", within.as_secs());
        tokio::time::sleep(ASK_EVERY).await;
    }
}
