//! The primary is killed while clients write.

use std::time::Instant;

use super::load::Load;
use super::start;

#[tokio::test]
async fn no_acknowledged_write_is_lost_or_doubled_when_the_primary_is_killed() {
    let (stack, mut members) = start().await;
    let load = Load::on(&stack).await;
    load.during(async {
        load.goes_on().await;
        let primary = members.until_primary().await;
        members.kill(primary);
        let took = load.served_again("killed", Instant::now()).await;
        load.goes_on().await;
        members.bring_back().await;
        load.goes_on().await;
        eprintln!("killed: served again after {took:.1?}");
    })
    .await;
    load.holds(&stack).await;
}
