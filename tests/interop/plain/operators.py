"""What consoles, scripts and newer callers use: export and import, catalog, v2 and v3."""

import io
import json
import zipfile

from harness import USER, case, check, equal, eventually, unique
from naming import register
from wire import FORM, UdpSubscriber, encode, form, query, raw


def call(method, path, **parameters):
    """A v2 or v3 call with everything in the query."""
    return raw(method, f"/nacos/{path}?" + encode(parameters))


def v2(method, path, **parameters):
    answer = call(method, path, **parameters)
    equal(answer.status, 200, f"{path}: {answer}")
    equal(answer.json["code"], 0, f"{path}: {answer}")
    return answer.json["data"]


def configs_of(namespace):
    page = {"dataId": "", "group": "", "pageNo": 1, "pageSize": 100, "tenant": namespace}
    items = query("GET", "cs/configs", search="accurate", **page).json["pageItems"]
    return {(item["group"], item["dataId"]): item["content"] for item in items}


def upload(target, archive, policy):
    boundary = "----boundary"
    body = (
        f"--{boundary}\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\n{policy}\r\n"
        f"--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.zip\"\r\n"
        "Content-Type: application/zip\r\n\r\n"
    ).encode() + archive + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return raw("POST", f"/nacos/v1/cs/configs?import=true&namespace={target}", body, headers)


@case
def export_and_import():
    namespace, target = unique("export"), unique("import")
    for name in (namespace, target):
        form("POST", "console/namespaces", customNamespaceId=name, namespaceName=name)
    for data_id, content in [("a.yml", "a: 1\n"), ("b", "名称\n")]:
        parameters = {"dataId": data_id, "group": "G1", "content": content, "tenant": namespace}
        equal(form("POST", "cs/configs", **parameters).text, "true", "publish")
    target_query = {"tenant": namespace, "group": "", "appName": "", "ids": ""}
    answer = query("GET", "cs/configs", export="true", **target_query)
    equal(answer.status, 200, f"export: {answer}")
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    check({"G1/a.yml", "G1/b"} <= set(archive.namelist()), f"entries: {archive.namelist()}")
    equal(archive.read("G1/b").decode(), "名称\n", "entry")
    answer = upload(target, answer.body, "ABORT")
    equal((answer.status, answer.json["code"]), (200, 200), f"import: {answer}")
    equal(answer.json["data"]["succCount"], 2, "succCount")
    equal(configs_of(target), configs_of(namespace), "configs after the import")


@case
def subscribers_and_catalog():
    service = unique("catalog")
    register(service, clusterName="C1")
    subscriber = UdpSubscriber(serviceName=service)
    subscriber.subscribe()
    # It is handed over behind the answer of the list.
    seen = lambda: query("GET", "ns/service/subscribers", serviceName=service).json
    eventually(lambda: seen()["count"] == 1, 1, "one subscriber")
    found = seen()
    check(found["subscribers"][0]["agent"].startswith("Nacos-Java-Client"), f"agent: {found}")
    subscriber.close()
    page = {"pageNo": 1, "pageSize": 10}
    found = query("GET", "ns/catalog/services", serviceNameParam=service, **page).json
    equal(found["count"], 1, "services")
    view = found["serviceList"][0]
    equal((view["name"], view["ipCount"], view["clusterCount"]), (service, 1, 1), "service")
    found = query(
        "GET", "ns/catalog/instances", serviceName=service, clusterName="C1", **page
    ).json
    equal((found["count"], found["list"][0]["port"]), (1, 8080), "instances")


@case
def switches_servers_and_state():
    switches = query("GET", "ns/operator/switches").json
    equal(switches["clientBeatInterval"], 5000, "clientBeatInterval")
    servers = query("GET", "ns/operator/servers").json["servers"]
    equal(len(servers), 1, "servers")
    state = query("GET", "console/server/state").json
    check("version" in state, f"state: {state}")


@case
def v2_configs_and_instances():
    data_id, service = unique("v2"), unique("v2")
    key = {"dataId": data_id, "group": "G1"}
    body = encode({"content": "1", **key})
    answer = raw("POST", "/nacos/v2/cs/config", body, {"Content-Type": FORM})
    equal((answer.status, answer.json["code"], answer.json["data"]), (200, 0, True), "publish")
    equal(v2("GET", "v2/cs/config", **key), "1", "read")
    equal(v2("DELETE", "v2/cs/config", **key), True, "remove")
    answer = call("GET", "v2/cs/config", **key)
    equal((answer.status, answer.json["code"]), (404, 20004), "read after remove")
    where = {"serviceName": service, "groupName": "G1", "ip": "10.0.0.1", "port": 1}
    equal(v2("POST", "v2/ns/instance", **where), "ok", "register")
    found = v2("GET", "v2/ns/instance/list", serviceName=service, groupName="G1")
    equal([host["port"] for host in found["hosts"]], [1], "list")
    equal(v2("DELETE", "v2/ns/instance", **where), "ok", "deregister")


@case
def v2_namespaces_and_health():
    namespace = unique("v2ns")
    names = {"namespaceId": namespace, "namespaceName": "N", "namespaceDesc": "D"}
    equal(v2("POST", "v2/console/namespace", **names), True, "create")
    listed = v2("GET", "v2/console/namespace/list")
    check(any(item["namespace"] == namespace for item in listed), "it is listed")
    equal(v2("DELETE", "v2/console/namespace", namespaceId=namespace), True, "remove")
    equal(v2("GET", "v2/console/health/readiness"), "ok", "readiness")


@case
def v3_client_calls():
    data_id, service = unique("v3"), unique("v3")
    answer = call("GET", "v3/client/cs/config", dataId=data_id, groupName="G1")
    equal((answer.status, answer.json["code"]), (200, 20004), "a config that is not there")
    form("POST", "cs/configs", dataId=data_id, group="G1", content="1")
    found = v2("GET", "v3/client/cs/config", dataId=data_id, groupName="G1")
    equal(found["content"], "1", "read")
    where = {"serviceName": service, "groupName": "G1", "ip": "10.0.0.1", "port": 1}
    answer = call("POST", "v3/client/ns/instance", heartBeat="true", **where)
    equal((answer.status, answer.json["code"]), (200, 21003), "a beat of an unknown instance")
    equal(v2("POST", "v3/client/ns/instance", **where), "ok", "register")
    equal(v2("POST", "v3/client/ns/instance", heartBeat="true", **where), "ok", "beat")
    found = v2("GET", "v3/client/ns/instance/list", serviceName=service, groupName="G1")
    equal([instance["port"] for instance in found], [1], "list")
    equal(v2("DELETE", "v3/client/ns/instance", **where), "ok", "deregister")


@case
def v3_health_and_login():
    for probe in ["liveness", "readiness"]:
        answer = raw("GET", f"/nacos/v3/admin/core/state/{probe}")
        equal(answer.status, 200, f"{probe}: {answer}")
    # Java 3.x tries this path first and turns to v1 only on 404 or 501.
    user = USER or {"username": "nacos", "password": "nacos"}
    answer = call("POST", "v3/auth/user/login", **user)
    check(answer.status in (200, 404, 501), f"login: {answer}")
    if answer.status == 200:
        check(json.loads(answer.body)["accessToken"], "a token")
