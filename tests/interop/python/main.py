"""nacos-sdk-python 1.0.0, the HTTP client that most Python services still run on."""

import logging
import os
import sys
import threading
import time
import warnings
from urllib.parse import urlsplit

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
warnings.simplefilter("ignore", DeprecationWarning)

import nacos

import harness
from harness import alone, case, check, equal, eventually, restart_server, unique

BASE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8848"
GROUP = "DEFAULT_GROUP"


class CountingClient(nacos.NacosClient):
    """Counts what is sent, because a client that spins looks fine from its callbacks."""

    def __init__(self, *arguments, **options):
        self.sent = {}
        super().__init__(*arguments, logDir="logs", **options)
        self.set_options(no_snapshot=True)

    def _do_sync_req(self, url, *arguments, **options):
        self.sent[url] = self.sent.get(url, 0) + 1
        return super()._do_sync_req(url, *arguments, **options)

    @property
    def polls(self):
        return self.sent.get("/nacos/v1/cs/configs/listener", 0)


def connect(**options):
    addresses = ",".join(urlsplit(base).netloc for base in BASE.split(","))
    return CountingClient(addresses, **{**harness.USER, **options})


class Watcher:
    """Collects what a config watcher is told."""

    def __init__(self, client, data_id, group=GROUP):
        self.contents = []
        self.client = client
        client.add_config_watcher(data_id, group, self.hear)
        # Its queue lives in a process of its own that would outlive this one.
        if client.process_mgr.shutdown not in harness.CLEANUPS:
            harness.CLEANUPS.append(client.process_mgr.shutdown)

    def hear(self, told):
        self.contents.append(told["content"])

    def expect(self, content, within=10):
        def heard():
            return self.contents and self.contents[-1] == content

        return eventually(heard, within, f"told of {content!r}, but of {self.contents}")[1]


@case
def publish_read_and_remove():
    client, data_id = connect(), unique("python")
    check(client.publish_config(data_id, GROUP, "a=1\n"), "publish")
    equal(client.get_config(data_id, GROUP), "a=1\n", "read")
    check(client.publish_config(data_id, GROUP, "a=2\n", config_type="properties"), "again")
    equal(client.get_config(data_id, GROUP), "a=2\n", "read again")
    equal(client.remove_config(data_id, GROUP), True, "remove")
    equal(client.get_config(data_id, GROUP), None, "read after remove")
    equal(client.remove_config(data_id, GROUP), True, "remove what is absent")


@case
def publish_20_kib_in_the_url():
    client, data_id = connect(), unique("large")
    content = "".join(f"key.{index:05}=value\n" for index in range(1300))
    check(client.publish_config(data_id, GROUP, content), f"publish of {len(content)} bytes")
    equal(client.get_config(data_id, GROUP), content, "content")
    equal(client.remove_config(data_id, GROUP), True, "remove")


@case
def publish_non_ascii():
    client, data_id = connect(), unique("text")
    content = "名称: 配置 ключ ñ 🦀 + & = % \\ \"\n" * 50
    check(client.publish_config(data_id, GROUP, content), "publish")
    equal(client.get_config(data_id, GROUP), content, "content")


@case
def list_configs_of_a_namespace():
    client = connect(namespace=unique("list"))
    for index in range(3):
        check(client.publish_config(f"data.{index}", GROUP, f"content {index}"), "publish")
    found = client.get_configs()
    equal(found["totalCount"], 3, "totalCount")
    contents = {item["dataId"]: item["content"] for item in found["pageItems"]}
    equal(contents, {f"data.{index}": f"content {index}" for index in range(3)}, "items")


@case
def watch_a_missing_config_without_spinning():
    client, data_id = connect(), unique("watch")
    watcher = Watcher(client, data_id)
    time.sleep(4)
    check(client.polls <= 2, f"{client.polls} polls in 4 s before there is a change")
    client.publish_config(data_id, GROUP, "1")
    check(watcher.expect("1") < 3, "told late")
    client.publish_config(data_id, GROUP, "2")
    check(watcher.expect("2") < 3, "told late")
    polls = client.polls
    time.sleep(4)
    check(client.polls - polls <= 2, f"{client.polls - polls} polls in 4 s after the change")
    client.remove_config(data_id, GROUP)
    watcher.expect(None)
    polls = client.polls
    time.sleep(4)
    check(client.polls - polls <= 2, f"{client.polls - polls} polls in 4 s after the removal")


