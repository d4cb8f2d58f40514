//! The users of a run: the same ones each time, with international names and hashes that look like real ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use mongodb::bson::{DateTime, RawDocumentBuf, rawdoc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rollkeeper::domain::clock::Timestamp;
use rollkeeper::domain::user::{PasswordHash, Rev, User, UserName};
use serde_json::Value;

/// The department that is backed up and restored.
pub(crate) const DEPARTMENT: &str = "default";
/// The moment that the first user was created at; each later one came a little after the one before.
const BEGAN_MILLIS: u64 = 1_700_000_000_000;

/// A user as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    department: &'static str,
    pub(crate) name: String,
    password_hash: String,
    rev: i64,
    version: i64,
    created_at: i64,
}

impl Person {
    /// The document of the `users` collection.
    pub(crate) fn document(&self) -> RawDocumentBuf {
        let created = DateTime::from_millis(self.created_at);
        let updated = DateTime::from_millis(self.created_at + (self.version - 1) * 1000);
        rawdoc! {
            "_id": { "department": self.department, "id": self.id.as_str() },
            "name": self.name.as_str(),
            "password_hash": self.password_hash.as_str(),
            "locked": false,
            "rev": self.rev,
            "version": self.version,
            "created_at": created,
            "updated_at": updated,
        }
    }

    /// The record as the library has it.
    pub(crate) fn user(&self) -> User {
        User {
            id: self.id.parse().expect("be an id"),
            department: self.department.parse().expect("be a name"),
            name: UserName::from_stored(self.name.clone()),
            password_hash: PasswordHash::from_checked(self.password_hash.clone()),
            locked: false,
            rev: Rev::from_bits(self.rev.cast_unsigned()),
            version: self.version,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.created_at + (self.version - 1) * 1000),
        }
    }

    /// The body of a POST that creates a user like this one.
    pub(crate) fn body(&self) -> String {
        let Self { id, department, name, password_hash, .. } = self;
        serde_json::json!({ "id": id, "department": department, "name": name, "password_hash": password_hash })
            .to_string()
    }

    /// The same user under another name, as a later write leaves it.
    pub(crate) fn renamed(&self, chance: &mut StdRng) -> Self {
        let name = format!("{} {}", self.name, chance.random_range(0..1000));
        Self { name, rev: chance.random(), version: self.version + 1, ..self.clone() }
    }
}

/// Makes users of a department, sorted by id; those of another seed have other ids and names.
pub(crate) fn people(department: &'static str, count: usize, seed: u64) -> Vec<Person> {
    let mut chance = StdRng::seed_from_u64(seed);
    let names: Vec<String> = include_str!("../../dev/sample-users.ndjson")
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["name"].as_str().map(str::to_owned))
        .collect();
    let begin = BEGAN_MILLIS + seed * 100_000_000_000;
    (0..count)
        .map(|n| {
            let millis = begin + n as u64 * 37;
            let name = &names[chance.random_range(0..names.len())];
            Person {
                id: uuid::Builder::from_unix_timestamp_millis(millis, &chance.random()).into_uuid().to_string(),
                department,
                name: format!("{name} {}", n as u64 * 10 + seed),
                password_hash: hash(&mut chance),
                rev: chance.random(),
                version: 1,
                created_at: i64::try_from(millis).unwrap_or_default(),
            }
        })
        .collect()
}

/// One in a hundred of them, anywhere.
pub(crate) fn one_percent(people: &[Person], seed: u64) -> Vec<Person> {
    let mut chance = StdRng::seed_from_u64(seed);
    let picked = rand::seq::index::sample(&mut chance, people.len(), people.len() / 100).into_vec();
    picked.into_iter().map(|at| people[at].renamed(&mut chance)).collect()
}

/// A hash with random salt and output: what a backup cannot compress.
fn hash(chance: &mut StdRng) -> String {
    let (salt, output): ([u8; 16], [u8; 32]) = (chance.random(), chance.random());
    let encode = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", encode(&salt), encode(&output))
}
