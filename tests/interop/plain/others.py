"""Programs that speak the protocol without a library: the requests that they make, in their order.

APISIX' discovery, the scripts with which Seata puts its settings there, and the client for C++.
"""

import base64
import hashlib
import hmac
import http.client
import json
import time
from urllib.parse import quote, urlencode

from harness import USER, case, check, equal, eventually, unique
from wire import FORM, HOST, PORT, UdpSubscriber, encode, listening, send


def register(service, **more):
    """An instance for these programs to find."""
    parameters = {"serviceName": service, "ip": "10.5.0.1", "port": 80, **more}
    answer = send("POST", "/nacos/v1/ns/instance?" + encode({**parameters, **USER}))
    equal(answer.text, "ok", "register")


def apisix(method, path):
    """A call of its discovery: no body, JSON wanted, and anything but 200 is a failure."""
    answer = send(method, "/nacos/v1/" + path, None, {"Accept": "application/json"})
    equal(answer.status, 200, f"{path}: {answer}")
    return answer.json


@case
def apisix_discovers_the_nodes_of_a_service():
    service, group = unique("upstream"), "DEFAULT_GROUP"
    register(service, weight="2.5", metadata=json.dumps({"gRPC_port": "9090"}))
    register(service, ip="10.5.0.2", groupName=group, namespaceId="public")
    register(service, ip="10.5.0.3", healthy="false", ephemeral="false", groupName="ELSEWHERE")
    user = USER or {"username": "nacos", "password": "nacos"}
    token = apisix("POST", "auth/login?" + urlencode(user))["accessToken"]
    check(token, "a token")
    # With keys of a cloud it signs too, which a server without them takes for nothing.
    text = f"{time.time() * 1000}@@{group}@@{service}"
    signature = base64.b64encode(hmac.new(b"secret", text.encode(), hashlib.sha1).digest())
    signed = "&" + urlencode({"ak": "key", "data": text, "signature": signature})
    where = "&" + urlencode({"namespaceId": "public"}) + "&" + urlencode({"groupName": group})
    path = f"ns/instance/list?healthyOnly=true&serviceName={service}&accessToken={token}"
    for ending in (where, where + signed):
        hosts = sorted(apisix("GET", path + ending)["hosts"], key=lambda host: host["ip"])
        equal([(h["ip"], h["port"], h["weight"]) for h in hosts],
              [("10.5.0.1", 80, 2.5), ("10.5.0.2", 80, 1)], "nodes")
        equal(hosts[0]["metadata"], {"gRPC_port": "9090"}, "metadata")
    absent = apisix("GET", path.replace(service, unique("absent")) + where)
    equal(absent["hosts"], [], "nodes of an absent service")


# Some lines of the kind that its settings have.
SETTINGS = {
    "transport.type": "TCP",
    "service.vgroupMapping.default_tx_group": "default",
    "store.db.url": "jdbc:mysql://127.0.0.1:3306/seata?useUnicode=true&rewriteBatchedStatements=true",
    "log.exceptionRate": "100",
}


def read(data_id, group, tenant):
    parameters = {"dataId": data_id, "group": group, "tenant": tenant, **USER}
    return send("GET", "/nacos/v1/cs/configs?" + encode(parameters)).text


def seata_user():
    return "".join(f"&{name}={USER.get(name, '')}" for name in ("username", "password"))


@case
def seata_puts_its_settings_with_the_shell():
    group = unique("SEATA")
    for tenant in ("", unique("seata")):
        for name, value in SETTINGS.items():
            target = (f"/nacos/v1/cs/configs?dataId={quote(name, safe='')}&group={group}"
                      f"&content={quote(value, safe='')}&tenant={tenant}{seata_user()}")
            # The type says JSON, and there is no body and no word of its length.
            connection = http.client.HTTPConnection(HOST, PORT, timeout=10)
            connection.putrequest("POST", target)
            connection.putheader("content-type", "application/json;charset=UTF-8")
            connection.endheaders()
            answer = connection.getresponse()
            equal((answer.status, answer.read()), (200, b"true"), name)
            connection.close()
            equal(read(name, group, tenant), value, name)


@case
def seata_puts_its_settings_with_python():
    group = unique("SEATA")
    for tenant in ("", unique("seata")):
        for name, value in SETTINGS.items():
            target = (f"/nacos/v1/cs/configs?group={group}&tenant={tenant}"
                      + (seata_user() if USER else "")
                      + f"&dataId={quote(name)}&content={quote(value).strip()}")
            answer = send("POST", target, None, {"content-type": FORM})
            equal(answer.text, "true", name)
            equal(read(name, group, tenant), value, name)


class Cpp:
    """How the client for C++ asks: what it says of itself, and a token in every call."""

    AGENT = {"User-Agent": "Nacos-C-Client:v1.0.21"}
    NAMING = {
        **AGENT,
        "Client-Version": "Nacos-C-Client:v1.0.21",
        # It says that it takes these, and cannot read them: nothing may come compressed.
        "Accept-Encoding": "gzip,deflate,sdch",
        "Connection": "Keep-Alive",
        "Request-Module": "Naming",
    }

    def __init__(self):
        self.token = {}
        if USER:
            answer = self.form("POST", "v1/auth/users/login", self.AGENT, **USER)
            equal(answer.status, 200, f"login: {answer}")
            check(answer.json["tokenTtl"] > 0, "how long the token lasts")
            self.token = {"accessToken": answer.json["accessToken"]}

    def query(self, method, path, headers, **parameters):
        return self.plain(send(method, f"/nacos/{path}?" + encode({**parameters, **self.token}),
                               None, headers))

    def form(self, method, path, headers, **parameters):
        headers = {**headers, "Content-Type": FORM}
        return self.plain(send(method, f"/nacos/{path}", encode({**parameters, **self.token}),
                               headers))

    @staticmethod
    def plain(answer):
        equal(answer.headers.get("Content-Encoding"), None, "encoding")
        return answer


