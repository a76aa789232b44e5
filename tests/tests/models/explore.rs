//! How a model is explored: all of it, or up to the counterexample that must be there.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Threads that explore one model.
const THREADS: usize = 2;

/// Explores every reachable state: each property holds, each example exists, and there are more than `floor` states.
pub(crate) fn holds<M>(model: M, floor: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let explored = model.checker().threads(THREADS).spawn_bfs().join();
    let states = explored.unique_state_count();
    println!("{states} states, {} generated, depth {}", explored.state_count(), explored.max_depth());
    explored.assert_properties();
    assert!(states > floor, "only {states} states: the model has become smaller than what it is to show");
}

/// Finds a counterexample to `broken`, one of the model's properties.
pub(crate) fn fails<M>(model: M, broken: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let until = HasDiscoveries::AnyOf([broken].into());
    let explored = model.checker().finish_when(until).spawn_bfs().join();
    let found = explored.discovery(broken);
    let actions = found.unwrap_or_else(|| panic!("no counterexample to {broken:?} was found")).into_actions();
    println!("{broken:?} is broken in {} steps: {actions:#?}", actions.len());
}
