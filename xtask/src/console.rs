//! What people see while they wait: a line for each thing that goes on where there is a terminal, and one plain line for
//! each thing that is done where there is none.

use std::collections::HashMap;
use std::fmt::Display;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

/// Longest time without a word where no spinner turns.
const SILENCE: Duration = Duration::from_secs(3);

/// Standard error, shared by everything that reports.
#[derive(Debug)]
pub(crate) struct Console {
    bars: MultiProgress,
    running: Mutex<HashMap<String, ProgressBar>>,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self { bars: MultiProgress::new(), running: Mutex::default() }
    }

    /// One line that stays.
    pub(crate) fn say(&self, line: &str) {
        if self.bars.is_hidden() {
            eprintln!("{line}");
        } else {
            let _ = self.bars.println(line);
        }
    }

    /// Runs something under its name.
    pub(crate) async fn step<T, E>(&self, name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = tokio::time::Instant::now();
        xtask_system::Progress::begins(self, name);
        let mut work = pin!(work);
        let result = match tokio::time::timeout(SILENCE, &mut work).await {
            Ok(result) => result,
            Err(_) => {
                if self.bars.is_hidden() {
                    eprintln!("{name:<18} is under way");
                }
                work.await
            }
        };
        match &result {
            Ok(_) => xtask_system::Progress::done(self, name, begun.elapsed()),
            Err(_) => self.end(name),
        }
        result
    }

    /// Takes every spinner away, for what follows is written by others.
    pub(crate) fn clear(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let _ = self.bars.clear();
    }

    fn end(&self, part: &str) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(part) {
            bar.finish_and_clear();
        }
    }
}

/// A command's report on standard output: for people, or for programs as one JSON object.
pub(crate) fn show(report: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

impl xtask_system::Progress for Console {
    fn begins(&self, part: &str) {
        if self.bars.is_hidden() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style).with_message(part.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(part.to_owned(), bar);
    }

    fn done(&self, part: &str, took: Duration) {
        self.end(part);
        self.say(&format!("{part:<18} ready after {:.1} s", took.as_secs_f64()));
    }
}
