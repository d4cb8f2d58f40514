//! Tests of hashing and verifying: what runs at the same time, and that the same is computed for whoever is asked about.

use super::*;
use argon2::{Argon2, PasswordVerifier, password_hash::phc};

fn hasher(queue: usize) -> Hasher {
    let mut config = HttpConfig { hash_concurrency: Some(1), hash_queue: queue, ..HttpConfig::default() };
    config.argon2.memory_kib = 64;
    Hasher::new(&config).unwrap()
}

#[tokio::test]
async fn a_made_hash_verifies_with_the_stock_verifier_and_passes_our_own_check() {
    let hash = hasher(1).hash("correct horse".into()).await.unwrap();
    assert!(check_hash(hash.expose()).is_ok());
    let parsed = phc::PasswordHash::new(hash.expose()).unwrap();
    assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
    assert!(Argon2::default().verify_password(b"wrong", &parsed).is_err());
}

#[tokio::test]
async fn a_full_queue_answers_503_with_retry_after() {
    let hasher = hasher(0);
    let _busy = Arc::clone(&hasher.permits).acquire_owned().await.unwrap();
    assert_eq!(hasher.hash("x".into()).await.unwrap_err().status(), 503);
    assert_eq!(hasher.verify("x".into(), None).await.unwrap_err().status(), 503);
    assert_eq!(hasher.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_same_is_computed_for_a_right_and_a_wrong_password_and_for_nobody() {
    let hasher = hasher(1);
    let hash = hasher.hash("correct horse".into()).await.unwrap();
    let unaffordable = PasswordHash::from_checked(hash.expose().replace("m=64", "m=4194304"));
    let mut done = Vec::new();
    for (password, hash) in [
        ("correct horse", Some(&hash)),
        ("wrong", Some(&hash)),
        ("correct horse", None),
        ("correct horse", Some(&unaffordable)),
    ] {
        let before = hasher.work.load(Ordering::Relaxed);
        let verdict = hasher.verify(password.into(), hash).await.unwrap();
        let work = hasher.work.load(Ordering::Relaxed) - before;
        assert_eq!(work, verdict.work);
        done.push((verdict.right, work));
    }
    let each = 64 * 2;
    assert_eq!(done, [(true, each), (false, each), (false, each), (false, each)]);
}

#[tokio::test]
async fn the_zeros_of_the_hash_that_stands_for_nobody_are_no_way_in() {
    // Even a password whose hash it were is wrong.
    let verdict = hasher(1).verify("anything".into(), None).await.unwrap();
    assert!(!verdict.right && !verdict.outdated);
}
