"""The calls around configs and services: health, namespaces, login, server list, connections."""

import http.client
import json

from harness import USER, Skip, alone, case, check, equal, restart_server, unique
from wire import FORM, HOST, PORT, Answer, credentials, encode, form, query, raw, send, token


@case
def health_and_status():
    for path in ["console/health/liveness", "console/health/readiness"]:
        equal(query("GET", path).status, 200, path)
    equal(query("GET", "ns/operator/metrics", onlyStatus="true").json["status"], "UP", "metrics")
    equal(query("GET", "ns/operator/metrics").json["status"], "UP", "metrics without a parameter")


@case
def namespaces_come_and_go():
    namespace = unique("ns")
    found = query("GET", "console/namespaces").json
    equal(found["code"], 200, "code")
    check(any(item["namespace"] in ("", "public") for item in found["data"]), "public is listed")
    names = {"customNamespaceId": namespace, "namespaceName": "Test 空间", "namespaceDesc": "d"}
    answer = form("POST", "console/namespaces", **names)
    equal((answer.status, answer.text), (200, "true"), "create")

    def described():
        items = query("GET", "console/namespaces").json["data"]
        return [item for item in items if item["namespace"] == namespace]

    equal(described()[0]["namespaceShowName"], "Test 空间", "name")
    more = {"namespace": namespace, "namespaceShowName": "New", "namespaceDesc": "d"}
    equal(form("PUT", "console/namespaces", **more).text, "true", "rename")
    equal(described()[0]["namespaceShowName"], "New", "new name")
    equal(query("DELETE", "console/namespaces", namespaceId=namespace).text, "true", "remove")
    equal(described(), [], "after removal")


@case
def anybody_can_log_in_while_auth_is_off():
    if token() not in (None, "AUTH_DISABLED"):
        raise Skip("the server asks for users")
    for path in ["auth/login", "auth/users/login"]:
        answer = query("POST", path, username="nacos", password="nacos")
        equal(answer.status, 200, f"{path} by query: {answer}")
        found = answer.json
        check(found["accessToken"] and found["tokenTtl"] > 0, f"{path}: {found}")
    target = "/nacos/v1/auth/users/login?username=nacos"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    check(raw("POST", target, "password=nacos", headers).json["tokenTtl"], "query and form merged")


@case
def user_and_password_on_every_call_do_no_harm():
    data_id = unique("user")
    user = USER or {"username": "nacos", "password": "nacos"}
    body = encode({"dataId": data_id, "group": "G", "content": "1", **user})
    answer = send("POST", "/nacos/v1/cs/configs", body, {"Content-Type": FORM})
    equal((answer.status, answer.text), (200, "true"), "publish")
    target = "/nacos/v1/cs/configs?" + encode({"dataId": data_id, "group": "G", **user})
    equal(send("GET", target).text, "1", "read")


@case
def server_list_names_this_server():
    answer = raw("GET", "/nacos/serverlist")
    equal(answer.status, 200, "status")
    lines = answer.text.split()
    check(any(line.endswith(f":{PORT}") for line in lines), f"server list: {lines}")


@case
def connections_are_kept():
    connection = http.client.HTTPConnection(HOST, PORT, timeout=10)
    try:
        for _ in range(3):
            connection.request("GET", "/nacos/v1/ns/operator/metrics")
            equal(Answer(connection.getresponse()).status, 200, "status")
            socket = connection.sock
            check(socket, "the server closed a connection that asked to be kept")
        headers = {"Content-Length": "0", **credentials()}
        connection.request("POST", "/nacos/v1/ns/instance", headers=headers)
        equal(Answer(connection.getresponse()).status, 400, "a caller's mistake")
        check(connection.sock is socket, "a caller's mistake does not cost the connection")
    finally:
        connection.close()


@case
def unknown_paths_are_not_found():
    equal(raw("GET", "/nacos/v1/no/such/path").status, 404, "path")
    equal(raw("GET", "/").status in (200, 302, 404), True, "root")


@case
def prometheus_can_read_the_metrics():
    answer = raw("GET", "/nacos/metrics")
    equal(answer.status, 200, "status")
    check(b"# TYPE " in answer.body, "the text format")


@alone
def namespaces_survive_a_killed_server():
    namespace = unique("kept")
    form("POST", "console/namespaces", customNamespaceId=namespace, namespaceName=namespace)
    restart_server()
    items = query("GET", "console/namespaces").json["data"]
    check(any(item["namespace"] == namespace for item in items), json.dumps(items))
