//! The primary hangs: its connections stay open, and nothing answers on them.

use std::time::Instant;

use super::load::Load;
use super::start;

#[tokio::test]
async fn no_acknowledged_write_is_lost_or_doubled_when_the_primary_hangs_and_wakes_up_deposed() {
    let (stack, mut members) = start().await;
    let load = Load::on(&stack).await;
    load.during(async {
        load.goes_on().await;
        let primary = members.until_primary().await;
        members.freeze(primary);
        let took = load.served_again("frozen", Instant::now()).await;
        load.goes_on().await;
        // What it was sent before it hung, it carries out now, for nobody.
        members.bring_back().await;
        load.goes_on().await;
        eprintln!("frozen: served again after {took:.1?}");
    })
    .await;
    load.holds(&stack).await;
}
