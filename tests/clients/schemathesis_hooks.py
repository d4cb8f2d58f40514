"""What schemathesis cannot know of the service, for `make clients`.

A request that the document allows may be refused for what no schema can say. The check below is stricter than a list of
statuses: each refusal needs a code of this table, and each code has its reason.
"""

import ast
import itertools
import re
import threading

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation

# Codes of problems, and of their fields, with the reason why no schema says it.
REFUSALS = {
    "not_found": "which things there are",
    "unknown_department": "which departments there are",
    "unknown_replica": "which replicas there are",
    "invalid_cursor": "cursors are signed",
    "cursor_mismatch": "a cursor belongs to a filter",
    "missing_credential": "one of two fields is needed; `oneOf` beside fields is more than generators can read",
    "two_credentials": "the same",
    "invalid_from": "the same, of four fields",
    "two_ends": "the same",
    "not_combinable": "parameters that exclude each other",
    "only_with_at": "parameters that need each other",
    "department_required": "the same",
    "invalid_password": "a limit in bytes, and schemas count characters",
    "invalid_password_hash": "five formats, and limits of what computing them may cost",
    "invalid_backup_every": "a range of durations",
    "invalid_keep_within": "a range of durations",
    "invalid_lifetime": "a range of moments from now on",
    "outside_recovery_window": "what the history holds",
    "not_confirmed": "the name in the path once more",
    "department_fixed": "the present department of a user",
    "backup_not_complete": "the state of a backup",
    "stale": "the present ETag",
    "idempotency_key_reused": "what was sent before",
}


@schemathesis.check
def refusals_are_for_what_no_schema_says(_ctx, response, case):
    """A request that keeps to the document is refused only with a code that the table has."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or not 400 <= response.status_code < 500:
        return
    if response.status_code in (401, 403, 405, 409, 429):
        return
    problem = response.json()
    fields = [error["code"] for error in problem.get("errors", [])]
    codes = fields if problem["code"] == "invalid" and fields else [problem["code"]]
    unknown = [code for code in codes if code not in REFUSALS]
    assert not unknown, f"{case.method} {case.path} keeps to the document and was refused: {unknown}: {problem['detail']}"


# Of api::idempotency::key; a key that is to be refused stays as it is.
GOOD_KEY = re.compile(r'("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~]{1,255})')
FRESH = itertools.count()
TURN = itertools.count()
TAG = '"8c5f0a3b2d1e4f60"'
SEND = requests.adapters.HTTPAdapter.send


def send_with_fresh_key(adapter, request, *arguments, **named):
    """A key belongs to one request: generated ones come again, and all but the first request would be refused."""
    key = request.headers.get("Idempotency-Key")
    if isinstance(key, str) and GOOD_KEY.fullmatch(key):
        request.headers["Idempotency-Key"] = f'"{id(FRESH)}-{next(FRESH)}"'
    return SEND(adapter, request, *arguments, **named)


# On the wire: a case that is changed is judged anew, and loses what it was made for.
requests.adapters.HTTPAdapter.send = send_with_fresh_key


def with_good_tags(case, positive):
    """In one of its phases schemathesis makes values of headers out of letters and digits only; where the document wants more
    it takes a number, and takes it for a good value."""
    headers, any_tag = case.headers or {}, not case.operation.path.endswith("/apply")
    for name in ("If-Match", "If-None-Match"):
        if str(headers.get(name)) == "0":
            headers[name] = "*" if any_tag else TAG
        # Nobody guesses the ETag of a record.
        elif positive and name in headers and any_tag and next(TURN) % 2:
            del headers[name]


def with_one_of_each(body, path_parameters):
    """Of fields that exclude each other one, and one where one is needed; schemas do not say which those are."""
    if "password" in body and "password_hash" in body:
        del body["password_hash"]
    if "expires_at" in body and "lifetime" in body:
        del body["expires_at"]
    if "confirm" in body:
        body["confirm"] = path_parameters["department"]
    source = body.get("from")
    if isinstance(source, dict):
        others = ["department", "at", "sequence"] if "backup_id" in source else ["at"] if "sequence" in source else []
        for field in others:
            source.pop(field, None)


@schemathesis.hook
def map_case(_context, case):
    """Lets cases come further into the service; some are left as they are, for the refusals."""
    if case.meta is None:
        return case
    positive = case.meta.generation.mode.is_positive
    at = getattr(case.meta.phase.data, "parameter_location", None)
    if positive or at in (ParameterLocation.BODY, ParameterLocation.QUERY, ParameterLocation.PATH):
        with_good_tags(case, positive)
    if not positive or next(TURN) % 4 == 0:
        return case
    # Cursors are signed: one that was made up is refused, and nothing else of the request is looked at. Those of answers are
    # longer.
    if len(str((case.query or {}).get("cursor", ""))) in range(1, 40):
        del case.query["cursor"]
    if isinstance(case.body, dict):
        with_one_of_each(case.body, case.path_parameters or {})
        if case.operation.label == "POST /users" and "password_hash" not in case.body:
            case.body.setdefault("password", "correct horse battery staple")
    return case


@schemathesis.hook
def filter_case(_context, case):
    """A body without any line cannot be told from none, and is a good import of nobody."""
    return not (case.operation.path == "/users/import" and not isinstance(case.body, (str, bytes)))


@schemathesis.serializer("application/x-ndjson")
def lines(_ctx, value):
    """Lines of JSON are sent as they are."""
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


# Python up to 3.12 fails when two threads make syntax trees at the same time ("AST constructor recursion depth mismatch"), and
# hypothesis reads the source of its lambdas that way.
PARSING = threading.Lock()
PARSE = ast.parse


def parse_alone(*arguments, **named):
    """`ast.parse`, one thread at a time."""
    with PARSING:
        return PARSE(*arguments, **named)


ast.parse = parse_alone
