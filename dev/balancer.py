"""A Service of Kubernetes in small: gives each new connection to an endpoint that is ready, and leaves open ones alone.

Whether an endpoint is ready is asked as its readiness probe says. One that was taken out gets no new connection; those that
it has stay with it until somebody closes them.
"""

import http.client
import itertools
import socket
import threading
import time
import urllib.parse


class Balancer:
    """Listens on a port of its own while the context is open."""

    def __init__(self, probe):
        self.probe = probe
        self._endpoints = {}
        self._lock = threading.Lock()
        self._turn = itertools.count()
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._over.set()
        # Wakes the thread that waits for connections.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def add(self, name, url):
        """Probes an endpoint from now on, and uses it while it is ready."""
        endpoint = Endpoint(url)
        with self._lock:
            self._endpoints[name] = endpoint
        threading.Thread(target=self._watch, args=(endpoint,), daemon=True).start()

    def remove(self, name):
        """Gives the endpoint no more connections."""
        with self._lock:
            self._endpoints.pop(name).removed = True

    def wait_until_ready(self, name, seconds):
        """Waits until connections go to the endpoint."""
        deadline = time.monotonic() + seconds
        while not self._endpoints[name].ready:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} was not ready within {seconds} s")
            time.sleep(0.02)

    def _watch(self, endpoint):
        failures = 0
        while not (self._over.is_set() or endpoint.removed):
            if endpoint.asked(self.probe):
                failures, endpoint.ready = 0, True
            else:
                failures += 1
                if failures >= self.probe["failureThreshold"]:
                    endpoint.ready = False
            self._over.wait(self.probe["periodSeconds"])

    def _accept(self):
        while not self._over.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                ready = [endpoint for endpoint in self._endpoints.values() if endpoint.ready]
            threading.Thread(target=self._connect, args=(client, ready), daemon=True).start()

    def _connect(self, client, ready):
        with client:
            try:
                server = socket.create_connection(ready[next(self._turn) % len(ready)].address)
            except (OSError, ZeroDivisionError):
                # As a node does: it never tries another one.
                return
            with server:
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                up = threading.Thread(target=_pump, args=(client, server), daemon=True)
                up.start()
                _pump(server, client)
                up.join()


class Endpoint:
    """A replica, as the balancer sees it."""

    def __init__(self, url):
        address = urllib.parse.urlsplit(url)
        self.address = (address.hostname, address.port)
        self.ready = False
        self.removed = False

    def asked(self, probe):
        """Whether the probe is answered well, on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=probe.get("timeoutSeconds", 1))
        try:
            connection.request("GET", probe["httpGet"]["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()


def _pump(source, sink):
    """Carries bytes in one direction until its end."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        try:
            end.shutdown(how)
        except OSError:
            pass
