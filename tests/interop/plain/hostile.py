"""Requests that no client should send: each gets an answer or a closed connection, none a hang."""

import socket
import time

from harness import case, check, equal, unique
from wire import HOST, PORT, credentials, exchange, query, raw


def status_lines(data, within=15):
    """The status codes answered to raw bytes until the server closes or falls silent."""
    with socket.create_connection((HOST, PORT), timeout=within) as connection:
        connection.sendall(data)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            return None
        except ConnectionResetError:
            pass
        lines = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
        return [int(line.split()[1]) for line in lines]


@case
def pipelined_requests_are_all_answered():
    body = f"dataId={unique('pipe')}&group=G&content=1".encode()
    user = "".join(f"{name}: {value}\r\n" for name, value in credentials().items())
    request = (
        b"POST /nacos/v1/cs/configs HTTP/1.1\r\nHost: a\r\n" + user.encode() +
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    received = exchange(request * 3, 3)
    equal(received.count(b"HTTP/1.1 200"), 3, "answers")
    equal(received.count(b"true"), 3, "bodies")


@case
def a_head_without_end_is_refused():
    data = b"GET /nacos/v1/ns/operator/metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200000
    codes = status_lines(data)
    check(codes is not None, "the connection was left open")
    check(all(400 <= code < 500 for code in codes), f"answers {codes}")


@case
def length_and_chunks_together_are_refused():
    data = (
        b"POST /nacos/v1/cs/configs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
    )
    codes = status_lines(data)
    equal(codes, [400], "answers")


@case
def nonsense_is_refused():
    codes = status_lines(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n")
    check(codes is not None, "the connection was left open")
    check(all(code == 400 for code in codes), f"answers {codes}")


@case
def a_slow_head_is_given_up():
    start = time.monotonic()
    codes = status_lines(b"GET /nacos/v1/ns/operator/metrics HTTP/1.1\r\nHost: a\r\n", 20)
    check(codes is not None, "still open after 20 s")
    check(time.monotonic() - start > 1, "closed before a slow client had a chance")


@case
def other_methods_on_known_paths():
    answer = raw("TRACE", "/nacos/v1/cs/configs?dataId=a&group=b")
    check(answer.status in (400, 404, 405, 501), f"TRACE: {answer}")


@case
def broken_escapes_are_not_an_error_of_the_server():
    for target in ["?dataId=%zz&group=%", "?dataId=%ff%fe&group=G", "?dataId=%00&group=G"]:
        answer = raw("GET", "/nacos/v1/cs/configs" + target)
        check(400 <= answer.status < 500, f"{target}: {answer}")
    equal(query("GET", "ns/operator/metrics").status, 200, "the server goes on")
