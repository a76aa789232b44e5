//! The providers of this store: the main one, and those beside it. Who a payment is at is written down with it and never changes:
//! whoever asks about it asks that one, and no other.
//!
//! Each has a driver of its own on every shard, so that one who is slow or away holds nobody's payments up but its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use region_core_store::{Shard, Shards};
use shared::ShardId;

use crate::handover::{Handover, Handovers};
use crate::provider::Provider;

/// A provider, and where its payments are handed over to its drivers.
#[derive(Debug)]
pub(crate) struct Counter<P> {
    pub(crate) provider: Arc<P>,
    pub(crate) handovers: Handovers,
}

impl<P> Counter<P> {
    /// That provider, for payments of these shards.
    pub(crate) fn new(shards: &Shards, provider: Arc<P>) -> Self {
        Self { provider, handovers: Handovers::new(shards.all().map(Shard::id)) }
    }
}

impl<P> Clone for Counter<P> {
    fn clone(&self) -> Self {
        Self { provider: Arc::clone(&self.provider), handovers: self.handovers.clone() }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Counters<P> {
    pub(crate) main: Counter<P>,
    pub(crate) beside: Vec<Counter<P>>,
}

impl<P> Clone for Counters<P> {
    fn clone(&self) -> Self {
        Self { main: self.main.clone(), beside: self.beside.clone() }
    }
}

impl<P: Provider> Counters<P> {
    /// The main one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Counter<P>> {
        std::iter::once(&self.main).chain(&self.beside)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.all().map(|counter| counter.provider.name()).collect()
    }

    /// The one of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Counter<P>> {
        self.all().find(|counter| counter.provider.name() == name)
    }

    /// Who new payments go to.
    pub(crate) fn sign(&self) -> Sign {
        let main = self.main.provider.name();
        let handovers = self.all().map(|counter| (counter.provider.name(), counter.handovers.clone()));
        Sign { main, handovers: Arc::new(handovers.collect()) }
    }
}

/// Shows which provider a payment belongs to, and where it is handed over.
#[derive(Clone, Debug)]
pub(crate) struct Sign {
    main: &'static str,
    handovers: Arc<BTreeMap<&'static str, Handovers>>,
}

impl Sign {
    /// Whoever is called like the token; everything else is for the main one.
    pub(crate) fn of_token(&self, token: &str) -> &'static str {
        self.handovers.keys().find(|name| **name == token).copied().unwrap_or(self.main)
    }

    /// Where that provider's payments are handed over on that shard: none is, if it is not configured.
    pub(crate) fn handover(&self, provider: &str, shard: ShardId) -> Option<Handover> {
        self.handovers.get(provider).map(|handovers| handovers.of(shard))
    }
}
