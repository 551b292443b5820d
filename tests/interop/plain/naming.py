"""Services and instances over bare HTTP: register, beat, list, update, expire, remove."""

import json
import time

from harness import alone, case, check, equal, eventually, restart_server, unique
from wire import form, query

BEAT_PATH = "ns/instance/beat"


def register(service, ip="10.0.0.1", port=8080, **more):
    answer = form("POST", "ns/instance", serviceName=service, ip=ip, port=port, **more)
    equal((answer.status, answer.text), (200, "ok"), "register")


def deregister(service, ip="10.0.0.1", port=8080, **more):
    answer = query("DELETE", "ns/instance", serviceName=service, ip=ip, port=port, **more)
    equal((answer.status, answer.text), (200, "ok"), "deregister")


def listed(service, **more):
    answer = query("GET", "ns/instance/list", serviceName=service, **more)
    equal(answer.status, 200, f"list: {answer}")
    return answer.json


def addresses(service, **more):
    return sorted(f"{host['ip']}:{host['port']}" for host in listed(service, **more)["hosts"])


@case
def register_list_and_deregister():
    service = unique("plain")
    metadata = json.dumps({"zone": "a", "名": "值"})
    register(service, weight="2.5", metadata=metadata, clusterName="C1", namespaceId="public")
    found = listed(service, clusters="C1", groupName="DEFAULT_GROUP")
    equal(found["name"], f"DEFAULT_GROUP@@{service}", "name")
    equal((found["clusters"], found["cacheMillis"]), ("C1", 10000), "clusters and cacheMillis")
    equal((found["groupName"], found["valid"]), ("DEFAULT_GROUP", True), "groupName and valid")
    equal((found["allIPs"], found["reachProtectionThreshold"]), (False, False), "flags")
    check(isinstance(found["checksum"], str) and found["lastRefTime"] > 0, "checksum, lastRefTime")
    equal(len(found["hosts"]), 1, "hosts")
    expected = {
        "ip": "10.0.0.1",
        "port": 8080,
        "weight": 2.5,
        "healthy": True,
        "enabled": True,
        "ephemeral": True,
        "clusterName": "C1",
        "serviceName": f"DEFAULT_GROUP@@{service}",
        "metadata": {"zone": "a", "名": "值"},
        "instanceHeartBeatInterval": 5000,
        "instanceHeartBeatTimeOut": 15000,
        "ipDeleteTimeout": 30000,
        "instanceId": f"10.0.0.1#8080#C1#DEFAULT_GROUP@@{service}",
    }
    host = found["hosts"][0]
    equal({name: host.get(name) for name in expected}, expected, "host")
    equal(addresses(service, clusters="C2"), [], "another cluster")
    deregister(service, clusterName="C1")
    equal(addresses(service), [], "after deregistering")
    deregister(service, clusterName="C1")


@case
def a_service_nobody_knows_is_empty():
    found = listed(unique("unknown"), clusters="A,B")
    equal((found["hosts"], found["clusters"]), ([], "A,B"), "list")


@case
def groups_in_the_name_and_beside_it():
    service = unique("group")
    register(f"G1@@{service}")
    equal(addresses(service, groupName="G1"), ["10.0.0.1:8080"], "group beside the name")
    equal(addresses(f"G1@@{service}"), ["10.0.0.1:8080"], "group in the name")
    equal(addresses(service), [], "another group")
    deregister(service, groupName="G1")
    equal(addresses(f"G1@@{service}"), [], "after deregistering")


@case
def namespaces_are_apart():
    service, namespace = unique("apart"), unique("ns")
    register(service, namespaceId=namespace)
    equal(addresses(service), [], "public")
    equal(addresses(service, namespaceId=namespace), ["10.0.0.1:8080"], "its own")
    deregister(service, namespaceId=namespace)


@case
def parameters_in_query_or_body_of_any_method():
    service = unique("body")
    answer = query("POST", "ns/instance", serviceName=service, ip="10.0.0.2", port=1, weight=1)
    equal((answer.status, answer.text), (200, "ok"), "register by query")
    beat = {"ip": "10.0.0.2", "port": 1, "serviceName": f"DEFAULT_GROUP@@{service}"}
    answer = form("PUT", BEAT_PATH, serviceName=service, beat=json.dumps(beat))
    equal(answer.json["code"], 10200, "beat by form")
    answer = form("DELETE", "ns/instance", serviceName=service, ip="10.0.0.2", port=1)
    equal((answer.status, answer.text), (200, "ok"), "deregister by form")
    equal(addresses(service), [], "after deregistering")


