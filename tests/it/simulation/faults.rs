//! What breaks: leaders that die or freeze, and targets that are away. One replica and one target at a time.

use rand::Rng as _;

use super::driver::Driver;
use super::{DEPARTMENTS, PATIENCE};
use crate::harness::eventually;

/// What is the matter with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Down {
    Dead,
    Frozen,
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

    async fn mend_replica(&mut self) {
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

    /// Takes a target away, or brings it back.
    pub(super) fn hide_or_bring_back_target(&mut self) {
        let targets = self.stack.folder.path().join("targets");
        if let Some(name) = self.away.take() {
            std::fs::remove_file(targets.join(&name)).expect("remove what stands in its place");
            std::fs::rename(targets.join(format!("{name}-away")), targets.join(&name)).expect("bring the target back");
            return self.told("target back", name);
        }
        let name = format!("t{}", self.random.random_range(1..=3));
        std::fs::rename(targets.join(&name), targets.join(format!("{name}-away"))).expect("hide the target");
        // A file in its place: neither a write under way nor a replica that starts makes an empty directory there.
        std::fs::write(targets.join(&name), "").expect("stand in its place");
        self.told("target away", &name);
        self.away = Some(name);
    }

    /// Brings back everything that is down or away.
    pub(super) async fn mend(&mut self) {
        self.mend_replica().await;
        if self.away.is_some() {
            self.hide_or_bring_back_target();
        }
        for department in DEPARTMENTS {
            eventually("it has a leader", PATIENCE, async || self.leader(department).await).await;
        }
    }

    async fn leader(&self, department: &str) -> Option<String> {
        self.shown(department).await?["leader"]["replica"].as_str().map(ToOwned::to_owned)
    }
}
