"""nacos-sdk-python 3.2.0, the gRPC client for Python services."""

import asyncio
import logging
import os
import sys
import time
from urllib.parse import urlsplit

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from v2.nacos import (
    BatchRegisterInstanceParam,
    ClientConfigBuilder,
    ConfigParam,
    DeregisterInstanceParam,
    ListInstanceParam,
    ListServiceParam,
    NacosConfigService,
    NacosNamingService,
    RegisterInstanceParam,
    SubscribeServiceParam,
)

import harness
from harness import alone, case, check, equal, restart_server, unique

BASE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8848"
ADDRESSES = ",".join(urlsplit(base).netloc for base in BASE.split(","))
GROUP = "DEFAULT_GROUP"


def settings(namespace=""):
    builder = ClientConfigBuilder().server_address(ADDRESSES).log_dir("logs")
    if harness.USER:
        builder.username(harness.USER["username"]).password(harness.USER["password"])
    config = builder.namespace_id(namespace).build()
    # By default it keeps the last instances of a service that has none any more.
    config.set_update_cache_when_empty(True)
    return config


async def configs(namespace=""):
    return await NacosConfigService.create_config_service(settings(namespace))


async def naming():
    return await NacosNamingService.create_naming_service(settings())


async def eventually(look, within, what):
    """As in the harness, without holding up the client."""
    start = time.monotonic()
    while True:
        value = look()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        check(time.monotonic() - start < within, f"not within {within} s: {what}")
        await asyncio.sleep(0.05)


async def settle():
    """Waits until every node has heard of what one of them took; one node has at once."""
    if "," in BASE:
        await asyncio.sleep(1)


def instance(service, port, **more):
    return dict(service_name=service, group_name=GROUP, ip="10.3.0.1", port=port, **more)


async def ports(client, service):
    param = ListInstanceParam(service_name=service, group_name=GROUP, healthy_only=True, subscribe=False)
    return sorted(found.port for found in await client.list_instances(param))


class Subscriber:
    """Collects the lists that a subscription brings."""

    def __init__(self):
        self.lists = []

    async def hear(self, instances):
        self.lists.append(sorted(found.port for found in instances))

    async def expect(self, *expected):
        wanted = list(expected)
        def heard():
            return self.lists and self.lists[-1] == wanted
        await eventually(heard, 5, f"{wanted} after {self.lists}")


def on_grpc(function):
    """A case whose body is a coroutine."""
    def run():
        asyncio.run(function())
    run.__name__ = function.__name__
    return run


@case
@on_grpc
async def configs_are_published_read_and_removed():
    client, data_id = await configs(), unique("config")
    equal(await client.get_config(ConfigParam(data_id=data_id, group=GROUP)), "", "missing")
    text = "a: 1\nb: \"ü€\"\n"
    check(await client.publish_config(ConfigParam(data_id=data_id, group=GROUP, content=text)), "publish")
    equal(await client.get_config(ConfigParam(data_id=data_id, group=GROUP)), text)
    check(await client.remove_config(ConfigParam(data_id=data_id, group=GROUP)), "remove")
    equal(await client.get_config(ConfigParam(data_id=data_id, group=GROUP)), "", "removed")
    await client.shutdown()


@case
@on_grpc
async def a_wrong_md5_does_not_publish():
    client, data_id = await configs(), unique("cas")
    await client.publish_config(ConfigParam(data_id=data_id, group=GROUP, content="one"))
    wrong = ConfigParam(data_id=data_id, group=GROUP, content="two", cas_md5="0" * 32)
    try:
        check(not await client.publish_config(wrong), "a wrong md5 is refused")
    except Exception as error:
        check("Cas" in str(error), f"refused for another reason: {error}")
    equal(await client.get_config(ConfigParam(data_id=data_id, group=GROUP)), "one")
    await client.shutdown()


@case
@on_grpc
async def a_listener_hears_every_change_in_both_spellings_of_the_namespace():
    data_id, heard = unique("listen"), {"": [], "public": []}
    clients = {namespace: await configs(namespace) for namespace in heard}
    for namespace, client in clients.items():
        async def hear(tenant, data_id, group, content, namespace=namespace):
            heard[namespace].append(content)
        await client.add_listener(data_id, GROUP, hear)
    await asyncio.sleep(0.5)
    for content in ("one", "two"):
        await clients[""].publish_config(ConfigParam(data_id=data_id, group=GROUP, content=content))
        for namespace in heard:
            await eventually(lambda: content in heard[namespace], 5, f"{content}: {heard}")
    for client in clients.values():
        await client.shutdown()


