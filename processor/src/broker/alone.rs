//! The membership of a process that has its group to itself, on any log.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{GroupToken, Membership, MembershipEvent, Result};

/// The only member of its group, by arrangement. On the embedded log the lock on its directory keeps every other process
/// out; on Kafka nothing does.
pub(super) struct Alone {
    group: Arc<str>,
}

impl Alone {
    pub(super) fn new(group: Arc<str>) -> Self {
        Self { group }
    }
}

impl Membership for Alone {
    fn poll(&mut self, _timeout: Duration) -> Result<MembershipEvent> {
        Ok(MembershipEvent::Alone)
    }

    fn token(&self) -> Result<GroupToken> {
        Ok(GroupToken::alone(self.group.clone()))
    }

    fn leave(&mut self) -> Result<()> {
        Ok(())
    }
}
