"""The scenario of all clients, with the one that openapi-python-client makes."""

import io
import json
import os
from typing import TypeVar

import httpx

from rollkeeper_client import AuthenticatedClient
from rollkeeper_client.api.backups import start_backup
from rollkeeper_client.api.departments import put_department
from rollkeeper_client.api.restores import apply_restore, start_restore
from rollkeeper_client.api.users import create_user, delete_user, get_user, import_users, list_users, update_user
from rollkeeper_client.models import (
    BackupRequest,
    BackupView,
    DepartmentRequest,
    DepartmentView,
    NewUser,
    PlanView,
    PolicyRequest,
    Problem,
    RestoreFrom,
    RestoreRequest,
    RestoreView,
    UserPage,
    UserPatch,
    UserView,
)
from rollkeeper_client.types import UNSET, File, Unset

T = TypeVar("T")
DEPARTMENT = os.environ["DEPARTMENT"]
CLIENT = AuthenticatedClient(os.environ["ROLLKEEPER_URL"], os.environ["ROLLKEEPER_TOKEN"], raise_on_unexpected_status=True,
                             timeout=httpx.Timeout(90))


def same(found: object, wanted: object, what: str) -> None:
    """Fails unless both are equal."""
    assert found == wanted, f"{what}: {found!r} instead of {wanted!r}"
    print(f"{what}: {found!r}")


def good(kind: type[T], answer: object) -> T:
    """The answer, which has to be of a kind."""
    assert isinstance(answer, kind), answer
    return answer


def etag(rev: str) -> str:
    """An ETag is the revision in quotes."""
    return f'"{rev}"'


def everybody() -> list[str]:
    """The names of all users, page by page."""
    found: list[str] = []
    cursor: str | Unset = UNSET
    while True:
        page = good(UserPage, list_users.sync(client=CLIENT, department=DEPARTMENT, limit=1, cursor=cursor))
        found += [user.name for user in page.items]
        cursor = page.next_cursor
        if isinstance(cursor, Unset):
            return sorted(found)


def changed_and_backed_up() -> tuple[UserView, UserView, BackupView]:
    """Two users, one of them changed, and a backup of both."""
    body = DepartmentRequest(policy=PolicyRequest(backup_every="1h"))
    made = good(DepartmentView, put_department.sync(DEPARTMENT, client=CLIENT, body=body))
    same(made.policy.backup_every, "1h", "department")
    ada = good(UserView, create_user.sync(client=CLIENT, idempotency_key=f'"{DEPARTMENT}-ada"', body=NewUser(
        name="Ada", department=DEPARTMENT, password="correct horse battery staple")))
    line = {"name": "Grace Hopper", "department": DEPARTMENT, "password": "a ship in port"}
    imported = good(File, import_users.sync(client=CLIENT, body=File(payload=io.BytesIO(json.dumps(line).encode()))))
    result = json.loads(imported.payload.read())
    same(result["status"], "created", "import of a line")
    grace = good(UserView, get_user.sync(result["id"], client=CLIENT))
    same(everybody(), ["Ada", "Grace Hopper"], "list")
    patched = good(UserView, update_user.sync(ada.id, client=CLIENT, if_match=etag(ada.rev), body=UserPatch(name="Ada Lovelace")))
    same((patched.name, patched.version), ("Ada Lovelace", 2), "patch with ETag")
    stale = good(Problem, update_user.sync(ada.id, client=CLIENT, if_match=etag(ada.rev), body=UserPatch(locked=True)))
    same((stale.status, stale.code), (412, "stale"), "patch with a stale ETag")
    backup = good(BackupView, start_backup.sync(client=CLIENT, prefer="wait=60", body=BackupRequest(department=DEPARTMENT)))
    same((str(backup.state), backup.records), ("complete", 2), "backup")
    return ada, grace, backup


def main() -> None:
    """Create, list, patch, back up, restore, read errors."""
    ada, grace, backup = changed_and_backed_up()
    same(delete_user.sync_detailed(grace.id, client=CLIENT).status_code, 204, "delete")
    good(UserView, update_user.sync(ada.id, client=CLIENT, body=UserPatch(name="Nobody")))
    body = RestoreRequest(from_=RestoreFrom(backup_id=backup.id))
    planned = good(RestoreView, start_restore.sync(client=CLIENT, prefer="wait=60", body=body))
    plan = good(PlanView, planned.plan)
    same((str(planned.state), plan.creates, plan.updates), ("planned", 1, 1), "restore, planned")
    applied = good(RestoreView, apply_restore.sync(planned.id, client=CLIENT, prefer="wait=60", if_match=etag(plan.hash_)))
    same((str(applied.state), applied.progress.changes_applied), ("complete", 2), "restore, applied")
    same(everybody(), ["Ada Lovelace", "Grace Hopper"], "list after the restore")
    gone = good(Problem, get_user.sync("nobody", client=CLIENT))
    same((gone.status, gone.code), (404, "not_found"), "an error")
    invalid = good(Problem, create_user.sync(client=CLIENT, body=NewUser(name="Eve", department=DEPARTMENT)))
    errors = good(list, invalid.errors)
    same((invalid.status, errors[0].pointer), (422, "/password"), "an error with its field")


main()
