"""A small client of the HTTP API; each thread has a connection of its own, which stays open."""

import http.client
import json
import threading
import urllib.parse

from procs import Failed


class Client:
    """Talks to one replica."""

    def __init__(self, url, token):
        self.host = urllib.parse.urlsplit(url).netloc
        self.token = token
        self._local = threading.local()

    def status(self, path):
        """Status of a GET; 0 when nobody answers."""
        try:
            return self.call("GET", path)[0]
        except OSError:
            return 0

    def get(self, path, accept_errors=False):
        """The JSON of a GET; None for an error if those are accepted."""
        try:
            status, answer = self.call("GET", path)
        except OSError as error:
            if accept_errors:
                return None
            raise Failed(f"GET {path}: {error}") from error
        if status != 200:
            if accept_errors:
                return None
            raise Failed(f"GET {path} answered {status}: {answer.decode(errors='replace')}")
        return json.loads(answer)

    def send(self, method, path, body=None, kind="application/json", headers=None):
        """Sends a change; returns the answer's JSON, or its bytes if it is something else."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            status, answer = self.call(method, path, data, {**({"Content-Type": kind} if data else {}), **(headers or {})})
        except OSError as error:
            raise Failed(f"{method} {path}: {error}") from error
        if status >= 300:
            raise Failed(f"{method} {path} answered {status}: {answer.decode(errors='replace')}")
        try:
            return json.loads(answer) if answer else None
        except ValueError:
            return answer

    def call(self, method, path, data=None, headers=None):
        """One request; returns status and body."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, data, {"Authorization": f"Bearer {self.token}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._local.connection = None
            raise error if isinstance(error, OSError) else ConnectionError(str(error)) from error

    def users(self):
        """All users by id, page by page."""
        found, query = {}, {"limit": 1000}
        while True:
            page = self.get("/users?" + urllib.parse.urlencode(query))
            found.update((user["id"], user) for user in page["items"])
            if not page.get("next_cursor"):
                return found
            query["cursor"] = page["next_cursor"]
