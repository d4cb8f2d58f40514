//! Tokens, and the audit records that are written with their effects.

use mongodb::bson::doc;

use super::{NOW, backup, department, drop_database, record, store};
use crate::domain::audit::{AuditAction, AuditFilter, AuditOutcome, AuditRecord};
use crate::domain::backup::Wish;
use crate::domain::clock::Timestamp;
use crate::domain::token::{Revoked, Scope, Token};
use crate::store::{Store, StoreError};

fn token(number: u128) -> Token {
    Token {
        id: uuid::Uuid::from_u128(number).into(),
        name: format!("token {number}").parse().unwrap(),
        scopes: vec![Scope::UsersRead, Scope::AuditRead],
        department: number.is_multiple_of(2).then(department),
        issued_by: "ada".to_owned(),
        issued_with: None,
        issued_at: NOW,
        expires_at: (number == 2).then(|| Timestamp::from_millis(NOW.as_millis() + 1)),
        revoked: None,
    }
}

async fn records(store: &Store, filter: &AuditFilter) -> Vec<AuditRecord> {
    store.audit.list(filter, None, 100).await.unwrap()
}

#[tokio::test]
async fn a_token_is_stored_as_a_hash_listed_newest_first_and_revoked_once() {
    let store = store().await;
    for number in 1..=4 {
        store.tokens.insert(&token(number), &[9; 32], &record(AuditAction::IssueToken)).await.unwrap();
    }
    assert_eq!(store.tokens.list(None, None, 3).await.unwrap(), [token(4), token(3), token(2)]);
    assert_eq!(store.tokens.list(None, Some(&token(2).id), 3).await.unwrap(), [token(1)]);
    assert_eq!(store.tokens.list(Some(&department()), None, 9).await.unwrap(), [token(4), token(2)]);
    assert_eq!(store.tokens.secured(&token(3).id).await.unwrap(), Some((token(3), [9; 32])));

    let revoked = Revoked { by: "bob".to_owned(), at: NOW };
    let revoke = record(AuditAction::RevokeToken);
    store.tokens.revoke(&token(3).id, &revoked, &revoke).await.unwrap();
    let again = store.tokens.revoke(&token(3).id, &revoked, &record(AuditAction::RevokeToken)).await;
    assert!(matches!(again, Err(StoreError::Stale)), "{again:?}");
    assert_eq!(store.tokens.get(&token(3).id).await.unwrap().unwrap().revoked, Some(revoked));
    let only = AuditFilter { actions: vec![AuditAction::RevokeToken], ..AuditFilter::default() };
    assert_eq!(records(&store, &only).await, [revoke], "a second revocation changed nothing");
    drop_database(store).await;
}

#[tokio::test]
async fn an_effect_that_is_refused_leaves_no_record_and_a_record_that_cannot_be_written_no_effect() {
    let store = store().await;
    let (queued, wish) = (backup(), Wish { by: "ada".to_owned(), at: NOW });
    store.backups.insert(&queued).await.unwrap();
    let held = store.kept.hold(&queued.id, &wish, &[], &record(AuditAction::HoldBackup)).await;
    assert!(matches!(held, Err(StoreError::Stale)), "it is not complete");
    assert_eq!(records(&store, &AuditFilter::default()).await, []);

    // A record whose id is taken stands for any that cannot be written.
    let taken = record(AuditAction::IssueToken);
    store.audit.begin(&taken).await.unwrap();
    store.tokens.insert(&token(1), &[9; 32], &taken).await.unwrap_err();
    assert_eq!(store.tokens.get(&token(1).id).await.unwrap(), None);
    let backups = store.database.collection::<mongodb::bson::Document>("backups");
    backups.update_one(doc! {}, doc! { "$set": { "state": "complete" } }).await.unwrap();
    store.kept.hold(&queued.id, &wish, &[], &taken).await.unwrap_err();
    let held = backups.count_documents(doc! { "held": { "$exists": true } }).await.unwrap();
    assert_eq!(held, 0);
    drop_database(store).await;
}

#[tokio::test]
async fn audit_records_are_found_by_each_filter_newest_first_and_page_by_page() {
    let store = store().await;
    let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
    let mut all: Vec<AuditRecord> = Vec::new();
    for number in 0..6_i64 {
        let action = if number % 2 == 0 { AuditAction::HoldBackup } else { AuditAction::StartRestore };
        let department = if number < 3 { Some(department()) } else { None };
        let caller = format!("caller {}", number / 2);
        let record = AuditRecord { at: at(number / 2), department, caller, ..record(action) };
        store.audit.begin(&record).await.unwrap();
        all.push(record);
    }
    all.sort_by(|a, b| (b.at, b.id.as_str()).cmp(&(a.at, a.id.as_str())));
    let all_of = |keep: &dyn Fn(&AuditRecord) -> bool| all.iter().filter(|it| keep(it)).cloned().collect::<Vec<_>>();
    let any = AuditFilter::default;
    assert_eq!(records(&store, &any()).await, all);
    let filter = AuditFilter { department: Some(department()), ..any() };
    assert_eq!(records(&store, &filter).await, all_of(&|it| it.department.is_some()));
    let filter = AuditFilter { caller: Some("caller 1".to_owned()), actions: vec![AuditAction::HoldBackup], ..any() };
    assert_eq!(
        records(&store, &filter).await,
        all_of(&|it| it.caller == "caller 1" && it.action == AuditAction::HoldBackup)
    );
    let filter = AuditFilter { since: Some(at(1)), until: Some(at(2)), ..any() };
    assert_eq!(records(&store, &filter).await, all_of(&|it| it.at == at(1)));

    let mut walked: Vec<AuditRecord> = Vec::new();
    loop {
        let last = walked.last().map(|it| (it.at, it.id.clone()));
        let page = store.audit.list(&AuditFilter { since: Some(at(0)), ..any() }, last.as_ref(), 1).await.unwrap();
        if page.is_empty() {
            break;
        }
        walked.extend(page);
    }
    assert_eq!(walked, all);
    store.audit.settle(&all[0].id, AuditOutcome::Refused).await.unwrap();
    assert_eq!(records(&store, &any()).await[0].outcome, AuditOutcome::Refused);
    drop_database(store).await;
}