@case
def cpp_reads_writes_and_watches_configs():
    client, group = Cpp(), "DEFAULT_GROUP"
    for tenant in (None, unique("cpp")):
        key = {"dataId": unique("cpp"), "group": group, "tenant": tenant}
        equal(client.query("GET", "v1/cs/configs", client.AGENT, **key).status, 404, "absent")
        put = {**key, "content": "one", "appName": "app"}
        equal(client.form("POST", "v1/cs/configs", client.AGENT, **put).text, "true", "publish")
        equal(client.query("GET", "v1/cs/configs", client.AGENT, **key).text, "one", "read")
        hold = {**client.AGENT, "Long-Pulling-Timeout": "30000"}
        words = [key["dataId"], group, hashlib.md5(b"other").hexdigest()]
        entry = listening(words + ([tenant] if tenant else []))
        answer = client.form("POST", "v1/cs/configs/listener", hold, **{"Listening-Configs": entry})
        equal(answer.status, 200, "listen")
        told = [key["dataId"], group] + ([tenant] if tenant else [])
        equal(answer.text.strip(), quote("\x02".join(told) + "\x01"), "what changed")
        answer = client.query("DELETE", "v1/cs/configs", client.AGENT, **key)
        equal(answer.text, "true", "remove")


@case
def cpp_registers_beats_and_hears_of_instances():
    client = Cpp()
    group, name = "DEFAULT_GROUP", unique("cpp")
    grouped = f"{group}@@{name}"
    spot = {"namespaceId": "public", "serviceName": grouped, "clusterName": "DEFAULT",
            "ip": "10.5.1.1", "port": "80", "ephemeral": "true"}
    more = {"groupName": group, "weight": "1.500000", "enable": "true", "healthy": "true",
            "metadata": '{"k":"v"}'}
    answer = client.form("POST", "v1/ns/instance", client.NAMING, **spot, **more)
    equal(answer.text, "ok", "register")
    # Every value of its beat is text, the port too.
    beat = {"port": "80", "ip": "10.5.1.1", "weight": "1.500000", "serviceName": grouped,
            "cluster": "DEFAULT", "scheduled": "true", "metadata": {"k": "v"}}
    answer = client.form("PUT", "v1/ns/instance/beat", client.NAMING, beat=json.dumps(beat),
                         namespaceId="public", serviceName=grouped)
    equal(answer.status, 200, f"beat: {answer}")
    check(answer.json["clientBeatInterval"] > 0, "when to beat again")
    udp = UdpSubscriber()
    asked = {"namespaceId": "public", "serviceName": name, "groupName": group, "clusters": "",
             "healthyOnly": "false", **udp.parameters}
    found = client.query("GET", "v1/ns/instance/list", client.NAMING, **asked).json
    equal([(h["ip"], h["port"], h["weight"], h["metadata"]) for h in found["hosts"]],
          [("10.5.1.1", 80, 1.5, {"k": "v"})], "instances")
    check(found["cacheMillis"] > 0, "how long to keep it")
    answer = client.query("DELETE", "v1/ns/instance", client.NAMING, **spot)
    equal(answer.text, "ok", "deregister")
    push, _, _ = udp.receive(5) or check(False, "no push within 5 s")
    udp.acknowledge(push)
    equal(json.loads(push["data"])["hosts"], [], "nobody is left")
    udp.close()


@case
def cpp_administers_services():
    client = Cpp()
    group, name = unique("G"), unique("cpp")
    key = {"serviceName": name, "groupName": group, "namespaceId": "public"}
    more = {"protectThreshold": "0.500000", "metadata": '{"k":"v"}'}
    answer = client.form("POST", "v1/ns/service", client.NAMING, **key, **more)
    equal(answer.text, "ok", "create")
    found = client.query("GET", "v1/ns/service", client.NAMING, **key).json
    equal((found["name"], found["groupName"], found["protectThreshold"], found["metadata"]),
          (name, group, 0.5, {"k": "v"}), "service")
    listed = client.query("GET", "v1/ns/service/list", client.NAMING, pageNo=1, pageSize=10,
                          groupName=group, namespaceId="public").json
    equal((listed["count"], listed["doms"]), (1, [name]), "list")
    more = {"protectThreshold": "0.250000", "metadata": "{}"}
    answer = client.form("PUT", "v1/ns/service", client.NAMING, **key, **more)
    equal(answer.text, "ok", "update")

    def changed():
        found = client.query("GET", "v1/ns/service", client.NAMING, **key).json
        return (found["protectThreshold"], found["metadata"]) == (0.25, {})

    eventually(changed, 5, "the new threshold")
    equal(client.query("DELETE", "v1/ns/service", client.NAMING, **key).text, "ok", "remove")
