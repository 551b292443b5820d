"""Prometheus itself, told by `http_sd_configs` to scrape what is registered.

Where the server asks for users it logs in by Basic authentication: as the administrator, and as one
who may read no more than a namespace. `PROMETHEUS` in the environment is its program.
"""

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from urllib.parse import urlencode

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from harness import CLEANUPS, USER, Skip, case, check, equal, eventually, main, unique

BASE = sys.argv[1].split(",")[0].rstrip("/")
SERVICE = unique("scraped")
READER = {"username": unique("reader"), "password": "a password of a reader"}
# Names that Prometheus takes for no label unless they are changed.
METADATA = {"zone": "z1", "a/b": "slash", "9z": "digit", "_own": "underscore"}


def call(method, path, parameters, user=USER):
    url = f"{BASE}/nacos/{path}?{urlencode(parameters)}"
    request = urllib.request.Request(url, method=method)
    if user:
        text = f"{user['username']}:{user['password']}"
        request.add_header("Authorization", "Basic " + base64.b64encode(text.encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def administer(path, **parameters):
    """A call of the first administrator, with the token that a login gave."""
    login = urllib.request.Request(f"{BASE}/nacos/v1/auth/users/login",
                                   urlencode(USER).encode(), method="POST")
    with urllib.request.urlopen(login, timeout=10) as answer:
        parameters["accessToken"] = json.load(answer)["accessToken"]
    return call("POST", path, parameters, None)


def register(ip, **more):
    instance = {"serviceName": SERVICE, "ip": ip, "port": 9100, "ephemeral": "false", **more}
    url = f"{BASE}/nacos/v1/ns/instance?{urlencode({**instance, **USER})}"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as answer:
        equal(answer.read(), b"ok", "register")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def job(name, path, user):
    discovery = {"url": f"{BASE}/nacos/prometheus{path}", "refresh_interval": "1s"}
    if user:
        discovery["basic_auth"] = user
    return {"job_name": name, "scrape_interval": "1h", "http_sd_configs": [discovery]}


class Prometheus:
    """One process with its own folder, and what its pages say."""

    def __init__(self, jobs):
        self.folder = tempfile.TemporaryDirectory(prefix="prometheus-", dir=os.getcwd())
        config = os.path.join(self.folder.name, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump({"scrape_configs": jobs}, file)  # JSON is YAML.
        self.port = free_port()
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.environ.get("PROMETHEUS", "prometheus"), f"--config.file={config}",
             f"--storage.tsdb.path={self.folder.name}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        CLEANUPS.append(self.end)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def targets(self, job_name):
        """The labels of each target of a job as the discovery found them, by address."""
        url = f"http://127.0.0.1:{self.port}/api/v1/targets?state=active"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                active = json.load(answer)["data"]["activeTargets"]
        except (urllib.error.URLError, ConnectionError):
            return {}
        found = [target["discoveredLabels"] for target in active
                 if target["scrapePool"] == job_name]
        return {labels["__address__"]: labels for labels in found}

    def expect(self, job_name, addresses):
        def look():
            check(self.process.poll() is None, "it ended: " + self.tail())
            return set(self.targets(job_name)) == set(addresses)
        try:
            eventually(look, 20, job_name)
        except AssertionError:
            raise AssertionError(f"{job_name}: {sorted(self.targets(job_name))} instead of "
                                 f"{sorted(addresses)}; {self.tail()}") from None
        return self.targets(job_name)

    def tail(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return " ".join(line.strip() for line in file if "level=err" in line)[-400:]


@case
def everything_with_names_that_it_does_not_take():
    service = unique("odd")
    register("10.4.0.1", serviceName=service, metadata=json.dumps(METADATA))
    path = f"/namespaceId/public/service/{service}"
    found = Prometheus([job("odd", path, USER)]).expect("odd", ["10.4.0.1:9100"])
    labels = found["10.4.0.1:9100"]
    for value in [*METADATA.values(), "DEFAULT"]:
        check(value in labels.values(), f"{value} is in {labels}")


@case
def targets_appear_and_go():
    space, other = unique("prom"), unique("prom")
    register("10.4.1.1", namespaceId=space, clusterName="c1")
    register("10.4.1.2", namespaceId=space, groupName="OTHER", weight="2")
    register("10.4.1.3", namespaceId=other)
    register("10.4.1.5", namespaceId=space, serviceName=unique("unasked"))
    prometheus = Prometheus([
        job("everything", "", USER),
        job("namespace", f"/namespaceId/{space}", USER),
        job("service", f"/namespaceId/{space}/service/{SERVICE}", USER),
        job("nothing", f"/namespaceId/{unique('absent')}", USER),
    ])
    prometheus.expect("namespace", ["10.4.1.1:9100", "10.4.1.2:9100", "10.4.1.5:9100"])
    # A service of that name in any group.
    found = prometheus.expect("service", ["10.4.1.1:9100", "10.4.1.2:9100"])["10.4.1.1:9100"]
    equal(found["job"], "service", "job")
    equal(found["__meta_clusterName"], "c1", "cluster")
    prometheus.expect("nothing", [])
    known = set(prometheus.targets("everything"))
    check({"10.4.1.1:9100", "10.4.1.2:9100", "10.4.1.3:9100"} <= known, f"everything: {known}")
    register("10.4.1.4", namespaceId=space)
    prometheus.expect("service", ["10.4.1.1:9100", "10.4.1.2:9100", "10.4.1.4:9100"])
    for ip, group in (("10.4.1.2", "OTHER"), ("10.4.1.4", "DEFAULT_GROUP")):
        gone = {"serviceName": SERVICE, "ip": ip, "port": 9100, "ephemeral": "false",
                "namespaceId": space, "groupName": group}
        call("DELETE", "v1/ns/instance", {**gone, **USER}, None)
    prometheus.expect("service", ["10.4.1.1:9100"])
    prometheus.expect("namespace", ["10.4.1.1:9100", "10.4.1.5:9100"])


@case
def a_reader_sees_his_namespace_and_no_other():
    if not USER:
        raise Skip("the server asks for no users")
    space = unique("prom")
    register("10.4.2.1", namespaceId=space)
    register("10.4.2.2", namespaceId=space, groupName="OTHER")
    administer("v1/auth/users", **READER)
    role = unique("role")
    administer("v1/auth/roles", role=role, username=READER["username"])
    administer("v1/auth/permissions", role=role, resource=f"{space}:*:*", action="r")
    stranger = {**READER, "password": "not that of the reader"}
    prometheus = Prometheus([
        job("namespace", f"/namespaceId/{space}", READER),
        job("service", f"/namespaceId/{space}/service/{SERVICE}", READER),
        job("another", "/namespaceId/public", READER),
        job("everything", "", READER),
        job("stranger", f"/namespaceId/{space}", stranger),
        job("nobody", f"/namespaceId/{space}", None),
    ])
    prometheus.expect("namespace", ["10.4.2.1:9100", "10.4.2.2:9100"])
    prometheus.expect("service", ["10.4.2.1:9100", "10.4.2.2:9100"])
    for refused in ("another", "everything", "stranger", "nobody"):
        equal(prometheus.targets(refused), {}, refused)


main()
