//! What breaks: leaders that die or freeze, and targets that are away or hang. One replica and one target at a time.

use std::path::PathBuf;

use rand::Rng as _;

use super::driver::Driver;
use super::{DEPARTMENTS, HANGS_FOR, PATIENCE};
use crate::harness::buckets::{Bucket, server};
use crate::harness::eventually;
use crate::harness::hanging::{end_hang, hang};
use crate::harness::proxy::{Mode, Proxy};

/// What is the matter with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Down {
    Dead,
    Frozen,
}

/// What is the matter with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    Hidden,
    Hangs,
}

/// The third target: a bucket, behind a proxy that takes it away.
#[derive(Debug)]
pub(super) struct Third {
    bucket: Bucket,
    proxy: Proxy,
}

impl Third {
    const NAME: &str = "t3";

    pub(super) async fn make() -> Self {
        Self { bucket: Bucket::make().await, proxy: Proxy::before(&server()).await }
    }

    /// The target in the configuration.
    pub(super) fn target(&self) -> String {
        self.bucket.target_through(Self::NAME, &self.proxy.address())
    }
}

impl Driver {
    /// Takes the leader of a department down, or brings back the replica that is down.
    pub(super) async fn break_or_mend_replica(&mut self) {
        if self.down.is_some() {
            return self.mend_replica().await;
        }
        let department = self.department();
        let Some(id) = self.leader(department).await else { return };
        let how = if self.random.random() { Down::Dead } else { Down::Frozen };
        match how {
            Down::Dead => self.stack.replica(&id).kill(),
            Down::Frozen => self.stack.replica(&id).freeze(),
        }
        self.down = Some((id.clone(), how));
        self.told(&format!("{how:?}").to_lowercase(), format_args!("{id}, leader of {department}"));
        if self.random.random() {
            // Back before anybody has noticed.
            return self.mend_replica().await;
        }
        eventually("another replica leads", PATIENCE, async || {
            self.leader(department).await.filter(|leader| *leader != id)
        })
        .await;
    }

    pub(super) async fn mend_replica(&mut self) {
        let Some((id, how)) = self.down.take() else { return };
        match how {
            Down::Dead => self.stack.replica(&id).restart(),
            Down::Frozen => self.stack.replica(&id).thaw(),
        }
        let client = self.stack.replica(&id).client.clone();
        eventually("it is ready again", PATIENCE, async || {
            let answer = client.try_send(reqwest::Method::GET, "/readyz", &[], None).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        self.told("back", id);
    }

    /// Takes a target away, lets it hang, or brings it back.
    pub(super) async fn take_or_bring_back_target(&mut self) {
        if self.away.is_some() {
            return self.bring_back_target().await;
        }
        let name = format!("t{}", self.random.random_range(1..=3));
        let target = self.target(&name);
        let how = if self.random.random() { Away::Hidden } else { Away::Hangs };
        match how {
            Away::Hidden if name == Third::NAME => self.third.proxy.set(Mode::Cut),
            Away::Hangs if name == Third::NAME => self.third.proxy.set(Mode::Blackhole),
            Away::Hidden => {
                std::fs::rename(&target, self.target(&format!("{name}-away"))).expect("hide the target");
                // A file in its place: neither a write under way nor a replica that starts makes an empty directory there.
                std::fs::write(&target, "").expect("stand in its place");
            }
            Away::Hangs => hang(&target),
        }
        self.told(&format!("target {how:?}").to_lowercase(), &name);
        self.away = Some((name, how));
    }

    async fn bring_back_target(&mut self) {
        let Some((name, how)) = self.away.take() else { return };
        let target = self.target(&name);
        match how {
            _ if name == Third::NAME => self.third.proxy.set(Mode::Pass),
            Away::Hidden => {
                std::fs::remove_file(&target).expect("remove what stands in its place");
                std::fs::rename(self.target(&format!("{name}-away")), &target).expect("bring the target back");
            }
            Away::Hangs => {
                // A frozen replica does not notice that its time is over.
                self.mend_replica().await;
                end_hang(&target, HANGS_FOR).await;
            }
        }
        self.told("target back", name);
    }

    fn target(&self, name: &str) -> PathBuf {
        self.stack.folder.path().join("targets").join(name)
    }

    /// Brings back everything that is down or away.
    pub(super) async fn mend(&mut self) {
        self.mend_primary().await;
        self.mend_replica().await;
        self.bring_back_target().await;
        for department in DEPARTMENTS {
            eventually("it has a leader", PATIENCE, async || self.leader(department).await).await;
        }
    }

    /// The leader of a department, if it has one.
    pub(super) async fn leader(&self, department: &str) -> Option<String> {
        self.shown(department).await?["leader"]["replica"].as_str().map(ToOwned::to_owned)
    }
}
