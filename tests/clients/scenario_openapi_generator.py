"""The scenario of all clients, with the one that openapi-generator makes for Python."""

import os
from collections.abc import Callable

from rollkeeper_generated import (
    ApiClient,
    ApiException,
    BackupRequest,
    BackupsApi,
    BackupView,
    Configuration,
    DepartmentRequest,
    DepartmentsApi,
    NewUser,
    PolicyRequest,
    Problem,
    RestoreFrom,
    RestoreRequest,
    RestoresApi,
    UserPatch,
    UsersApi,
    UserView,
)

DEPARTMENT = os.environ["DEPARTMENT"]
CLIENT = ApiClient(Configuration(host=os.environ["ROLLKEEPER_URL"], access_token=os.environ["ROLLKEEPER_TOKEN"]))
USERS = UsersApi(CLIENT)


def same(found: object, wanted: object, what: str) -> None:
    """Fails unless both are equal."""
    assert found == wanted, f"{what}: {found!r} instead of {wanted!r}"
    print(f"{what}: {found!r}")


def refused(request: Callable[[], object]) -> Problem:
    """The problem that a request is refused with."""
    try:
        request()
    except ApiException as error:
        assert isinstance(error.data, Problem), error
        return error.data
    raise AssertionError("the request was not refused")


def etag(rev: str) -> str:
    """An ETag is the revision in quotes."""
    return f'"{rev}"'


def everybody() -> list[str]:
    """The names of all users, page by page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = USERS.list_users(department=DEPARTMENT, limit=1, cursor=cursor)
        found += [user.name for user in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return sorted(found)


def changed_and_backed_up() -> tuple[UserView, UserView, BackupView]:
    """Two users, one of them changed, and a backup of both."""
    made = DepartmentsApi(CLIENT).put_department(DEPARTMENT, DepartmentRequest(policy=PolicyRequest(backup_every="1h")))
    same(made.policy.backup_every, "1h", "department")
    ada = USERS.create_user(NewUser(name="Ada", department=DEPARTMENT, password="correct horse battery staple"),
                            idempotency_key=f'"{DEPARTMENT}-ada"')
    grace = USERS.create_user(NewUser(name="Grace Hopper", department=DEPARTMENT, password="a ship in port"))
    same(everybody(), ["Ada", "Grace Hopper"], "list")
    patched = USERS.update_user(ada.id, UserPatch(name="Ada Lovelace"), if_match=etag(ada.rev))
    same((patched.name, patched.version), ("Ada Lovelace", 2), "patch with ETag")
    stale = refused(lambda: USERS.update_user(ada.id, UserPatch(locked=True), if_match=etag(ada.rev)))
    same((stale.status, stale.code), (412, "stale"), "patch with a stale ETag")
    backup = BackupsApi(CLIENT).start_backup(BackupRequest(department=DEPARTMENT), prefer="wait=60")
    same((backup.state.value, backup.records), ("complete", 2), "backup")
    return ada, grace, backup


def main() -> None:
    """Create, list, patch, back up, restore, read errors."""
    ada, grace, backup = changed_and_backed_up()
    USERS.delete_user(grace.id)
    USERS.update_user(ada.id, UserPatch(name="Nobody"))
    restores = RestoresApi(CLIENT)
    planned = restores.start_restore(RestoreRequest(var_from=RestoreFrom(backup_id=backup.id)), prefer="wait=60")
    plan = planned.plan
    assert plan is not None
    same((planned.state.value, plan.creates, plan.updates), ("planned", 1, 1), "restore, planned")
    applied = restores.apply_restore(planned.id, etag(plan.hash), prefer="wait=60")
    same((applied.state.value, applied.progress.changes_applied), ("complete", 2), "restore, applied")
    same(everybody(), ["Ada Lovelace", "Grace Hopper"], "list after the restore")
    gone = refused(lambda: USERS.get_user("nobody"))
    same((gone.status, gone.code), (404, "not_found"), "an error")
    invalid = refused(lambda: USERS.create_user(NewUser(name="Eve", department=DEPARTMENT)))
    assert invalid.errors
    same((invalid.status, invalid.errors[0].pointer), (422, "/password"), "an error with its field")


main()
