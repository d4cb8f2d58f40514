//! Migrations that another version has applied, or not yet.

use std::process::Command;

use mongodb::bson::{Document, doc};

use crate::doctor::doctor;
use crate::harness::Stack;
use crate::harness::settings::Settings;
use crate::harness::vault::Told;

const TOMORROWS: &str = "0999_of_tomorrow";

fn migrate(stack: &Stack, settings: &Settings) -> Told {
    let config = stack.folder.path().join("migrate.toml");
    Command::new(&settings.binary).arg("migrate").arg("--config").arg(config).output().expect("run the program").into()
}

#[tokio::test]
async fn a_version_runs_with_a_newer_migration_only_where_its_record_says_that_older_ones_may() {
    let settings = Settings::default();
    let mut stack = Stack::prepare(&settings).await;
    let migrations = stack.database().await.collection::<Document>("migrations");
    let newer = doc! { "_id": TOMORROWS, "checksum": "another", "older_versions_run": false };
    migrations.insert_one(newer).await.expect("write the record");
    let refused = migrate(&stack, &settings).expect(2);
    assert!(refused.err.contains(TOMORROWS) && refused.err.contains("newer rollkeeper"), "{}", refused.err);

    let may = doc! { "$set": { "older_versions_run": true } };
    migrations.update_one(doc! { "_id": TOMORROWS }, may).await.expect("change the record");
    migrate(&stack, &settings).expect(0);
    stack.serve(&settings).await;
    stack.create_users("default", 10).await;
    stack.backup("default").await;
}

#[tokio::test]
async fn the_doctor_tells_of_migrations_that_are_missing_and_of_those_of_another_version() {
    let stack = Stack::start(Settings::default()).await;
    doctor(&stack, |text| text).expect("mongodb", "migrations", "ok", "all");
    let migrations = stack.database().await.collection::<Document>("migrations");
    migrations.delete_one(doc! { "_id": "0007_idempotency" }).await.expect("delete the record");
    doctor(&stack, |text| text).expect("mongodb", "migrations", "warning", "1 not applied");
    migrations.insert_one(doc! { "_id": TOMORROWS, "checksum": "another" }).await.expect("write a record");
    let report = doctor(&stack, |text| text);
    assert_eq!(report.find("mongodb", "migrations")[0]["state"], "failed", "{:#}", report.json);
}
