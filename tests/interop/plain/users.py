"""Calls with and without credentials, where the server asks for users."""

import json

from harness import USER, Skip, alone, case, check, equal, restart_server, unique
from wire import FORM, encode, query, send, token

KEY = {"dataId": "users", "group": "G"}
SERVICE = {"serviceName": "users"}
INSTANCE = {**SERVICE, "ip": "10.0.0.1", "port": 1}
# One call of each family; what they ask for need not exist.
CALLS = [
    ("GET", "v1/cs/configs", KEY),
    ("POST", "v1/cs/configs", {**KEY, "content": "1"}),
    ("DELETE", "v1/cs/configs", KEY),
    ("POST", "v1/cs/configs/listener", {"Listening-Configs": "users\x02G\x02\x01"}),
    ("GET", "v1/cs/history", {**KEY, "search": "accurate"}),
    ("GET", "v1/ns/instance/list", SERVICE),
    ("POST", "v1/ns/instance", INSTANCE),
    ("PUT", "v1/ns/instance/beat", INSTANCE),
    ("DELETE", "v1/ns/instance", INSTANCE),
    ("GET", "v1/ns/service/list", {"pageNo": 1, "pageSize": 10}),
    ("GET", "v1/console/namespaces", {}),
    ("GET", "v1/auth/users", {"pageNo": 1, "pageSize": 10}),
    ("GET", "v2/cs/config", KEY),
    ("GET", "v2/ns/instance/list", SERVICE),
    ("GET", "v2/console/namespace/list", {}),
    ("GET", "v3/client/cs/config", {"dataId": "users", "groupName": "G"}),
    ("GET", "v3/client/ns/instance/list", {**SERVICE, "groupName": "G"}),
    ("GET", "v3/auth/user/list", {"pageNo": 1, "pageSize": 10}),
]


def asked():
    if token() == "AUTH_DISABLED":
        raise Skip("the server asks for no users")


def attempt(method, path, parameters, headers=None, **more):
    """A call with everything in the query and no other credentials than these."""
    return send(method, f"/nacos/{path}?" + encode({**parameters, **more}), None, headers)


def refused(method, path, answer):
    equal(answer.status, 403, f"{method} {path}: {answer}")
    found = answer.json
    if path.startswith("v1/"):
        equal((found["status"], found["error"]), (403, "Forbidden"), f"{path}: {answer}")
        check(found["message"] and found["timestamp"], f"{path}: {answer}")
        equal(found["path"], f"/nacos/{path}", "path")
    else:
        equal((found["code"], found["message"]), (10001, "access denied"), f"{path}: {answer}")


def log_in(**user):
    return send("POST", "/nacos/v1/auth/users/login", encode(user), {"Content-Type": FORM})


@case
def calls_without_a_token_are_refused():
    asked()
    for method, path, parameters in CALLS:
        refused(method, path, attempt(method, path, parameters))


@case
def calls_with_a_wrong_token_are_refused():
    asked()
    # A token of the right shape, of which the signature is another.
    head, claims, signature = token().split(".")
    forged = ".".join([head, claims, signature[::-1]])
    for wrong in ("wrong", forged):
        for method, path, parameters in CALLS:
            refused(method, path, attempt(method, path, parameters, {"accessToken": wrong}))


@case
def a_token_is_taken_wherever_it_is_told():
    for method, path, parameters in CALLS:
        if method == "GET":
            for headers, more in [
                ({"accessToken": token()}, {}),
                ({"Authorization": f"Bearer {token()}"}, {}),
                ({}, {"accessToken": token()}),
                ({}, USER),
            ]:
                answer = attempt(method, path, parameters, headers, **more)
                check(answer.status in (200, 404), f"{path} {list(more)} {list(headers)}: {answer}")
    body = encode({**KEY, "content": "1", "accessToken": token()})
    answer = send("POST", "/nacos/v1/cs/configs", body, {"Content-Type": FORM})
    equal((answer.status, answer.text), (200, "true"), "a token in the form")
    equal(attempt("GET", "v1/cs/configs", KEY, None, **USER).text, "1", "read")


