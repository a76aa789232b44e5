//! How often an order had to wait for units of another shard, as the cores count it.

use std::time::Duration;

use crate::instance::PartState;

/// What the cores call it.
const METRIC: &str = "borrow_on_path_total";
/// How long a core may take to show its figures.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// All that the cores have counted since they started; `None` if one of them does not tell.
pub(super) async fn so_far(parts: &[PartState]) -> Option<u64> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build().ok()?;
    let mut sum = 0;
    for core in parts.iter().filter(|part| part.name.starts_with("core.")) {
        let answer = client.get(format!("{}/ops/metrics", core.address)).send().await.ok()?;
        sum += sum_of(&answer.error_for_status().ok()?.text().await.ok()?);
    }
    Some(sum)
}

/// The sum over all labels; a counter that was never raised is not shown.
fn sum_of(metrics: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(METRIC)?.rsplit_once(' '));
    values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_labels_are_added_and_other_metrics_left_alone() {
        let shown = "# TYPE borrow_on_path_total counter\nborrow_on_path_total{region=\"eu\"} 3\n\
                     borrow_on_path_total{region=\"us\"} 4\nborrow_on_path_seconds_count{region=\"eu\"} 9\n";
        assert_eq!((sum_of(shown), sum_of("")), (7, 0));
    }
}
