//! The lines of an import and their results.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::run::OnTaken;
use crate::api::extract::not_null;
use crate::api::problem::{FieldProblem, Problem};
use crate::domain::ids::UserId;

/// How an import deals with its lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// What becomes of a line whose id or name is taken: `fail` (default), `skip` or `replace`.
    #[param(inline, value_type = Option<OnTaken>)]
    pub(super) on_conflict: Option<String>,
    /// Department of lines that name none; absent means `default`.
    pub(super) department: Option<String>,
}

/// One line of an import: the record format of exports and backups, or a password instead of the hash.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// Absent means a fresh UUIDv7.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) id: Option<String>,
    /// Absent means that of the request.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) department: Option<String>,
    /// Unique in the department.
    pub(super) name: String,
    /// Password to hash.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, value_type = Option<String>)]
    pub(super) password: Option<SecretString>,
    /// Ready hash.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) password_hash: Option<String>,
    /// Default false.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    pub(super) locked: Option<bool>,
    /// As exported; every write has a new one.
    #[serde(default, rename = "rev")]
    #[schema(value_type = Option<String>, nullable = false)]
    _rev: Option<serde::de::IgnoredAny>,
    /// As exported; every id counts for itself.
    #[serde(default, rename = "version")]
    #[schema(value_type = Option<i64>, nullable = false)]
    _version: Option<serde::de::IgnoredAny>,
    /// As exported; it is kept.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, format = DateTime)]
    pub(super) created_at: Option<String>,
    /// As exported; it becomes the time of the import.
    #[serde(default, rename = "updated_at")]
    #[schema(value_type = Option<String>, nullable = false)]
    _updated_at: Option<serde::de::IgnoredAny>,
}

impl std::fmt::Debug for ImportLine {
    /// Only the id: a line may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportLine").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What became of one line.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportResult {
    /// Number of the line, from 1; empty lines count and have no result.
    pub line: u64,
    /// Id of the user, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    /// What was done.
    pub status: ImportStatus,
    /// Why the line failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<ImportError>,
}

/// What was done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportStatus {
    /// A record was made.
    Created,
    /// A record was there and was replaced.
    Replaced,
    /// A record was there and stays.
    Skipped,
    /// The record was there, as the line says; a line with a plain password is never compared.
    Unchanged,
    /// Nothing was written.
    Failed,
}

/// Why a line failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportError {
    /// Stable machine-readable code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Every field of the line that is not valid.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

impl ImportResult {
    /// A line that was dealt with.
    pub(super) fn done(line: u64, id: &UserId, status: ImportStatus) -> Self {
        Self { line, id: Some(id.to_string()), status, error: None }
    }

    /// A line of which nothing was written.
    pub(super) fn failed(line: u64, id: Option<&UserId>, problem: &Problem) -> Self {
        let error = ImportError {
            code: problem.code_str().to_owned(),
            message: problem.detail().to_owned(),
            errors: problem.errors().to_vec(),
        };
        Self { line, id: id.map(ToString::to_string), status: ImportStatus::Failed, error: Some(error) }
    }
}
