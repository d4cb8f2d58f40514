//! Users as they were at a moment.

use axum::response::Response;
use futures::{StreamExt, TryStreamExt};

use super::wire::{UserPage, UserView};
use crate::api::auth::{require, require_scope};
use crate::api::extract::parameter;
use crate::api::pages::PageRequest;
use crate::api::past::{not_beside, refused};
use crate::api::problem::Problem;
use crate::app::App;
use crate::backup::past::PastError;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{DepartmentName, UserId};
use crate::domain::text::Invalid;
use crate::domain::token::{Caller, Scope};
use crate::domain::user::User;
use crate::domain::window::Moment;
use crate::store::users::UserFilter;

/// Departments that are searched for a user when none is named.
const SEARCHED_MAX: usize = 50;
/// Departments that are searched at the same time.
const SEARCHED_AT_ONCE: usize = 4;
/// Records that one page looks at; a filter that lets few through makes short pages and not long waits.
const LOOKED_AT_MAX: usize = 50_000;

/// `department` without `at`.
pub(super) fn only_with_at() -> Problem {
    let message = "department is only used together with at: an id is unique over all departments.";
    Problem::parameter_invalid("department", Invalid::new("only_with_at", message))
}

/// A user as it was at a moment: in the department that is named, in the one that it is in now, or in whichever had it.
pub(super) async fn user(
    app: &App,
    caller: &Caller,
    id: &UserId,
    department: Option<&str>,
    at: Timestamp,
) -> Result<User, Problem> {
    require_scope(caller, Scope::UsersRead)?;
    let moment = Moment::Time(at);
    let likely = match parameter::<DepartmentName>("department", department)? {
        Some(named) => {
            require(caller, Scope::UsersRead, &named, "department")?;
            let found = look(app, &named, id, moment).await.map_err(|error| refused(error, "at"))?;
            return found.ok_or_else(|| Problem::not_found("user"));
        }
        None => app.store.users.get(id).await?.map(|live| live.department),
    };
    let mut outside = None;
    if let Some(department) = likely.as_ref().filter(|department| caller.sees(department)) {
        match look(app, department, id, moment).await {
            Ok(Some(user)) => return Ok(user),
            Ok(None) => {}
            Err(error @ PastError::Outside(_)) => outside = Some(refused(error, "at")),
            Err(error) => return Err(refused(error, "at")),
        }
    }
    let others: Vec<DepartmentName> =
        visible(app, caller).await?.into_iter().filter(|name| likely.as_ref() != Some(name)).collect();
    let searches = futures::stream::iter(others).map(|department| {
        let (app, id) = (app.clone(), id.clone());
        async move { look(&app, &department, &id, moment).await }
    });
    let mut answers = searches.buffered(SEARCHED_AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Some(user)) => return Ok(user),
            Ok(None) => {}
            Err(error @ PastError::Outside(_)) => {
                outside.get_or_insert_with(|| refused(error, "at"));
            }
            Err(error) => return Err(refused(error, "at")),
        }
    }
    Err(outside.unwrap_or_else(|| Problem::not_found("user")))
}

async fn look(app: &App, department: &DepartmentName, id: &UserId, moment: Moment) -> Result<Option<User>, PastError> {
    let point = app.past.locate(department, moment).await?;
    app.past.user(&point, id).await
}

/// The departments that a caller may see, if they are few enough to be searched.
pub(super) async fn visible(app: &App, caller: &Caller) -> Result<Vec<DepartmentName>, Problem> {
    if let Some(own) = &caller.department {
        return Ok(vec![own.clone()]);
    }
    let names = app.store.departments.names().await?;
    if names.len() > SEARCHED_MAX {
        let message = format!("There are more than {SEARCHED_MAX} departments; name the one that the user was in.");
        return Err(Problem::parameter_invalid("department", Invalid::new("department_required", message)));
    }
    Ok(names)
}

/// A page of the users of one department as they were at a moment.
pub(super) async fn list(
    app: &App,
    filter: &UserFilter,
    at: Timestamp,
    page: PageRequest<(String, String)>,
    after: Option<(DepartmentName, UserId)>,
) -> Result<Response, Problem> {
    let Some(department) = &filter.department else {
        let invalid = Invalid::new("department_required", "at needs department: each has a history of its own.");
        return Err(Problem::parameter_invalid("department", invalid));
    };
    if filter.updated_since.is_some() {
        return Err(not_beside("updated_since", "at"));
    }
    let point = app.past.locate(department, Moment::Time(at)).await.map_err(|error| refused(error, "at"))?;
    let state = app.past.state(&point).await.map_err(|error| refused(error, "at"))?;
    let mut batches = Box::pin(state.users(after.map(|(_, id)| id)));
    let (mut users, mut looked_at, mut last): (Vec<User>, usize, Option<UserId>) = (Vec::new(), 0, None);
    while users.len() < page.read_limit() && looked_at < LOOKED_AT_MAX {
        let batch = batches.try_next().await.map_err(|error| refused(error.into(), "at"))?;
        let Some(batch) = batch else {
            looked_at = 0;
            break;
        };
        looked_at += batch.len();
        last = batch.last().map(|user| user.id.clone()).or(last);
        users.extend(batch.into_iter().filter(|user| passes(filter, user)));
    }
    let key = |user: &User| (user.department.to_string(), user.id.to_string());
    let mut next_cursor = page.cut(&app.auth, &mut users, key);
    if let (None, Some(last), true) = (&next_cursor, last, looked_at >= LOOKED_AT_MAX) {
        next_cursor = Some(page.cursor(&app.auth, &(department.to_string(), last.to_string())));
    }
    let view = UserPage { items: users.iter().map(UserView::from).collect(), next_cursor };
    Ok(page.respond(&view, view.next_cursor.as_deref()))
}

fn passes(filter: &UserFilter, user: &User) -> bool {
    filter.name_prefix.as_ref().is_none_or(|prefix| user.name.as_str().starts_with(prefix.as_str()))
        && filter.locked.is_none_or(|locked| user.locked == locked)
        && filter.ids.as_ref().is_none_or(|ids| ids.contains(&user.id))
}