@case
def spellings_of_true_and_false():
    service = unique("flags")
    register(service, port=1, enable="True", ephemeral="True", healthy="true")
    register(service, port=2, enabled="false")
    register(service, port=3, enable="n")
    equal(addresses(service), ["10.0.0.1:1"], "disabled instances are not listed")
    register(service, port=3, enable="y", clusterName="None")
    equal(addresses(service), ["10.0.0.1:1", "10.0.0.1:3"], "enabled again")


@case
def update_and_detail():
    service = unique("update")
    register(service, metadata="k=v")
    answer = query("GET", "ns/instance", serviceName=service, ip="10.0.0.1", port=8080)
    detail = answer.json
    equal((detail["ip"], detail["port"], detail["metadata"]), ("10.0.0.1", 8080, {"k": "v"}), "get")
    equal((detail["clusterName"], detail["weight"]), ("DEFAULT", 1.0), "cluster and weight")
    more = {"weight": 5, "metadata": '{"k":"w"}'}
    answer = query("PUT", "ns/instance", serviceName=service, ip="10.0.0.1", port=8080, **more)
    equal((answer.status, answer.text), (200, "ok"), "update")
    host = listed(service)["hosts"][0]
    equal((host["weight"], host["metadata"]), (5.0, {"k": "w"}), "after the update")
    answer = query("GET", "ns/instance", serviceName=service, ip="10.0.0.9", port=1)
    equal(answer.status, 404, "detail of an unknown instance")


@case
def bad_registrations_are_refused():
    good = {"serviceName": unique("bad"), "ip": "10.0.0.1", "port": 8080}
    for name, value in [
        ("serviceName", None),
        ("ip", None),
        ("port", None),
        ("port", "70000"),
        ("port", "x"),
        ("weight", "-1"),
        ("weight", "10001"),
        ("clusterName", "a b"),
        ("serviceName", "a b"),
    ]:
        answer = form("POST", "ns/instance", **{**good, name: value})
        equal(answer.status, 400, f"register with {name}={value!r}")
    equal(addresses(good["serviceName"]), [], "nothing was registered")


@case
def beats_of_known_and_unknown_instances():
    service = unique("beat")
    key = {"serviceName": service, "ip": "10.0.0.1", "port": 8080}
    light = query("PUT", BEAT_PATH, **key)
    equal((light.status, light.json["code"]), (200, 20404), "light beat of an unknown instance")
    equal(addresses(service), [], "a light beat creates nothing")
    beat = {
        "ip": "10.0.0.1",
        "port": 8080,
        "serviceName": f"DEFAULT_GROUP@@{service}",
        "cluster": "C1",
        "weight": 3,
        "metadata": {"a": "b"},
        "scheduled": False,
    }
    full = query("PUT", BEAT_PATH, serviceName=service, beat=json.dumps(beat))
    expected = {"code": 10200, "clientBeatInterval": 5000, "lightBeatEnabled": True}
    equal({name: full.json.get(name) for name in expected}, expected, "full beat")
    host = listed(service)["hosts"][0]
    found = (host["clusterName"], host["weight"], host["metadata"])
    equal(found, ("C1", 3.0, {"a": "b"}), "instance made from the beat")
    equal(query("PUT", BEAT_PATH, clusterName="C1", **key).json["code"], 10200, "light beat")


@case
def a_silent_instance_turns_unhealthy_and_goes():
    service = unique("silent")
    metadata = {
        "preserved.heart.beat.interval": "1000",
        "preserved.heart.beat.timeout": "3000",
        "preserved.ip.delete.timeout": "9000",
    }
    register(service, metadata=json.dumps(metadata))
    start = time.monotonic()
    host = listed(service)["hosts"][0]
    equal((host["healthy"], host["instanceHeartBeatTimeOut"]), (True, 3000), "fresh instance")
    beat = {"ip": "10.0.0.1", "port": 8080, "metadata": metadata, "cluster": "DEFAULT"}
    beat["serviceName"] = f"DEFAULT_GROUP@@{service}"
    answer = query("PUT", BEAT_PATH, serviceName=service, beat=json.dumps(beat))
    equal(answer.json["clientBeatInterval"], 1000, "clientBeatInterval")
    eventually(lambda: not listed(service)["hosts"][0]["healthy"], 12, "unhealthy")
    check(time.monotonic() - start > 2.5, "it was given its three seconds")
    equal(addresses(service, healthyOnly="true"), [], "healthyOnly")
    eventually(lambda: not listed(service)["hosts"], 15, "removed")
    check(time.monotonic() - start > 8.5, "it was given its nine seconds")


@case
def a_beat_makes_healthy_again():
    service = unique("again")
    metadata = {"preserved.heart.beat.interval": "1000", "preserved.heart.beat.timeout": "2000"}
    register(service, metadata=json.dumps(metadata))
    eventually(lambda: not listed(service)["hosts"][0]["healthy"], 12, "unhealthy")
    key = {"serviceName": service, "ip": "10.0.0.1", "port": 8080, "clusterName": "DEFAULT"}
    equal(query("PUT", BEAT_PATH, **key).json["code"], 10200, "beat")
    check(listed(service)["hosts"][0]["healthy"], "healthy right after the beat")


