//! A listener of `/jobs/events`.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;

/// What a listener has heard and not looked at yet.
#[derive(Debug)]
pub(crate) struct Listener {
    response: reqwest::Response,
    text: String,
    /// The id of the last event.
    pub(crate) last_id: String,
    /// Comments so far.
    pub(crate) comments: usize,
}

impl Client {
    /// Listens to jobs; `query` begins with `?` or is empty.
    pub(crate) async fn listen(&self, query: &str, last_id: Option<&str>) -> Listener {
        let headers: Vec<(&str, &str)> = last_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let response = self.open(&format!("/jobs/events{query}"), &headers).await;
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().expect("be a text");
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        Listener { response, text: String::new(), last_id: String::new(), comments: 0 }
    }
}

impl Listener {
    /// The data of the next event; none when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                self.comments += block.lines().filter(|line| line.starts_with(':')).count();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(data) = field("data:") {
                    field("id:").expect("have an id").clone_into(&mut self.last_id);
                    let data: Value = serde_json::from_str(data).expect("be JSON");
                    assert_eq!(field("event:"), data["kind"].as_str());
                    return Some(data);
                }
            }
            let waited = tokio::time::timeout(Duration::from_secs(40), self.response.chunk()).await;
            // A replica that dies breaks the connection; one that shuts down ends it.
            let chunk = waited.expect("hear something in time").unwrap_or(None)?;
            self.text += std::str::from_utf8(&chunk).expect("be UTF-8");
        }
    }

    /// The events up to the first one that pleases, that one included.
    pub(crate) async fn until(&mut self, pleases: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended after {heard:?}"));
            heard.push(event);
            if heard.last().is_some_and(&pleases) {
                return heard;
            }
        }
    }

    /// Reads on until so many comments have come.
    pub(crate) async fn until_comments(&mut self, count: usize) {
        while self.comments + self.text.lines().filter(|line| line.starts_with(':')).count() < count {
            let waited = tokio::time::timeout(Duration::from_secs(40), self.response.chunk()).await;
            let chunk = waited.expect("hear something in time").expect("go on").expect("not end");
            self.text += std::str::from_utf8(&chunk).expect("be UTF-8");
        }
    }
}
