//! How far a run is: a bar where there is a terminal, a line for each tenth where there is none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Counts orders on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    total: u64,
    done: AtomicU64,
}

impl Progress {
    pub(super) fn of(total: u64) -> Self {
        let style = ProgressStyle::with_template("{spinner} orders {wide_bar} {pos}/{len} {per_sec} {eta}");
        let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, total, done: AtomicU64::new(0) }
    }

    pub(super) fn one_more(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar.inc(1);
        if self.bar.is_hidden() && is_tenth(done, self.total) {
            eprintln!("{done} of {} orders", self.total);
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Whether another tenth of `total` is full.
fn is_tenth(done: u64, total: u64) -> bool {
    total > 0 && done * 10 / total > (done - 1) * 10 / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_are_printed_for_many_orders_and_one_for_each_of_few() {
        let lines = |total: u64| (1..=total).filter(|done| is_tenth(*done, total)).collect::<Vec<_>>();
        assert_eq!(lines(1_608).len(), 10);
        assert_eq!(lines(1_608).last(), Some(&1_608));
        assert_eq!(lines(3), [1, 2, 3]);
    }
}
