"""UDP pushes as a 1.x client hears them: who gets one, what it says, and the resend."""

import contextlib
import json
import time

from harness import case, check, equal, unique
from naming import register, deregister
from wire import UdpSubscriber, query


@contextlib.contextmanager
def subscribed(service, **more):
    subscriber = UdpSubscriber(serviceName=service, **more)
    try:
        equal(subscriber.subscribe().status, 200, "subscribe")
        yield subscriber
    finally:
        subscriber.close()


def next_push(subscriber, within=5):
    """The next push and whether it was compressed; acknowledged."""
    received = subscriber.receive(within)
    check(received, f"no push within {within} s")
    push, compressed = received
    subscriber.acknowledge(push)
    equal(push["type"], "dom", "type")
    return json.loads(push["data"]), compressed


@case
def small_push_in_the_clear():
    service = unique("push")
    register(service, port=1)
    with subscribed(service, clusters="DEFAULT") as subscriber:
        register(service, port=2)
        info, compressed = next_push(subscriber)
        equal(info["name"], f"DEFAULT_GROUP@@{service}", "name")
        equal(info["clusters"], "DEFAULT", "clusters as they were asked for")
        equal(sorted(host["port"] for host in info["hosts"]), [1, 2], "ports")
        check(not compressed, "less than 1 KiB is not compressed")
        before = info["lastRefTime"]
        deregister(service, port=2)
        info, _ = next_push(subscriber)
        equal([host["port"] for host in info["hosts"]], [1], "ports after deregistering")
        check(info["lastRefTime"] >= before, "lastRefTime does not go back")


@case
def large_push_is_compressed():
    service = unique("gzip")
    with subscribed(service) as subscriber:
        for port in range(1, 9):
            register(service, port=port, metadata=json.dumps({"text": "x" * 200}))
        seen, deadline = [], time.monotonic() + 8
        while len(seen) < 8 and time.monotonic() < deadline:
            info, compressed = next_push(subscriber)
            seen = info["hosts"]
        equal(len(seen), 8, "hosts of the last push")
        check(compressed, "1 KiB and more is compressed")


@case
def unacknowledged_push_comes_once_more():
    service = unique("resend")
    with subscribed(service) as subscriber:
        register(service)
        first = subscriber.receive(5)
        check(first, "no push within 5 s")
        start = time.monotonic()
        second = subscriber.receive(14)
        check(second, "no resend within 14 s")
        equal(second[0]["lastRefTime"], first[0]["lastRefTime"], "lastRefTime")
        check(8 < time.monotonic() - start < 13, f"after {time.monotonic() - start:.1f} s")
        subscriber.acknowledge(second[0])


@case
def acknowledged_push_comes_only_once():
    service = unique("once")
    with subscribed(service) as subscriber:
        register(service)
        next_push(subscriber)
        check(subscriber.receive(12) is None, "an acknowledged push came again")


@case
def unknown_agents_are_not_pushed_to():
    service = unique("agent")
    subscriber = UdpSubscriber(serviceName=service)
    agent = {"User-Agent": "curl/8"}
    equal(query("GET", "ns/instance/list", agent, **subscriber.parameters).status, 200, "list")
    register(service)
    check(subscriber.receive(3) is None, "a push to somebody who is no 1.x client")
    subscriber.close()
