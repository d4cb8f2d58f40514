//! Counts what is done to a target: how long it takes, how it fails, how many bytes go.

use std::sync::Arc;
use std::time::Instant;

use super::error::state_name;
use super::target::{Act, Target};
use super::{TargetError, Targets};
use crate::domain::copies::TargetState;
use crate::telemetry::Metrics;

impl Targets {
    /// Counts from now on into these metrics; only the first ones count.
    pub fn count_into(&self, metrics: &Arc<Metrics>) {
        for target in self.iter() {
            metrics.begin_target(target.name().as_str());
            let _ = target.meter.set(Arc::clone(metrics));
        }
    }
}

impl Act {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Target {
    fn label(&self) -> std::borrow::Cow<'static, str> {
        self.name().to_string().into()
    }

    /// Notes an operation that has ended.
    pub(super) fn count(&self, act: Act, began: Instant, error: Option<&TargetError>) {
        let Some(metrics) = self.meter.get() else { return };
        metrics.targets.duration.observe([self.label(), act.name().into()], began.elapsed());
        let state = match error {
            Some(TargetError::Failed { state, .. }) => *state,
            Some(TargetError::Timeout { .. }) => TargetState::Slow,
            _ => return,
        };
        metrics.targets.failures.inc([self.label(), state_name(state).into()]);
    }

    /// Notes bytes that have gone.
    pub(super) fn count_bytes(&self, act: Act, bytes: usize) {
        let Some(metrics) = self.meter.get() else { return };
        metrics.targets.bytes.add([self.label(), act.name().into()], u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
