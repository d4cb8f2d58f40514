//! Leaderships that are handed over, and a replica id that two processes have.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_leadership_that_is_handed_over_goes_to_the_replica_that_was_named() {
    let scene = Scene::new(&["sales"], None).await;
    let replicas = ["a", "b", "c", "d"].map(|id| scene.replica(id));
    for replica in &replicas {
        replica.sees(4).await;
    }
    let mut old = leader(&replicas, "sales").await;
    for _ in 0..6 {
        let before = old.leadership("sales");
        let next = replicas.iter().rfind(|replica| replica.id != old.id).unwrap();
        let begun = Instant::now();
        old.cluster.hand_over(&before, &next.id);
        assert!(next.leads("sales").await > before.epoch);
        assert!(begun.elapsed() < Duration::from_millis(500), "took {:?}", begun.elapsed());
        assert_eq!(old.acts("sales"), None);
        old = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leadership_that_is_handed_over_to_a_replica_that_is_gone_is_taken_by_another() {
    let scene = Scene::new(&["sales"], None).await;
    let replicas = ["a", "b"].map(|id| scene.replica(id));
    for replica in &replicas {
        replica.sees(2).await;
    }
    let old = leader(&replicas, "sales").await;
    let before = old.leadership("sales");
    old.cluster.hand_over(&before, &"gone".parse().unwrap());
    let other = replicas.iter().find(|replica| replica.id != old.id).unwrap();
    assert!(other.leads("sales").await > before.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_id_waits_until_the_first_one_is_gone() {
    let scene = Scene::new(&["sales"], None).await;
    let first = scene.replica("a");
    let before = first.leads("sales").await;
    let second = scene.replica("a");
    let third = scene.replica("b");
    third.sees(2).await;
    assert_eq!((first.acts("sales"), second.acts("sales")), (Some(before), None));
    first.cluster.drain(Duration::from_secs(5)).await;
    eventually(|| (second.cluster.view().session == SessionState::Connected).then_some(())).await;
}