@case
def watch_an_existing_config_through_a_hold():
    client, data_id = connect(), unique("hold")
    client.publish_config(data_id, GROUP, "1")
    watcher = Watcher(client, data_id)
    # It starts without a copy of its own, so the first poll tells of the content it has read.
    time.sleep(33)
    check(2 <= client.polls <= 4, f"{client.polls} polls in 33 s")
    client.publish_config(data_id, GROUP, "2")
    check(watcher.expect("2") < 3, "told late after the first hold")


@case
def two_spellings_of_the_public_namespace():
    data_id = unique("spelling")
    none, public = connect(), connect(namespace="public")
    watchers = [Watcher(none, data_id), Watcher(public, data_id)]
    time.sleep(1)
    none.publish_config(data_id, GROUP, "1")
    for watcher in watchers:
        watcher.expect("1")
    public.publish_config(data_id, GROUP, "2")
    for watcher in watchers:
        watcher.expect("2")
    equal(none.get_config(data_id, GROUP), "2", "read")
    polls = none.polls + public.polls
    time.sleep(3)
    check(none.polls + public.polls - polls <= 2, "a watcher spins")


@case
def watch_many_keys_at_once():
    client, word = connect(), unique("many")
    watchers = [Watcher(client, f"{word}.{index}") for index in range(50)]
    time.sleep(1)
    for index in range(0, 50, 7):
        client.publish_config(f"{word}.{index}", GROUP, f"content {index}")
    for index in range(0, 50, 7):
        watchers[index].expect(f"content {index}", 45)
    told = [index for index, watcher in enumerate(watchers) if any(watcher.contents)]
    equal(told, list(range(0, 50, 7)), "keys told of")


@case
def log_in_with_a_user():
    user = harness.USER or {"username": "nacos", "password": "nacos"}
    client, data_id = connect(**user), unique("user")
    check(client.token, "a token")
    check(client.publish_config(data_id, GROUP, "1"), "publish")
    equal(client.get_config(data_id, GROUP), "1", "read")


@case
def signed_requests():
    client, data_id = connect(ak="key", sk="secret"), unique("signed")
    check(client.publish_config(data_id, GROUP, "1"), "publish")
    equal(client.get_config(data_id, GROUP), "1", "read")
    check(client.add_naming_instance(data_id, "10.1.0.1", 80), "register")


def addresses(client, service, **options):
    hosts = client.list_naming_instance(service, **options)["hosts"]
    return sorted(f"{host['ip']}:{host['port']}" for host in hosts)


@case
def register_list_and_deregister():
    client, service = connect(), unique("service")
    metadata = {"zone": "a", "名": "值"}
    check(client.add_naming_instance(service, "10.1.0.1", 80, "C1", 2.0, metadata), "register")
    check(client.add_naming_instance(service, "10.1.0.2", 80), "register without a cluster")
    equal(addresses(client, service), ["10.1.0.1:80", "10.1.0.2:80"], "list")
    equal(addresses(client, service, clusters="C1"), ["10.1.0.1:80"], "list of a cluster")
    detail = client.get_naming_instance(service, "10.1.0.1", 80, "C1")
    equal((detail["weight"], detail["metadata"]), (2.0, metadata), "detail")
    check(client.remove_naming_instance(service, "10.1.0.1", 80, "C1"), "deregister")
    equal(addresses(client, service), ["10.1.0.2:80"], "list afterwards")


@case
def namespaces_and_groups():
    client, service = connect(namespace=unique("ns")), unique("service")
    check(client.add_naming_instance(service, "10.1.0.1", 80, group_name="G1"), "register")
    equal(addresses(client, service, group_name="G1"), ["10.1.0.1:80"], "in its group")
    equal(addresses(client, service), [], "in another group")
    equal(addresses(connect(), service, group_name="G1"), [], "in another namespace")
    check(client.remove_naming_instance(service, "10.1.0.1", 80, group_name="G1"), "deregister")
    equal(addresses(client, service, group_name="G1"), [], "afterwards")


