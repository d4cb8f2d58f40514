//! The end of a replica that was asked to end.

use crate::harness::Stack;
use crate::harness::settings::Settings;

#[tokio::test]
async fn a_replica_that_is_told_to_end_waits_for_all_its_tasks_and_cuts_none_off() {
    let mut stack = Stack::start(Settings::default()).await;
    let replica = stack.replica("r1");
    assert!(replica.stop().success());
    let log = replica.log();
    assert!(log.contains("\"ended\"") && !log.contains("cut off"), "{log}");
}
