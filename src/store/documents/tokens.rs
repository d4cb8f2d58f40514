//! The tokens document. It holds a hash of the secret, which nothing but a comparison reads.

use mongodb::bson::{Document, doc};

use super::{Fields, binary, date, opt_date};
use crate::domain::ids::{DepartmentName, TokenId};
use crate::domain::token::{ENDED_KEPT_FOR, Revoked, Scope, Token};
use crate::store::StoreError;

/// A token as stored.
pub(in crate::store) fn token_document(token: &Token, hash: &[u8; 32]) -> Document {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
    doc! {
        "_id": token.id.as_str(),
        "name": token.name.as_str(),
        "hash": binary(hash),
        "scopes": scopes,
        "department": token.department.as_ref().map(DepartmentName::as_str),
        "issued_by": &token.issued_by,
        "issued_with": token.issued_with.as_ref().map(TokenId::as_str),
        "issued_at": date(token.issued_at),
        "expires_at": opt_date(token.expires_at),
        "forgotten_at": opt_date(token.expires_at.map(|end| end.later_by(ENDED_KEPT_FOR))),
    }
}

/// Reads a token. A scope that this version does not know, of a newer one beside it, opens nothing here.
pub(in crate::store) fn read_token(document: &Document) -> Result<Token, StoreError> {
    let fields = Fields::of("tokens", document);
    let revoked = |fields: &Fields<'_>, field: &str| {
        let revoked = fields.sub(field)?;
        Ok(Revoked { by: revoked.owned("by")?, at: revoked.time("at")? })
    };
    let scopes = fields.texts("scopes", |name| Some(name.parse::<Scope>().ok()))?;
    Ok(Token {
        id: fields.parsed("_id")?,
        name: fields.parsed("name")?,
        scopes: scopes.into_iter().flatten().collect(),
        department: fields.opt("department", Fields::parsed)?,
        issued_by: fields.owned("issued_by")?,
        issued_with: fields.opt("issued_with", Fields::parsed)?,
        issued_at: fields.time("issued_at")?,
        expires_at: fields.opt("expires_at", Fields::time)?,
        revoked: fields.opt("revoked", revoked)?,
    })
}

/// Reads a token with the hash of its secret.
pub(in crate::store) fn read_secured(document: &Document) -> Result<(Token, [u8; 32]), StoreError> {
    Ok((read_token(document)?, Fields::of("tokens", document).hash("hash")?))
}
