//! CPU time, of the system and of the user together: of processes with their children as `/proc` counts it, of this process, of a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The unit of times in `/proc`: USER_HZ, which Linux promises to be 100 on all that we run on.
const TICK: Duration = Duration::from_millis(10);

/// Of a process and of its children, living and ended: Postgres serves each session in a child, and none of ours has
/// grandchildren. One small file is read for each, for whoever reads takes time from those who are measured.
pub(crate) fn of_family(process: i32) -> Duration {
    // The parent first: a child that ends in between is missed this time rather than counted twice.
    let own = ticks_of(process);
    TICK * u32::try_from(own + children(process).into_iter().map(ticks_of).sum::<u64>()).unwrap_or(u32::MAX)
}

fn ticks_of(process: i32) -> u64 {
    std::fs::read_to_string(format!("/proc/{process}/stat")).ok().and_then(|stat| ticks(&stat)).unwrap_or(0)
}

/// User, system, and both of dead children: fields 14 to 17 of proc(5).
fn ticks(stat: &str) -> Option<u64> {
    // The name stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace().skip(11).take(4).map(str::parse::<u64>);
    fields.collect::<Result<Vec<_>, _>>().ok().filter(|fields| fields.len() == 4).map(|fields| fields.iter().sum())
}

fn children(process: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// Of this process.
pub(crate) fn of_this_process() -> Duration {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// What load generators that share our process have used: it is theirs and not the store's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Runs a piece of a load generator.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = read(ClockId::CLOCK_THREAD_CPUTIME_ID);
        let result = work();
        let used = read(ClockId::CLOCK_THREAD_CPUTIME_ID).saturating_sub(before);
        self.0.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }

    /// So far.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "42 (post) gres: (x) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0 9";
        assert_eq!(ticks(stat), Some(127));
        assert_eq!(ticks("42 (short) S 1 2"), None);
    }

    #[test]
    fn work_is_seen_in_this_process_and_in_the_meter_that_ran_it() {
        let (meter, before) = (Meter::default(), of_this_process());
        let mut rounds = 0_u64;
        // Until the clock has moved; how long that takes does not matter.
        while meter.used() < Duration::from_millis(2) {
            meter.run(|| (0..10_000_u64).for_each(|round| rounds = std::hint::black_box(rounds ^ round)));
        }
        assert!(of_this_process() - before >= meter.used());
    }

    #[test]
    fn children_are_found_through_any_thread_and_their_time_stays_when_they_end() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child =
            std::thread::spawn(|| std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn())
                .join()
                .unwrap()
                .unwrap();
        let id = i32::try_from(child.id()).unwrap();
        assert!(children(own).contains(&id));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!children(own).contains(&id));
    }
}
