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
    """What the next push says; it is acknowledged. From 1 KiB on it must be compressed."""
    received = subscriber.receive(within)
    check(received, f"no push within {within} s")
    push, size, compressed = received
    subscriber.acknowledge(push)
    equal(push["type"], "dom", "type")
    equal(compressed, size >= 1024, f"compression of {size} bytes")
    return json.loads(push["data"])


@case
def pushes_small_and_large():
    service = unique("push")
    with subscribed(service, clusters="DEFAULT") as subscriber:
        register(service, port=1)
        info = next_push(subscriber)
        equal(info["name"], f"DEFAULT_GROUP@@{service}", "name")
        equal(info["clusters"], "DEFAULT", "clusters as they were asked for")
        equal([host["port"] for host in info["hosts"]], [1], "ports")
        before = info["lastRefTime"]
        register(service, port=2, metadata=json.dumps({"text": "x" * 1000}))
        info = next_push(subscriber)
        equal(sorted(host["port"] for host in info["hosts"]), [1, 2], "ports")
        deregister(service, port=2)
        info = next_push(subscriber)
        equal([host["port"] for host in info["hosts"]], [1], "ports after deregistering")
        check(info["lastRefTime"] >= before, "lastRefTime does not go back")


def comes_twice(service, **instance):
    """A push that is never acknowledged comes a second time after ten seconds, and no third time."""
    # It is not to turn unhealthy meanwhile, which would be a push of its own.
    patient = {"preserved.heart.beat.timeout": "90000", "preserved.ip.delete.timeout": "120000"}
    metadata = json.dumps({**patient, **instance})
    with subscribed(service) as subscriber:
        register(service, metadata=metadata)
        start, received, times = time.monotonic(), [], []
        while time.monotonic() - start < 34:
            # Lists go on, more often than a client makes them: who stays away is forgotten.
            equal(subscriber.subscribe().status, 200, "list")
            push = subscriber.receive(4)
            if push:
                received.append(push)
                times.append(time.monotonic() - start)
                # An acknowledgement of something else is none of this.
                subscriber.acknowledge({"lastRefTime": 0})
        equal(len(received), 2, f"pushes after {times}")
        equal(received[1], received[0], "the same again")
        check(9.5 < times[1] - times[0] < 12, f"pushes after {times}")
        return received[0]


@case
def unacknowledged_push_comes_once_more():
    _, size, compressed = comes_twice(unique("resend"))
    check(size < 1024 and not compressed, f"{size} bytes")


@case
def unacknowledged_large_push_comes_once_more():
    _, size, compressed = comes_twice(unique("resend"), text="x" * 1000)
    check(size >= 1024 and compressed, f"{size} bytes")


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
