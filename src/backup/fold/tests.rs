//! Tests of folds: what is spilled reads as what is held.

use super::*;
use crate::backup::testing::{golden_repository, user};
use crate::domain::clock::Timestamp;

fn numbered(n: i64, change: Change) -> Numbered {
    Numbered { sequence: Sequence(n), time: Timestamp::from_millis(n), change }
}

fn locks() -> String {
    r#"{"updateDescription":{"updatedFields":{"locked":true}}}"#.to_owned()
}

async fn folded(bytes_max: usize, changes: Vec<Change>) -> Arc<Folded> {
    let mut folding = Folding::holding(&golden_repository(), bytes_max);
    for (n, change) in (1..).zip(changes) {
        folding.add(vec![numbered(n, change)]).await.unwrap();
    }
    Arc::new(folding.finish().await.unwrap())
}

async fn all(folded: &Arc<Folded>, after: Option<UserId>) -> Vec<(UserId, Left)> {
    let (mut reader, mut entries) = (folded.read(after), Vec::new());
    loop {
        let taken = reader.take(None, 3).await.unwrap();
        let last = taken.len() < 3;
        entries.extend(taken);
        if last {
            return entries;
        }
    }
}

#[tokio::test]
async fn what_is_spilled_reads_as_what_is_held() {
    let changes: Vec<Change> = (0..400_u32)
        .map(|n| match n % 5 {
            3 => Change::Delete(user(n * 7 % 60).id),
            4 => Change::Patch(user(1000 + n * 7 % 60).id, locks()),
            _ => Change::Put(user(n * 7 % 60)),
        })
        .collect();
    let held = folded(usize::MAX, changes.clone()).await;
    let spilled = folded(4000, changes).await;
    assert!(matches!(&*spilled, Folded::Spilled(_, runs) if runs.len() > 10));
    assert_eq!(all(&spilled, None).await, all(&held, None).await);
    for (id, left) in all(&held, None).await {
        assert_eq!(spilled.get(&id).await.unwrap(), Some(left));
    }
    assert_eq!(spilled.get(&user(500).id).await.unwrap(), None);
    let middle = Some(user(31).id);
    assert_eq!(all(&spilled, middle.clone()).await, all(&held, middle.clone()).await);
    let (mut one, mut other) = (held.read(None), spilled.read(None));
    let through = user(20).id;
    let (one, other) = (one.take(Some(&through), 99).await.unwrap(), other.take(Some(&through), 99).await.unwrap());
    assert_eq!(one, other);
    assert!(spilled.touches(None, &user(20).id) && held.touches(None, &user(20).id));
    assert!(
        !held.touches(Some(&user(2000).id), &user(3000).id) && !spilled.touches(Some(&user(2000).id), &user(3000).id)
    );
}

#[tokio::test]
async fn a_foreign_write_waits_for_the_record_that_it_was_made_to() {
    let folded = folded(
        usize::MAX,
        vec![Change::Patch(user(1).id, locks()), Change::Put(user(2)), Change::Patch(user(2).id, locks())],
    )
    .await;
    let mut entries = all(&folded, None).await;
    let (_, second) = entries.pop().unwrap();
    assert!(matches!(second.what, What::Put(user) if user.locked));
    let (_, first) = entries.pop().unwrap();
    assert!(first.clone().over(Some(user(1))).unwrap().unwrap().locked);
    assert_eq!(first.over(None), Err(Unreadable(Sequence(1))));
}
