//! `region-core events …`: what the bus gave up, and its way back once the fault is mended.

use anyhow::{Context, ensure};
use clap::Subcommand;
use region_core_events::{DeadLetter, list_dead_letters, replay, skip};
use region_core_store::{PoolLimits, Shards, own_slot};
use shared::{EventId, OrderId, ShardId};

use super::ConfigFile;
use crate::config::Config;
use crate::region;

/// Most dead letters listed of one shard.
const LISTED: i64 = 1_000;

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Events {
    /// List the events that were given up, on every shard that the configuration names.
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Give what was given up for one order another life, in its order.
    Replay {
        /// Who gave it up, as `list` names it.
        consumer: String,
        /// The order.
        order: OrderId,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Go without an event that was given up, for good; what is parked behind it is handled.
    Skip {
        /// Who gave it up, as `list` names it.
        consumer: String,
        /// The order.
        order: OrderId,
        /// The event.
        event: EventId,
        /// Why, kept with it: 1 to 500 characters.
        #[arg(long, value_parser = reason)]
        reason: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

fn reason(text: &str) -> Result<String, &'static str> {
    let reason = text.trim();
    if (1..=500).contains(&reason.chars().count()) { Ok(reason.to_owned()) } else { Err("1 to 500 characters") }
}

impl Events {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { config } => list(&shards(&config.read()?).await?).await,
            Self::Replay { consumer, order, config } => again(&shards(&config.read()?).await?, consumer, order).await,
            Self::Skip { consumer, order, event, reason, config } => {
                without(&shards(&config.read()?).await?, consumer, order, event, reason).await
            }
        }
    }
}

/// Every shard that the configuration names, whichever regions they stand in.
async fn shards(config: &Config) -> anyhow::Result<Shards> {
    let copy = region::catalog_pool(&config.catalog.url, super::PATIENCE).context("catalog.url")?;
    region::shards(config, &config.shards, region::slot_map(&copy).await?, PoolLimits::default())
}

async fn list(shards: &Shards) -> anyhow::Result<()> {
    for shard in shards.all() {
        let letters = async { list_dead_letters(&mut *shard.read().await?, LISTED).await };
        let letters = letters.await.with_context(|| format!("shard {}", shard.id()))?;
        letters.iter().for_each(|letter| println!("{}", line(shard.id(), letter)));
        if i64::try_from(letters.len())? == LISTED {
            println!("shard {}: there may be more than these {LISTED}", shard.id());
        }
    }
    Ok(())
}

/// One line that `replay` can be told from.
fn line(shard: ShardId, letter: &DeadLetter) -> String {
    let DeadLetter { consumer, event_id, order_id, attempts, died_at, .. } = letter;
    let kind = letter.kind.as_deref().unwrap_or("forgotten");
    // A cause is one line here, whatever it was.
    let cause = letter.cause.split_whitespace().collect::<Vec<_>>().join(" ");
    let fate = if letter.parked { cause } else { format!("{attempts} attempts failed: {cause}") };
    format!("{died_at} shard {shard} {consumer} {order_id} {kind} {event_id}: {fate}")
}

async fn again(shards: &Shards, consumer: String, order: OrderId) -> anyhow::Result<()> {
    let shard = shards.here(order.slot())?;
    let name = consumer.clone();
    let replayed = shard.write("events.replay", async move |conn| {
        own_slot(conn, order.slot()).await?;
        replay(conn, &name, order).await
    });
    let replayed = replayed.await.with_context(|| format!("shard {}", shard.id()))?;
    ensure!(replayed > 0, "shard {}: {consumer} has given up nothing of order {order}", shard.id());
    println!("{replayed} events of order {order} are given to {consumer} again");
    Ok(())
}

async fn without(
    shards: &Shards,
    consumer: String,
    order: OrderId,
    event: EventId,
    reason: String,
) -> anyhow::Result<()> {
    let shard = shards.here(order.slot())?;
    let name = consumer.clone();
    let skipped = shard.write("events.skip", async move |conn| {
        own_slot(conn, order.slot()).await?;
        skip(conn, &name, order, event, &reason).await
    });
    let skipped = skipped.await.with_context(|| format!("shard {}", shard.id()))?;
    let parked = skipped.with_context(|| {
        format!(
            "shard {}: {consumer} has not given up event {event} of order {order}, or it is parked behind another",
            shard.id()
        )
    })?;
    println!("{consumer} goes without event {event} of order {order}; {parked} behind it are given to it again");
    Ok(())
}