@case
def modify_and_disable():
    client, service = connect(), unique("modify")
    client.add_naming_instance(service, "10.1.0.1", 80, "C1")
    check(client.modify_naming_instance(service, "10.1.0.1", 80, "C1", 7.5, '{"a":"b"}'), "modify")
    host = client.list_naming_instance(service)["hosts"][0]
    equal((host["weight"], host["metadata"]), (7.5, {"a": "b"}), "host")
    check(client.modify_naming_instance(service, "10.1.0.1", 80, "C1", enable=False), "disable")
    equal(addresses(client, service), [], "a disabled instance is not listed")


@case
def beats_by_hand():
    client, service = connect(), unique("beat")
    client.add_naming_instance(service, "10.1.0.1", 80)
    # It registered with the cluster `None` and beats without one: the same instance.
    answer = client.send_heartbeat(service, "10.1.0.1", 80)
    equal((answer["clientBeatInterval"], answer["code"]), (5000, 10200), "answer")
    equal(len(addresses(client, service)), 1, "instances")
    client.send_heartbeat(service, "10.1.0.9", 80, metadata={"from": "beat"})
    equal(addresses(client, service), ["10.1.0.1:80", "10.1.0.9:80"], "a beat creates")


@case
def automatic_beats_keep_healthy_and_stop():
    client, service = connect(), unique("auto")
    metadata = {"preserved.heart.beat.timeout": "3000", "preserved.ip.delete.timeout": "6000"}
    metadata["preserved.heart.beat.interval"] = "1000"
    client.add_naming_instance(service, "10.1.0.1", 80, metadata=metadata, heartbeat_interval=1)
    time.sleep(8)
    equal(addresses(client, service, healthy_only=True), ["10.1.0.1:80"], "after 8 s of beats")
    client.heartbeats[f"{service}#10.1.0.1#80"].stop()
    eventually(lambda: not addresses(client, service), 25, "gone once the beats stop")


@case
def subscriber_hears_of_changes():
    client, service, events, lock = connect(), unique("subscribe"), [], threading.Lock()

    def hear(event, instance):
        with lock:
            events.append((event, instance.instance["port"]))

    listener = nacos.listener.SubscribeListener(fn=hear, listener_name="test")
    client.subscribe(listener, 1, service)
    client.add_naming_instance(service, "10.1.0.1", 1, "DEFAULT")
    eventually(lambda: client.subscribed_local_manager.get_local_instances(service), 5, "first")
    client.add_naming_instance(service, "10.1.0.1", 2, "DEFAULT")
    eventually(lambda: ("ADDED", 2) in events, 5, f"an added instance: {events}")
    client.modify_naming_instance(service, "10.1.0.1", 2, "DEFAULT", weight=9)
    eventually(lambda: ("MODIFIED", 2) in events, 5, f"a modified instance: {events}")
    count = len(events)
    for _ in range(4):
        client.send_heartbeat(service, "10.1.0.1", 2, "DEFAULT", weight=9)
        time.sleep(1)
    equal(events[count:], [], "events while nothing changes but beats")
    client.remove_naming_instance(service, "10.1.0.1", 2, "DEFAULT")
    eventually(lambda: ("DELETED", 2) in events, 5, f"a removed instance: {events}")
    client.stop_subscribe()


@alone
def life_goes_on_after_a_restart():
    client, data_id, service = connect(), unique("restart"), unique("restart")
    client.publish_config(data_id, GROUP, "before")
    watcher = Watcher(client, data_id)
    client.add_naming_instance(service, "10.1.0.1", 80, heartbeat_interval=1)
    time.sleep(1)
    restart_server()
    eventually(lambda: client.get_config(data_id, GROUP) == "before", 10, "the config is back")
    client.publish_config(data_id, GROUP, "after")
    check(watcher.expect("after", 15), "the watcher hears again")
    eventually(lambda: addresses(client, service) == ["10.1.0.1:80"], 15, "the beats bring it back")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    harness.main()
