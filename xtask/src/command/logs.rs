//! `cargo xtask logs`: what the parts wrote, of one or of all, once or as it comes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::instance::Instance;

/// How often logs are looked at for more: files tell nobody that they grow.
const LOOK: Duration = Duration::from_millis(200);
/// At most this much of a log's end is read for its last lines.
const TAIL_BYTES: u64 = 1 << 20;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// One part, such as `core.eu-1`; all if none is named.
    part: Option<String>,
    /// Goes on showing what is written, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// How many lines of each part's end.
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,
}

pub(crate) async fn run(instance: &Instance, options: &Options) -> anyhow::Result<()> {
    let mut seen = BTreeMap::new();
    let logs = logs(&instance.logs(), options.part.as_deref())?;
    for (part, path) in &logs {
        let (text, length) = end(path)?;
        let lines: Vec<&str> = text.lines().collect();
        show(part, lines[lines.len().saturating_sub(options.lines)..].iter().copied())?;
        seen.insert(part.clone(), length);
    }
    if options.follow { follow(&logs, seen).await } else { Ok(()) }
}

async fn follow(logs: &BTreeMap<String, PathBuf>, mut seen: BTreeMap<String, u64>) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK).await;
        for (part, path) in logs {
            let from = seen.entry(part.clone()).or_default();
            let text = whole_lines_after(path, from)?;
            show(part, text.lines())?;
        }
    }
}

/// The logs of the parts wanted, by part.
fn logs(folder: &Path, wanted: Option<&str>) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("no logs in {}", folder.display()))?;
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name.strip_suffix(".log")?.to_owned(), entry.path()))
    });
    let all: BTreeMap<_, _> = named.collect();
    let Some(wanted) = wanted else { return Ok(all) };
    match all.get(wanted) {
        Some(path) => Ok([(wanted.to_owned(), path.clone())].into()),
        None => bail!("no part named {wanted}; there are {}", all.into_keys().collect::<Vec<_>>().join(", ")),
    }
}

fn show<'a>(part: &str, lines: impl Iterator<Item = &'a str>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{part} | {line}")?;
    }
    out.flush()
}

/// The end of a log, and its length.
fn end(path: &Path) -> std::io::Result<(String, u64)> {
    let mut log = File::open(path)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), length))
}

/// The lines that were completed since `from`, which moves behind them.
fn whole_lines_after(path: &Path, from: &mut u64) -> std::io::Result<String> {
    let mut log = File::open(path)?;
    if log.metadata()?.len() < *from {
        *from = 0;
    }
    log.seek(SeekFrom::Start(*from))?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    *from += whole as u64;
    Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_once_and_only_when_it_is_whole() {
        let path = std::env::temp_dir().join(format!("meridian-log-{}", std::process::id()));
        let mut log = File::create(&path).unwrap();
        let mut from = 0;
        log.write_all(b"one\ntw").unwrap();
        assert_eq!(whole_lines_after(&path, &mut from).unwrap(), "one\n");
        assert_eq!(whole_lines_after(&path, &mut from).unwrap(), "");
        log.write_all(b"o\n").unwrap();
        assert_eq!(whole_lines_after(&path, &mut from).unwrap(), "two\n");
        File::create(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(whole_lines_after(&path, &mut from).unwrap(), "new\n", "a log that was begun anew");
        std::fs::remove_file(path).unwrap();
    }
}