@case
@on_grpc
async def a_batch_replaces_the_one_before():
    client, service, subscriber = await naming(), unique("batch"), Subscriber()
    subscription = SubscribeServiceParam(
        service_name=service, group_name=GROUP, subscribe_callback=subscriber.hear
    )
    await client.subscribe(subscription)
    for wanted in ([1, 2, 3], [1, 2]):
        batch = [RegisterInstanceParam(**instance(service, port)) for port in wanted]
        param = BatchRegisterInstanceParam(service_name=service, group_name=GROUP, instances=batch)
        check(await client.batch_register_instances(param), "batch")
        await subscriber.expect(*wanted)
        equal(await ports(client, service), wanted)
    await client.shutdown()


@case
@on_grpc
async def subscribers_hear_of_what_comes_and_goes():
    watcher, provider, service = await naming(), await naming(), unique("subscribe")
    subscriber = Subscriber()
    subscription = SubscribeServiceParam(
        service_name=service, group_name=GROUP, subscribe_callback=subscriber.hear
    )
    await watcher.subscribe(subscription)
    await provider.register_instance(RegisterInstanceParam(**instance(service, 80)))
    await subscriber.expect(80)
    other = await naming()
    await other.register_instance(RegisterInstanceParam(**instance(service, 81)))
    await subscriber.expect(80, 81)
    await provider.deregister_instance(DeregisterInstanceParam(**instance(service, 80)))
    await subscriber.expect(81)
    await provider.shutdown()
    await watcher.shutdown()
    await other.shutdown()


@case
@on_grpc
async def a_client_that_leaves_takes_its_instances_along():
    watcher, provider, service = await naming(), await naming(), unique("leave")
    await provider.register_instance(RegisterInstanceParam(**instance(service, 80)))
    await settle()
    equal(await ports(watcher, service), [80])
    await provider.shutdown()
    async def is_gone():
        return await ports(watcher, service) == []
    await eventually(is_gone, 5, "the instance goes with its connection")
    await watcher.shutdown()


@case
@on_grpc
async def persistent_instances_stay():
    client, service = await naming(), unique("persistent")
    param = RegisterInstanceParam(**instance(service, 80, ephemeral=False))
    check(await client.register_instance(param), "register")
    await client.shutdown()
    client = await naming()
    await settle()
    equal(await ports(client, service), [80])
    param = DeregisterInstanceParam(**instance(service, 80, ephemeral=False))
    check(await client.deregister_instance(param), "deregister")

    async def is_gone():
        return await ports(client, service) == []

    # The first look subscribed, so the list comes from what is pushed.
    await eventually(is_gone, 5, "the instance is gone")
    await client.shutdown()


@case
@on_grpc
async def services_are_listed():
    client, service, group = await naming(), unique("listed"), unique("group")
    param = RegisterInstanceParam(service_name=service, group_name=group, ip="10.3.0.1", port=80)
    await client.register_instance(param)
    page = ListServiceParam(namespace_id="public", group_name=group, page_no=1, page_size=10)
    found = await client.list_services(page)
    equal((found.count, list(found.services)), (1, [service]))
    await client.shutdown()


@alone
@on_grpc
async def life_goes_on_after_a_restart():
    config, client = await configs(), await naming()
    data_id, service, heard = unique("restart"), unique("restart"), []

    async def hear(tenant, data_id, group, content):
        heard.append(content)

    await config.publish_config(ConfigParam(data_id=data_id, group=GROUP, content="before"))
    await config.add_listener(data_id, GROUP, hear)
    await client.register_instance(RegisterInstanceParam(**instance(service, 80)))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(restart_server)
    another = await naming()

    async def is_back():
        return await ports(another, service) == [80]

    await eventually(is_back, 40, "the client registers again by itself")
    second = await configs()
    await second.publish_config(ConfigParam(data_id=data_id, group=GROUP, content="after"))
    await eventually(lambda: "after" in heard, 20, f"the listener hears again: {heard}")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    harness.main()
