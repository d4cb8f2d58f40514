//! Lines whose record is there already, as the line says: a file that is sent again changes nothing and is no error.
//!
//! Rule: only ready hashes are compared. A plain password is hashed with a new salt, so no import tells whether somebody has it.

use std::collections::{BTreeMap, HashMap};

use super::run::Record;
use crate::app::App;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::user::User;
use crate::store::StoreError;
use crate::store::users::UserFilter;

/// The live records that stand where lines of a batch wanted to be.
#[derive(Default)]
pub(super) struct Live {
    users: HashMap<UserId, User>,
    holders: HashMap<(DepartmentName, String), UserId>,
}

impl Live {
    /// Reads them for the lines of one batch: by id, and by name where a line has no id.
    pub(super) async fn of(app: &App, taken: &[&Record]) -> Result<Self, StoreError> {
        if taken.is_empty() {
            return Ok(Self::default());
        }
        let users = &app.store.users;
        let mut names: BTreeMap<&DepartmentName, Vec<String>> = BTreeMap::new();
        for record in taken.iter().filter(|record| !record.own_id) {
            names.entry(&record.user.department).or_default().push(record.user.name.as_str().to_owned());
        }
        let mut holders = HashMap::new();
        for (department, names) in names {
            let held = users.holders_of(department, &names).await?;
            holders.extend(held.into_iter().map(|(name, id)| ((department.clone(), name), id)));
        }
        let own = taken.iter().filter(|record| record.own_id).map(|record| record.user.id.clone());
        let ids: Vec<UserId> = own.chain(holders.values().cloned()).collect();
        let (limit, filter) = (ids.len(), UserFilter { ids: Some(ids), ..UserFilter::default() });
        let found = users.list(&filter, None, limit).await?;
        Ok(Self { users: found.into_iter().map(|user| (user.id.clone(), user)).collect(), holders })
    }

    /// Leaves a record out that a line of the batch has replaced since.
    pub(super) fn forget(&mut self, id: &UserId) {
        self.users.remove(id);
    }

    /// The live record that is what a line says; what the line does not say does not count.
    pub(super) fn same(&self, record: &Record) -> Option<&UserId> {
        let wanted = &record.user;
        let id = if record.own_id {
            &wanted.id
        } else {
            self.holders.get(&(wanted.department.clone(), wanted.name.as_str().to_owned()))?
        };
        let live = self.users.get(id)?;
        let same = live.department == wanted.department
            && live.name == wanted.name
            && live.password_hash == wanted.password_hash
            && live.locked == wanted.locked
            && (!record.own_created_at || live.created_at == wanted.created_at);
        same.then_some(&live.id)
    }
}
