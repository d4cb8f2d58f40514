//! Changes of MongoDB's primary: a member that stands, and a primary that is killed or frozen.
//!
//! What was not acknowledged meanwhile may be there or not; what was acknowledged is.

use mongodb::bson::doc;
use rand::Rng as _;
use tokio::runtime::Handle;

use super::MEMBERS;
use super::driver::Driver;

impl Driver {
    /// Lets another member become the primary while things go on, or brings back the one that is down.
    pub(super) async fn change_primary(&mut self) {
        if self.members.any_down() || self.standing.is_some() {
            return self.mend_primary().await;
        }
        let Some(primary) = self.members.primary().await else { return };
        let how = self.random.random_range(0..4);
        match how {
            0 | 1 => {
                let next = (primary + 1 + self.random.random_range(0..MEMBERS - 1)) % MEMBERS;
                let admin = self.members.admin(next).await;
                // One that is not caught up is refused, and then nothing happens.
                let stand = async move { drop(admin.run_command(doc! { "replSetStepUp": 1 }).await) };
                self.standing = Some(Handle::current().spawn(stand));
                self.told("primary steps down", format_args!("{} for {}", primary + 1, next + 1));
            }
            2 => {
                self.members.kill(primary);
                self.told("primary dead", primary + 1);
            }
            _ => {
                self.members.freeze(primary);
                self.told("primary frozen", primary + 1);
            }
        }
        if self.random.random() {
            // Nothing else happens before there is a new one.
            self.members.until_primary().await;
        }
    }

    /// Brings back the member that is down, and waits for a primary.
    pub(super) async fn mend_primary(&mut self) {
        if let Some(standing) = self.standing.take() {
            standing.await.expect("stand");
        }
        self.members.until_primary().await;
        for n in self.members.bring_back().await {
            self.told("member back", n + 1);
        }
        self.members.until_primary().await;
    }
}