@case
def user_and_password_on_every_call():
    key = {"dataId": unique("user"), "group": "G"}
    body = encode({**key, "content": "1", **USER})
    answer = send("POST", "/nacos/v1/cs/configs", body, {"Content-Type": FORM})
    equal((answer.status, answer.text), (200, "true"), "publish")
    for _ in range(20):
        equal(attempt("GET", "v1/cs/configs", key, None, **USER).text, "1", "read")
    asked()
    wrong = {**USER, "password": "wrong"}
    refused("GET", "v1/cs/configs", attempt("GET", "v1/cs/configs", key, None, **wrong))


@case
def health_and_login_need_no_user():
    for path in [
        "v1/console/health/liveness", "v1/console/health/readiness",
        "v2/console/health/readiness", "v3/admin/core/state/readiness",
    ]:
        equal(attempt("GET", path, {}).status, 200, path)
    for path in ["v1/auth/login", "v1/auth/users/login", "v3/auth/user/login"]:
        answer = attempt("POST", path, USER)
        equal(answer.status, 200, f"{path}: {answer}")
        found = answer.json
        equal((found["globalAdmin"], found["username"]), (True, USER["username"]), path)
        equal(answer.headers["Authorization"], f"Bearer {found['accessToken']}", path)
        check(found["tokenTtl"] > 0, path)
    asked()
    answer = log_in(username=unique("nobody"), password="wrong")
    equal(answer.status, 403, f"a wrong password: {answer}")


@case
def a_user_may_what_a_role_permits():
    asked()
    name, role, namespace = unique("user"), unique("role"), unique("ns")
    admin = {"accessToken": token()}
    read = {"role": role, "resource": f"{namespace}:*:config/*", "action": "r"}
    for path, parameters in [
        ("v1/auth/users", {"username": name, "password": "secret word"}),
        ("v1/auth/roles", {"role": role, "username": name}),
        ("v1/auth/permissions", read),
    ]:
        answer = attempt("POST", path, parameters, admin)
        equal((answer.status, answer.json["code"]), (200, 200), f"{path}: {answer}")
    user = {"accessToken": log_in(username=name, password="secret word").json["accessToken"]}
    key = {**KEY, "tenant": namespace}
    equal(attempt("POST", "v1/cs/configs", {**key, "content": "1"}, admin).text, "true", "publish")
    equal(attempt("GET", "v1/cs/configs", key, user).text, "1", "a read that is permitted")
    for method, path, parameters in [
        ("POST", "v1/cs/configs", {**key, "content": "2"}),
        ("GET", "v1/cs/configs", KEY),
        ("GET", "v1/ns/instance/list", {**SERVICE, "namespaceId": namespace}),
        ("GET", "v1/auth/users", {"pageNo": 1, "pageSize": 10}),
    ]:
        refused(method, path, attempt(method, path, parameters, user))
    answer = attempt("DELETE", "v1/auth/permissions", read, admin)
    equal(answer.status, 200, f"a permission is taken back: {answer}")
    refused("GET", "v1/cs/configs", attempt("GET", "v1/cs/configs", key, user))
    answer = attempt("DELETE", "v1/auth/users", {"username": name}, admin)
    equal(answer.status, 200, f"a user is removed: {answer}")
    equal(log_in(username=name, password="secret word").status, 403, "login of a removed user")


@alone
def users_and_tokens_survive_a_killed_server():
    asked()
    name = unique("kept")
    admin = {"accessToken": token()}
    user = {"username": name, "password": "secret word"}
    equal(attempt("POST", "v1/auth/users", user, admin).status, 200, "create")
    before = {"accessToken": log_in(**user).json["accessToken"]}
    restart_server()
    equal(attempt("GET", "v1/cs/configs", KEY, admin).status in (200, 404), True, "the token")
    equal(log_in(**user).status, 200, "login after the restart")
    refused("GET", "v1/cs/configs", attempt("GET", "v1/cs/configs", KEY, before))
    names = query("GET", "auth/users/search", username=name).json
    equal(names, [name], json.dumps(names))
