//! Consumers that another bus tells of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use region_core_store::{Shards, failpoint};
use shared::{EventId, ShardId};
use uuid::Uuid;

use crate::delivery::{Delivery, Round, Source};
use crate::{Consumer, HandleError, Settings, Wake, Wakes};

/// One consumer on the shards of this region, told of events by another bus: often, late, in any order.
///
/// It is told which events there are, not what they say: that is read from the outbox, with whatever their orders said
/// before them that the consumer has not heard. So it hears each event once and in order whatever the other bus does, and
/// whoever can write to that bus makes nothing true.
#[derive(Clone)]
pub struct Listening {
    consumer: Arc<dyn Consumer>,
    shards: BTreeMap<ShardId, (Arc<Delivery>, Wake)>,
}

impl Listening {
    /// `consumer` on each of these shards.
    #[must_use]
    pub fn new(shards: &Shards, wakes: &Wakes, consumer: Arc<dyn Consumer>, settings: &Settings) -> Self {
        let delivery = |shard| Arc::new(Delivery::new(shard, &consumer, settings));
        let shards = shards.all().map(|shard| (shard.id(), (delivery(shard), wakes.of(shard.id())))).collect();
        Self { consumer, shards }
    }

    /// Who listens.
    #[must_use]
    pub fn consumer(&self) -> &dyn Consumer {
        self.consumer.as_ref()
    }

    /// Has the consumer handle these events of that shard, and what their orders said before them, unless it did: effects
    /// and inbox in one commit for each batch. What fails by its own fault is set aside, as on the Postgres bus. Tells how
    /// many took effect.
    ///
    /// # Errors
    /// When the shard fails; what was committed until then stands, and telling it again is harmless.
    pub async fn tell(&self, shard: ShardId, events: &[EventId]) -> Result<usize, HandleError> {
        let Some((delivery, wake)) = self.shards.get(&shard) else { return Ok(0) };
        let told: Arc<[Uuid]> = events.iter().map(|event| event.as_uuid()).collect();
        let mut total = 0;
        loop {
            match Arc::clone(delivery).round(Source::Told(Arc::clone(&told))).await? {
                Round::Elsewhere => return Ok(total),
                Round::Done { handled, more } => {
                    total += handled;
                    if handled > 0 {
                        failpoint("events.publish.before").await?;
                        wake.notify(); // what was handled may have said something
                        failpoint("events.publish.after").await?;
                    }
                    if !more {
                        return Ok(total);
                    }
                }
            }
        }
    }
}
