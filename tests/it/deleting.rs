//! Deleting a department while another replica still believes that it takes users.

use serde_json::json;

use crate::harness::Stack;
use crate::harness::settings::Settings;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k";

#[tokio::test]
async fn no_user_is_left_in_a_department_that_is_deleted_beside_creates_on_other_replicas() {
    let stack = Stack::start(Settings { replicas: 2, ..Settings::default() }).await;
    stack.department("gone").await;
    let [one, other] = [&stack.replicas[0].client, &stack.replicas[1].client];
    let user = |n: usize| json!({ "department": "gone", "name": format!("n{n}"), "password_hash": HASH });
    // The other replica has seen the department a moment ago, so it believes that it is there.
    let id = other.post("/users", user(0)).await.expect(201).json["id"].as_str().expect("have an id").to_owned();
    other.delete(&format!("/users/{id}")).await.expect(204);
    let creates = async {
        for n in 1.. {
            let answer = other.post("/users", user(n)).await;
            if answer.status != 201 {
                return (n - 1, answer);
            }
            // Gone again at once, so that the department looks empty now and then.
            let id = answer.json["id"].as_str().expect("have an id").to_owned();
            if n % 7 != 0 {
                other.delete(&format!("/users/{id}")).await;
            }
        }
        unreachable!("the numbers do not end")
    };
    let deletes = async {
        loop {
            let answer = one.delete("/departments/gone").await;
            if answer.status == 204 {
                return;
            }
            answer.expect_problem(409, "department_not_empty");
            for user in stack.all_users("gone").await {
                one.delete(&format!("/users/{}", user["id"].as_str().expect("have an id"))).await;
            }
        }
    };
    let ((made, refused), ()) = tokio::join!(creates, deletes);
    refused.expect_field("/department", "unknown_department");
    let left = stack.database().await.collection::<mongodb::bson::Document>("users");
    let count = left.count_documents(mongodb::bson::doc! { "_id.department": "gone" }).await.expect("count");
    assert_eq!(count, 0, "{made} were made");
}
