//! The places at which a core can be told to die.

/// The variable by which a core is told; in the words of the crate `fail`.
pub(super) const VARIABLE: &str = "FAILPOINTS";

/// A place in a core. The names are those of the core's own list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failpoint {
    /// How it is asked for.
    pub(crate) name: &'static str,
    /// What a core that dies there has done, and what it has not.
    pub(crate) says: &'static str,
}

const fn place(name: &'static str, says: &'static str) -> Failpoint {
    Failpoint { name, says }
}

impl Failpoint {
    pub(crate) const ALL: [Self; 8] = [
        place("store.commit.before", "a transaction has written everything and is not committed"),
        place("store.commit.after", "a transaction is committed, and nobody in the core knows"),
        place(
            "events.publish.before",
            "events took effect or are to go to brokers, and those whom that concerns have not been told",
        ),
        place(
            "events.publish.after",
            "events took effect or lie with the brokers, and those whom that concerns were told",
        ),
        place("writer.statement.before", "orders are decided from memory, and the statement is not sent"),
        place("writer.statement.after", "the statement has written the orders, and no shopper was told"),
        place("writer.commit.before", "orders are decided and written under locks, and not committed"),
        place("writer.commit.after", "orders decided under locks are committed, and no shopper was told"),
    ];

    /// The place of that name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|place| place.name == name);
        named.ok_or_else(|| "no core has this place; --list-failpoints names all".to_owned())
    }

    /// What a core is told that is to die when it comes there for that time, from 1.
    pub(super) fn crash_at(self, pass: u32) -> String {
        format!("{}={}*off->1*return(crash)", self.name, pass.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_have_these_places_and_no_others() {
        assert_eq!(Failpoint::ALL.map(|place| place.name).as_slice(), region_core_store::FAILPOINTS);
    }

    #[test]
    fn a_place_is_found_by_its_name_and_no_other() {
        for place in Failpoint::ALL {
            assert_eq!(Failpoint::parse(place.name), Ok(place));
        }
        assert!(Failpoint::parse("store.commit").is_err());
    }
}
