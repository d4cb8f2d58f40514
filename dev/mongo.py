"""Just enough BSON and OP_MSG to initiate a replica set: there is no MongoDB shell to be had."""

import socket
import struct
import time

OP_MSG = 2013


def initiate(port, deadline_seconds=60):
    """Makes the mongod at `port` a replica set of one member, and waits until it accepts writes."""
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    wanted = {"_id": "rs0", "members": [member]}
    deadline = time.monotonic() + deadline_seconds
    asked = False
    while time.monotonic() < deadline:
        try:
            if not asked:
                command(port, {"replSetInitiate": wanted, "$db": "admin"})
                asked = True
            if command(port, {"hello": 1, "$db": "admin"}).get("isWritablePrimary"):
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError("mongod did not become primary")


def command(port, document):
    """Sends one command and returns the answer."""
    body = struct.pack("<IB", 0, 0) + encode(document)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, OP_MSG) + body)
        length = struct.unpack("<i", _receive(connection, 4))[0]
        answer = _receive(connection, length - 4)
    # After the length: request id, response to, operation; then flags and the kind of the only section.
    return decode(answer[12 + 5:])


def encode(document):
    """BSON of a dictionary of dictionaries, lists, texts and small numbers."""
    parts = b"".join(_element(str(key), value) for key, value in document.items())
    return struct.pack("<i", len(parts) + 5) + parts + b"\0"


def _element(key, value):
    name = key.encode() + b"\0"
    if isinstance(value, bool):
        return b"\x08" + name + (b"\1" if value else b"\0")
    if isinstance(value, int):
        return b"\x10" + name + struct.pack("<i", value)
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return b"\x02" + name + struct.pack("<i", len(text)) + text
    if isinstance(value, list):
        return b"\x04" + name + encode(dict(enumerate(value)))
    return b"\x03" + name + encode(value)


def decode(data):
    """The dictionary that `data` is the BSON of; values of kinds that we never ask for come as bytes."""
    document, at = {}, 4
    while data[at] != 0:
        kind, end = data[at], data.index(0, at + 1)
        key = data[at + 1:end].decode()
        value, at = _value(kind, data, end + 1)
        document[key] = value
    return document


def _value(kind, data, at):
    fixed = {0x01: "<d", 0x08: "<?", 0x09: "<q", 0x10: "<i", 0x11: "<Q", 0x12: "<q"}
    if kind in fixed:
        size = struct.calcsize(fixed[kind])
        return struct.unpack_from(fixed[kind], data, at)[0], at + size
    if kind == 0x07:
        return data[at:at + 12], at + 12
    if kind == 0x0A:
        return None, at
    length = struct.unpack_from("<i", data, at)[0]
    if kind == 0x02:
        return data[at + 4:at + 3 + length].decode(), at + 4 + length
    if kind in (0x03, 0x04):
        return decode(data[at:at + length]), at + length
    if kind == 0x05:
        return data[at + 5:at + 5 + length], at + 5 + length
    raise ValueError(f"unexpected BSON kind {kind:#x}")


def _receive(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("mongod closed the connection")
        data += piece
    return data
