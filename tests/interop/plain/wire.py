"""HTTP and UDP without a client library, so that the bytes on the wire are what the case says."""

import gzip
import http.client
import json
import socket
import sys
import threading
from urllib.parse import quote, urlencode, urlsplit

from harness import USER

BASE = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8848"
HOST, PORT = urlsplit(BASE).hostname, urlsplit(BASE).port
FORM = "application/x-www-form-urlencoded"


class Answer:
    """Status, headers and body of one response."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(f"no JSON: {self}") from None

    def __repr__(self):
        return f"{self.status} {self.body[:200]!r}"


_token_lock = threading.Lock()
_tokens = []


def token():
    """What the server gave for user and password, asked for once; `None` without a user."""
    with _token_lock:
        if USER and not _tokens:
            answer = send("POST", "/nacos/v1/auth/users/login", encode(USER), {"Content-Type": FORM})
            if answer.status != 200:
                raise AssertionError(f"login: {answer}")
            _tokens.append(answer.json["accessToken"])
        return _tokens[0] if _tokens else None


def credentials():
    """The headers that tell who is calling, if somebody has to."""
    return {"accessToken": token()} if USER else {}


def raw(method, target, body=None, headers=None, timeout=40):
    """Sends exactly this target and body, as the user if there is one."""
    return send(method, target, body, {**credentials(), **(headers or {})}, timeout)


def send(method, target, body=None, headers=None, timeout=40):
    """Sends exactly this target, body and headers on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, PORT, timeout=timeout)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def encode(parameters):
    return urlencode({name: value for name, value in parameters.items() if value is not None})


def query(method, path, headers=None, timeout=40, **parameters):
    """Parameters in the query string and no body."""
    text = encode(parameters)
    return raw(method, f"/nacos/v1/{path}" + (f"?{text}" if text else ""), None, headers, timeout)


def form(method, path, headers=None, timeout=40, content_type=FORM, **parameters):
    """Parameters in a form body."""
    headers = {"Content-Type": content_type, **(headers or {})}
    return raw(method, f"/nacos/v1/{path}", encode(parameters), headers, timeout)


def exchange(data, answers):
    """Writes bytes and reads until the server closed or `answers` status lines were seen."""
    with socket.create_connection((HOST, PORT), timeout=10) as connection:
        connection.sendall(data)
        received = b""
        while received.count(b"HTTP/1.1 ") < answers or not received.endswith(b"true"):
            part = connection.recv(65536)
            if not part:
                break
            received += part
        return received


def listening(*entries):
    """The text of `Listening-Configs`: words of an entry as given, three or four of them."""
    return "".join("\x02".join(entry) + "\x01" for entry in entries)


def listen(entries, hold_ms=30000, no_hangup=False, **more):
    headers = {}
    if hold_ms is not None:
        headers["Long-Pulling-Timeout"] = str(hold_ms)
    if no_hangup:
        headers["Long-Pulling-Timeout-No-Hangup"] = "true"
    body = {"Listening-Configs": listening(*entries), **more}
    return form("POST", "cs/configs/listener", headers, **body)


def changed(*entries):
    """The body that tells that these keys changed."""
    return (quote("".join("\x02".join(entry) + "\x01" for entry in entries)) + "\n").encode()


class UdpSubscriber:
    """The receiving side of a 1.x client: lists with a UDP port and reads the pushes."""

    def __init__(self, **parameters):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.parameters = {
            **parameters,
            "udpPort": self.socket.getsockname()[1],
            "clientIP": "127.0.0.1",
        }

    def subscribe(self):
        agent = {"User-Agent": "Nacos-Java-Client:v1.4.8"}
        return query("GET", "ns/instance/list", agent, **self.parameters)

    def receive(self, timeout):
        """A push, its plain size and whether it was compressed; `None` after `timeout` seconds."""
        self.socket.settimeout(timeout)
        try:
            data, self.sender = self.socket.recvfrom(65536)
        except TimeoutError:
            return None
        compressed = data[:2] == b"\x1f\x8b"
        plain = gzip.decompress(data) if compressed else data
        return json.loads(plain), len(plain), compressed

    def acknowledge(self, push):
        answer = {"type": "push-ack", "lastRefTime": str(push["lastRefTime"]), "data": ""}
        self.socket.sendto(json.dumps(answer).encode(), self.sender)

    def close(self):
        self.socket.close()
