//! `cargo xtask status`: asks every part and fails unless all of them answer.

use anyhow::bail;
use futures::future::join_all;
use serde::Serialize;

use crate::instance::{Instance, PartState};

/// How to tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    instance: String,
    started_at: u64,
    process: u32,
    shop: String,
    worker: Option<String>,
    answers: bool,
    parts: Vec<PartReport>,
}

#[derive(Debug, Serialize)]
struct PartReport {
    name: String,
    address: String,
    answers: bool,
    /// What it answered instead.
    problem: Option<String>,
}

pub(crate) async fn run(instance: &Instance, options: &Options) -> anyhow::Result<()> {
    let state = instance.read()?;
    let parts = join_all(state.parts.into_iter().map(ask)).await;
    let answers = parts.iter().all(|part| part.answers);
    let report = Report {
        instance: instance.name.clone(),
        started_at: state.started_at,
        process: state.process,
        shop: state.shop,
        worker: state.worker,
        answers,
        parts,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table(&report.parts));
    }
    let silent: Vec<_> = report.parts.iter().filter(|part| !part.answers).map(|part| part.name.as_str()).collect();
    if !silent.is_empty() {
        bail!("no answer from {}", silent.join(", "));
    }
    Ok(())
}

async fn ask(part: PartState) -> PartReport {
    let problem = part.probe.ask().await.err();
    PartReport { name: part.name, address: part.address, answers: problem.is_none(), problem }
}

fn table(parts: &[PartReport]) -> String {
    let width = parts.iter().map(|part| part.name.len()).max().unwrap_or_default();
    let address = parts.iter().map(|part| part.address.len()).max().unwrap_or_default();
    let row = |part: &PartReport| {
        let says = part.problem.as_ref().map_or_else(|| "answers".to_owned(), |problem| format!("SILENT: {problem}"));
        format!("{:<width$}  {:<address$}  {says}\n", part.name, part.address)
    };
    parts.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_part_stands_out_with_its_reason() {
        let part = |name: &str, problem: Option<&str>| PartReport {
            name: name.to_owned(),
            address: "127.0.0.1:7105".to_owned(),
            answers: problem.is_none(),
            problem: problem.map(str::to_owned),
        };
        let shown = table(&[part("pop", None), part("redis", Some("nobody listens"))]);
        assert_eq!(shown, "pop    127.0.0.1:7105  answers\nredis  127.0.0.1:7105  SILENT: nobody listens\n");
    }
}
