//! Stock on its way between shards: the real SQL of every step, over three databases, beside the protocol whose every state is
//! explored in `../models`. Messages are delivered late, out of order, again and again, or never; shards are promoted.

#[path = "../models/transfer/protocol.rs"]
#[expect(dead_code, reason = "the ways to get it wrong are explored in the models")]
mod protocol;
mod shards;
#[path = "../models/transfer/state.rs"]
#[expect(dead_code, reason = "what the models alone look at")]
mod state;
#[path = "../models/transfer/steps.rs"]
mod steps;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

use crate::histories;
use protocol::{Action, Model, Scope};
use shards::Shards;
use state::{Message, State};

/// Three shards that borrow from each other, several times.
const SCOPE: Scope = Scope {
    free: &[1, 5, 3],
    donors: &[&[1, 2, 1, 2, 1, 2], &[2, 0, 2, 0], &[0, 1, 0, 1]],
    want: 2,
    promoted: &[0, 1, 2],
};

/// One step. Forgetting goes by what all rows have in common, not row by row.
#[derive(Clone, Debug)]
enum Transition {
    Do(Action),
    ForgetIn(u8),
    ForgetOut(u8),
}

/// The protocol's state, and what was said last.
#[derive(Clone, Debug)]
struct Reference {
    state: State,
    said: Option<Message>,
}

fn model() -> Model {
    Model::good(SCOPE)
}

/// What real shards can be made to do.
fn possible(state: &State) -> Vec<Transition> {
    let mut actions = Vec::new();
    model().possible(state, &mut actions);
    let transition = |action| match action {
        Action::ForgetIn(transfer) => Some(Transition::ForgetIn(transfer.borrower)),
        Action::ForgetOut(transfer) => Some(Transition::ForgetOut(transfer.donor)),
        // A demoted primary that is still up takes two servers; the protocol says that it cannot speak.
        Action::Promote(_, Some(_)) | Action::DeliverToZombie(_) | Action::TakeBack(_) => None,
        Action::Sell(_) | Action::Begin(_) | Action::Resend(_) | Action::AskStatus(_) => Some(Transition::Do(action)),
        Action::Deliver(_) | Action::Promote(_, None) => Some(Transition::Do(action)),
    };
    actions.into_iter().filter_map(transition).collect()
}

/// Every half that may be forgotten, in this shard as a borrower or as a donor.
fn forgettable(state: &State, transition: &Transition) -> Vec<Action> {
    let mut actions = Vec::new();
    model().possible(state, &mut actions);
    actions.retain(|action| match (action, transition) {
        (Action::ForgetIn(transfer), Transition::ForgetIn(shard)) => transfer.borrower == *shard,
        (Action::ForgetOut(transfer), Transition::ForgetOut(shard)) => transfer.donor == *shard,
        _ => false,
    });
    actions
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self { state: model().first(), said: None }).boxed()
    }

    fn transitions(reference: &Self) -> BoxedStrategy<Transition> {
        let (deliveries, others): (Vec<_>, Vec<_>) = possible(&reference.state)
            .into_iter()
            .partition(|transition| matches!(transition, Transition::Do(Action::Deliver(_))));
        match (deliveries.is_empty(), others.is_empty()) {
            (true, _) => prop::sample::select(others).boxed(),
            (false, true) => prop::sample::select(deliveries).boxed(),
            (false, false) => {
                prop_oneof![3 => prop::sample::select(deliveries), 2 => prop::sample::select(others)].boxed()
            }
        }
    }

    fn preconditions(reference: &Self, transition: &Transition) -> bool {
        match transition {
            Transition::Do(action) => {
                let mut actions = Vec::new();
                model().possible(&reference.state, &mut actions);
                actions.contains(action)
            }
            Transition::ForgetIn(_) | Transition::ForgetOut(_) => !forgettable(&reference.state, transition).is_empty(),
        }
    }

    fn apply(mut reference: Self, transition: &Transition) -> Self {
        let actions = match transition {
            Transition::Do(action) => vec![*action],
            Transition::ForgetIn(_) | Transition::ForgetOut(_) => forgettable(&reference.state, transition),
        };
        reference.said = None;
        for action in actions {
            reference.said = model().perform(&mut reference.state, action);
        }
        reference
    }
}

/// The system under test.
struct Machine {
    runtime: Runtime,
    shards: Shards,
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shards = runtime.block_on(Shards::open(SCOPE.free));
        Self { runtime, shards }
    }

    fn apply(machine: Self, after: &Reference, transition: Transition) -> Self {
        let Self { runtime, shards } = &machine;
        runtime.block_on(async {
            match transition {
                Transition::Do(Action::Sell(shard)) => shards.sell(shard).await,
                Transition::Do(Action::Promote(shard, _)) => shards.promote(shard).await,
                Transition::Do(Action::Begin(borrower)) => shards.begin(borrower, after.said.unwrap()).await,
                Transition::Do(Action::Deliver(message)) => assert_eq!(shards.deliver(message).await, after.said),
                // What is said again is worked out from rows that are compared below.
                Transition::Do(_) => {}
                Transition::ForgetIn(borrower) => shards.forget_in(borrower).await,
                Transition::ForgetOut(donor) => shards.forget_out(donor).await,
            }
        });
        machine
    }

    fn check_invariants(machine: &Self, reference: &Reference) {
        for (number, expected) in (0..).zip(&reference.state.shards) {
            machine.runtime.block_on(machine.shards.check(number, expected));
        }
    }

    /// However it ends, recovery over a network that works closes every half, and every unit is there, and lies where it came.
    fn teardown(machine: Self, _: Reference) {
        let Self { runtime, shards } = machine;
        runtime.block_on(async {
            shards.recover().await;
            let total: u8 = SCOPE.free.iter().sum();
            assert_eq!((shards.open_halves().await, shards.units().await), (0, i64::from(total)));
            let came: Vec<i64> = SCOPE.free.iter().map(|units| i64::from(*units)).collect();
            assert_eq!(shards.lying().await, came, "units are said to lie where they never came");
        });
    }
}

prop_state_machine! {
    #![proptest_config(histories(20))]

    #[test]
    fn the_shards_rows_are_those_of_the_explored_protocol(sequential 1..60 => Machine);
}