@case
def protection_when_too_few_are_healthy():
    service = unique("protect")
    register(service, port=1)
    # One that is made by hand is for persistent instances only.
    answer = form("PUT", "ns/service", serviceName=service, protectThreshold="0.6")
    equal((answer.status, answer.text), (200, "ok"), "update service")
    register(service, port=2, metadata='{"preserved.heart.beat.timeout":"1000",'
             '"preserved.heart.beat.interval":"500"}')
    check(not listed(service)["reachProtectionThreshold"], "no protection while all are healthy")
    eventually(lambda: listed(service)["reachProtectionThreshold"], 12, "protection")
    hosts = listed(service)["hosts"]
    equal(sorted(host["port"] for host in hosts if host["healthy"]), [1, 2], "all count as healthy")
    found = listed(service, healthyOnly="true")
    equal([host["port"] for host in found["hosts"]], [1], "the healthy one alone")
    check(not found["reachProtectionThreshold"], "nothing is left to protect")


@case
def patch_and_metadata_in_bulk():
    service = unique("bulk")
    register(service, port=1, metadata='{"a":"1"}')
    register(service, port=2, metadata='{"a":"1"}')
    key = {"serviceName": service, "ip": "10.0.0.1", "port": 1}
    answer = query("PATCH", "ns/instance", weight=4, **key)
    equal((answer.status, answer.text), (200, "ok"), "patch")
    answer = query(
        "PUT", "ns/instance/metadata/batch", serviceName=f"DEFAULT_GROUP@@{service}",
        metadata='{"b":"2"}', consistencyType="ephemeral",
    )
    equal(answer.status, 200, f"bulk update: {answer}")
    equal(len(answer.json["updated"]), 2, "updated")
    found = {host["port"]: host for host in listed(service)["hosts"]}
    equal(found[1]["weight"], 4.0, "patched weight")
    equal(found[2]["metadata"], {"a": "1", "b": "2"}, "metadata")


@case
def services_by_hand():
    service, group = unique("service"), unique("g")
    key = {"serviceName": service, "groupName": group}
    answer = form("POST", "ns/service", protectThreshold="0.5", metadata="a=b", **key)
    equal((answer.status, answer.text), (200, "ok"), "create")
    found = query("GET", "ns/service", **key).json
    equal((found["name"], found["groupName"]), (service, group), "name and group")
    equal((found["protectThreshold"], found["metadata"]), (0.5, {"a": "b"}), "describe")
    answer = form("PUT", "ns/service", protectThreshold="0.1", **key)
    equal((answer.status, answer.text), (200, "ok"), "update")
    page = {"pageNo": 1, "pageSize": 10, "groupName": group}
    equal(query("GET", "ns/service/list", **page).json, {"count": 1, "doms": [service]}, "list")
    register(service, groupName=group, ephemeral="false")
    check(query("DELETE", "ns/service", **key).status != 200, "a service in use stays")
    deregister(service, groupName=group, ephemeral="false")
    answer = query("DELETE", "ns/service", **key)
    equal((answer.status, answer.text), (200, "ok"), "remove")
    check(query("GET", "ns/service", **key).status in (400, 404, 500), "it is gone")


@alone
def persistent_instances_survive_a_killed_server():
    service = unique("persistent")
    register(service, ephemeral="false")
    restart_server()
    eventually(lambda: addresses(service) == ["10.0.0.1:8080"], 5, "the instance is back")
    equal(listed(service)["hosts"][0]["ephemeral"], False, "ephemeral")
    deregister(service, ephemeral="false")
    equal(addresses(service), [], "after deregistering")


@alone
def ephemeral_instances_come_back_by_their_beats():
    service = unique("ephemeral")
    register(service)
    restart_server()
    key = {"serviceName": service, "ip": "10.0.0.1", "port": 8080, "clusterName": "DEFAULT"}
    equal(query("PUT", BEAT_PATH, **key).json["code"], 20404, "light beat after the restart")
    register(service)
    equal(query("PUT", BEAT_PATH, **key).json["code"], 10200, "light beat after registering")
    equal(addresses(service), ["10.0.0.1:8080"], "list")


@alone
def last_ref_time_never_goes_back():
    service = unique("time")
    register(service)
    before = listed(service)["lastRefTime"]
    register(service, port=8081)
    changed = listed(service)["lastRefTime"]
    check(changed > before, f"a change moves it: {before} then {changed}")
    restart_server()
    register(service)
    after = listed(service)["lastRefTime"]
    check(after > changed, f"a restart does not turn it back: {changed} then {after}")
