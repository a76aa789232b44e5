//! Commands on their way into a batch.

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Kind, WriterError};

/// Commands of one batch at most.
const MOST_COMMANDS: usize = 256;
/// Weight of one batch at most, but for a single command that weighs more.
const MOST_WEIGHT: usize = 4_096;

/// A command whose sender waits.
pub(super) struct Waiting<K: Kind> {
    pub(super) command: K::Command,
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<K::Answer, WriterError>>,
}

/// Commands to be written in one transaction, and who waits for each.
pub(super) struct Batch<K: Kind> {
    pub(super) commands: Vec<K::Command>,
    pub(super) answers: Vec<oneshot::Sender<Result<K::Answer, WriterError>>>,
}

/// `first` and what has arrived behind it, without those whose sender has gone away or whose time is over.
pub(super) fn gather<K: Kind>(first: Waiting<K>, queue: &mut mpsc::Receiver<Waiting<K>>) -> Batch<K> {
    let (mut commands, mut answers, mut weight) = (Vec::new(), Vec::new(), 0);
    let (mut next, now) = (Some(first), Instant::now());
    while let Some(Waiting { command, until, answer }) = next {
        if until <= now {
            let _ = answer.send(Err(WriterError::Late));
        } else if !answer.is_closed() {
            weight += K::weight(&command);
            commands.push(command);
            answers.push(answer);
        }
        let room = commands.len() < MOST_COMMANDS && weight < MOST_WEIGHT;
        next = if room { queue.try_recv().ok() } else { None };
    }
    Batch { commands, answers }
}
