//! What every target does, and what its failures say of it.

use super::*;

fn target(url: &str) -> Target {
    let config = TargetConfig::at("one", url);
    Target::open(&config, Duration::from_secs(5), Clock::System).unwrap()
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::from_stored(text.to_owned())
}

#[tokio::test]
async fn an_object_is_written_once_and_never_changed() {
    let dir = tempfile::tempdir().unwrap();
    for url in [format!("file://{}", dir.path().join("a b").display()), "memory:///".to_owned()] {
        let target = target(&url);
        let at = path("departments/eng/1/chunks/ab");
        assert_eq!(target.size(&at).await.unwrap(), None);
        assert!(target.list("departments/eng").await.unwrap().is_empty());
        target.put(&at, Bytes::from_static(b"one")).await.unwrap();
        target.put(&at, Bytes::from_static(b"one")).await.unwrap();
        let other = target.put(&at, Bytes::from_static(b"two")).await;
        assert!(matches!(other, Err(TargetError::Differs { .. })), "{other:?}");
        assert_eq!(target.get(&at).await.unwrap(), "one");
        assert_eq!(target.list("departments/eng").await.unwrap(), vec![at.clone()]);
        assert_eq!(target.size(&at).await.unwrap(), Some(3));
        assert!(target.get(&path("none")).await.is_err_and(|error| error.is_not_found()));
        assert_eq!(target.status().state, TargetState::Ok);
    }
}

#[tokio::test]
async fn a_directory_that_vanished_is_down_and_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("disk");
    let target = target(&format!("file://{}", root.display()));
    std::fs::remove_dir(&root).unwrap();
    assert!(target.put(&path("a/b"), Bytes::from_static(b"x")).await.is_err());
    assert_eq!(target.status().state, TargetState::Down);
    assert!(!root.exists());
    std::fs::create_dir(&root).unwrap();
    target.admit().await.unwrap();
    target.put(&path("a/b"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(target.status().state, TargetState::Ok);
}

#[tokio::test]
async fn a_foreign_target_is_neither_read_nor_written() {
    let target = target("memory:///");
    target.set_state(TargetState::Foreign, None);
    let refused = target.get(&path("a")).await;
    assert!(matches!(refused, Err(TargetError::Failed { state: TargetState::Foreign, .. })));
    assert_eq!(target.status().state, TargetState::Foreign);
}

#[test]
fn the_kind_of_a_failure_says_what_a_person_would_do() {
    for (code, state) in [
        (28, TargetState::Full),
        (122, TargetState::Full),
        (30, TargetState::ReadOnly),
        (13, TargetState::ReadOnly),
        (1, TargetState::ReadOnly),
        (5, TargetState::Down),
    ] {
        assert_eq!(state_of(Act::Write, &std::io::Error::from_raw_os_error(code)), state, "{code}");
    }
}
