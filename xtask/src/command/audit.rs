//! `cargo xtask audit`: looks for rows that break a promise, in the store that runs or in one that a file describes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::audit::{self, Demand, Layout, ProviderLog, Report};
use crate::console;
use crate::failure::{Failure, Judged};
use crate::instance::Instance;
use crate::site::Site;

/// What `--help` says after the options.
const TEACHES: &str = "\
Looks at the databases themselves, at the payment provider's and the carrier's own logs, and at nothing that a core believes. It only reads, in one
consistent cut, and may be run at any time while the store sells. Each rule is named with the rows it looked at; of a broken one
the first 20 rows are named by shard, table and key.

Exit code: 0 all rules hold; 1 a rule is broken; 2 something could not be looked at.

Examples:
  cargo xtask audit                                   the running store; what is under way may be
  cargo xtask audit --settle 60                       waits up to a minute for quiet, then allows nothing under way
  cargo xtask audit --acknowledged orders.jsonl       every order that a client was told of must be there once; each line is
      {\"order_id\": \"…\", \"user_id\": \"…\", \"key\": \"…\", \"total_minor\": 1250, \"currency\": \"GBP\"}
  cargo xtask audit --layout system.json              a system that `up` did not start:
      {\"shards\": [{\"id\": 1, \"region\": \"eu\", \"url\": \"postgres://…\"}], \"catalog\": \"postgres://…\",
       \"provider\": {\"journal\": \"…/payments.log\"} or {\"http\": \"http://…\"}, \"carrier\": \"…/parcels.log\"}";

/// What to look at, and how strictly.
#[derive(Debug, clap::Args)]
#[command(after_long_help = after_help())]
pub(crate) struct Options {
    /// A client's own list of orders that were acknowledged to it, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// Waits so long until nothing is under way; then a PENDING order, a waiting payment, label or event, or a unit in flight
    /// is a breach.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    settle: Option<u64>,
    /// Looks at the system that this JSON file describes, instead of the one that `up` runs.
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// For programs: the report as one JSON object.
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    let rules = audit::promises().map(|rule| format!("  {:<20} {}\n", rule.name, rule.promise)).collect::<String>();
    format!("{TEACHES}\n\nRules:\n{rules}")
}

pub(crate) async fn run(instance: &Instance, options: &Options) -> Judged {
    let report = look(instance, options).await.context("the audit could not look at everything")?;
    console::show(&report, options.json)?;
    if report.is_clean() {
        return Ok(());
    }
    let broken: Vec<_> = report.broken().map(|rule| rule.rule).collect();
    Err(Failure::Broken(format!("broken {} times: {}", report.breaches, broken.join(", "))))
}

async fn look(instance: &Instance, options: &Options) -> anyhow::Result<Report> {
    let mut layout = match &options.layout {
        Some(path) => Layout::of_json(path)?,
        None => running(instance)?,
    };
    if let Some(list) = &options.acknowledged {
        layout.acknowledged = Some(list.clone());
    }
    let Some(seconds) = options.settle else {
        return audit::run(&layout, Demand::Running).await;
    };
    match audit::settle(&layout, Duration::from_secs(seconds)).await? {
        Some(took) => eprintln!("quiet after {:.1} s", took.as_secs_f64()),
        None => eprintln!("not quiet after {seconds} s; what is under way is named below"),
    }
    audit::run(&layout, Demand::Settled).await
}

/// What `up` runs. Its provider's journal lies beside its other data and tells more than the provider does over HTTP.
fn running(instance: &Instance) -> anyhow::Result<Layout> {
    instance.read()?;
    let mut layout = Layout::of_core(&Site::of(instance)?.core_config)?;
    let journal = instance.root.join("payment-sandbox").join("payments.log");
    if journal.is_file() {
        layout.provider = Some(ProviderLog::Journal(journal));
    }
    layout.carrier = Some(instance.root.join("carrier-sandbox").join("parcels.log")).filter(|log| log.is_file());
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_looked_at_is_told_apart_from_a_breach() {
        let instance = Instance::new(&crate::workspace::Workspace::find().unwrap(), "never-up");
        let options = Options { acknowledged: None, settle: None, layout: None, json: false };
        assert_eq!(run(&instance, &options).await.unwrap_err().code(), 2);
        let options = Options { layout: Some("/nowhere.json".into()), ..options };
        assert_eq!(run(&instance, &options).await.unwrap_err().code(), 2);
    }

    #[test]
    fn the_help_names_every_rule() {
        let help = after_help();
        assert!(audit::promises().all(|rule| help.contains(rule.name) && help.contains(rule.promise)));
    }
}
