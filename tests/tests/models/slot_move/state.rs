//! The slot's row on each shard, the control row, and who coordinates.

/// A shard's place in the scope: there are two.
pub(crate) type ShardNo = usize;

/// Orders of the slot, a bit each.
pub(crate) type Orders = u8;

/// The slot's row on one shard, in `slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    /// Never here, redirected away, or fenced off: nothing of an older or equal move may begin here.
    Moved,
    Importing,
    /// All is here, nothing is accepted yet.
    Copied,
    Owner,
    Frozen,
}

/// One shard's part in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    pub(crate) row: Row,
    /// Of the row; rises with every step of a move but the copying.
    pub(crate) epoch: u8,
    /// The slot's orders as this shard has them; each holds one unit.
    pub(crate) orders: Orders,
    /// This shard's allotment counts the held units of the slots it answers for.
    pub(crate) reserved: i32,
    /// A write under way: it has seen the row and holds its share lock.
    pub(crate) writing: Option<u8>,
}

impl Shard {
    pub(crate) fn is(&self, row: Row, epoch: u8) -> bool {
        self.row == row && self.epoch == epoch
    }

    pub(crate) fn becomes(&mut self, row: Row, epoch: u8) {
        (self.row, self.epoch) = (row, epoch);
    }

    pub(crate) fn commit(&mut self, write: u8) {
        self.orders |= 1 << write;
        self.reserved += 1;
    }
}

/// A move as the control schema keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Move {
    pub(crate) from: ShardNo,
    pub(crate) to: ShardNo,
    pub(crate) epoch: u8,
}

/// A coordinator's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Import,
    ReadBulk,
    WriteBulk(Orders),
    Freeze,
    ReadDelta,
    WriteDelta(Orders),
    Own,
    Flip,
    Retire,
    Fence,
    Thaw,
    Finish,
}

/// A process that carries out a move, perhaps long after another has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Coordinator {
    pub(crate) of: Move,
    pub(crate) step: Step,
}

/// The whole system, about one slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) shards: [Shard; 2],
    /// The slot map: epoch and owner.
    pub(crate) map: (u8, ShardNo),
    /// The latest move, and whether it was finished or aborted.
    pub(crate) planned: Option<Move>,
    pub(crate) finished: bool,
    pub(crate) coordinators: [Option<Coordinator>; 2],
    /// Writes that shoppers were told of.
    pub(crate) acked: Orders,
    pub(crate) writes: u8,
}

impl State {
    /// Shard 0 owns the slot.
    pub(crate) fn new() -> Self {
        let away = Shard { row: Row::Moved, epoch: 0, orders: 0, reserved: 0, writing: None };
        Self {
            shards: [Shard { row: Row::Owner, epoch: 1, ..away }, away],
            map: (1, 0),
            planned: None,
            finished: true,
            coordinators: [None, None],
            acked: 0,
            writes: 0,
        }
    }

    pub(crate) fn owners(&self) -> usize {
        self.shards.iter().filter(|shard| shard.row == Row::Owner).count()
    }

    /// Who answers for the slot's rows now: its owner, or while there is none, who was it last.
    pub(crate) fn authority(&self) -> Option<&Shard> {
        let of = |row| self.shards.iter().find(|shard| shard.row == row);
        of(Row::Owner).or_else(|| of(Row::Frozen))
    }
}
