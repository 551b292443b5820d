'use strict';
// The npm package nacos 2.6.3: HTTP for everything and UDP for pushes.

const assert = require('assert');
const path = require('path');
const { NacosConfigClient, NacosNamingClient } = require('nacos');
const urllib = require('urllib');
const { Skip, test, alone, sleep, unique, eventually, restartServer, main } = require('./harness');

const bases = (process.argv[2] || 'http://127.0.0.1:8848').split(',');
const address = bases.map(base => new URL(base).host).join(',');
const GROUP = 'DEFAULT_GROUP';
const { NACOS_USERNAME: username, NACOS_PASSWORD: password } = process.env;
const user = username ? { username, password } : {};

/** A config client that counts its long polls: one that spins looks fine from its listeners. */
async function connectConfig(options = {}) {
  const counted = { polls: 0 };
  const httpclient = {
    request(url, requestOptions) {
      if (url.endsWith('/listener')) counted.polls += 1;
      return urllib.request(url, requestOptions);
    },
  };
  const cacheDir = path.join(process.cwd(), 'cache', unique('client'));
  // NacosConfigClient wraps this class so that all processes of a machine share one connection.
  const client = new NacosConfigClient.DataClient({
    serverAddr: address, requestTimeout: 6000, httpclient, cacheDir, ...user, ...options,
  });
  client.on('error', () => {});
  await client.ready();
  client.counted = counted;
  return client;
}

async function connectNaming(options = {}) {
  const quiet = () => {};
  const logger = { info: quiet, warn: quiet, error: quiet, debug: quiet };
  const client = new NacosNamingClient({ logger, serverList: address, ...user, ...options });
  client.on('error', quiet);
  await client.ready();
  client._hostReactor.on('error', quiet);
  return client;
}

/** Waits until every node has heard of what one of them took; one node has at once. */
async function settle() {
  if (bases.length > 1) await sleep(1000);
}

/** Collects what a config listener is told. */
function watch(client, dataId) {
  const contents = [];
  client.subscribe({ dataId, group: GROUP }, content => contents.push(content));
  const last = () => contents[contents.length - 1];
  const expect = (content, ms = 10000) =>
    eventually(() => contents.length > 0 && last() === content, ms, `told of ${content}`);
  return { contents, expect };
}

function ports(hosts) {
  return hosts.map(host => host.port).sort();
}

test('publish-read-and-remove', async () => {
  const client = await connectConfig();
  const dataId = unique('node');
  assert.strictEqual(await client.getConfig(dataId, GROUP), null);
  await client.publishSingle(dataId, GROUP, '{"a":1}', { type: 'json' });
  assert.strictEqual(await client.getConfig(dataId, GROUP), '{"a":1}');
  await client.publishSingle(dataId, GROUP, '{"a":2}');
  assert.strictEqual(await client.getConfig(dataId, GROUP), '{"a":2}');
  await client.remove(dataId, GROUP);
  assert.strictEqual(await client.getConfig(dataId, GROUP), null);
});

test('publish-non-ascii', async () => {
  const client = await connectConfig();
  const dataId = unique('text');
  const content = '名称: 配置 ключ ñ 🦀 + & = % "\\\n'.repeat(50);
  await client.publishSingle(dataId, GROUP, content);
  assert.strictEqual(await client.getConfig(dataId, GROUP), content);
});

test('publish-large-content', async () => {
  const client = await connectConfig();
  const dataId = unique('large');
  const content = '0123456789abcde\n'.repeat(32768);
  await client.publishSingle(dataId, GROUP, content);
  assert.ok((await client.getConfig(dataId, GROUP)) === content, 'content of 512 KiB');
});

test('namespaces-are-apart', async () => {
  const [one, other] = [await connectConfig({ namespace: unique('ns') }), await connectConfig()];
  const dataId = unique('apart');
  const told = watch(one, dataId);
  await one.publishSingle(dataId, GROUP, 'one');
  assert.strictEqual(await other.getConfig(dataId, GROUP), null);
  await told.expect('one');
  await one.publishSingle(dataId, GROUP, 'two');
  await told.expect('two');
});

test('user-and-password-on-every-call', async () => {
  const client = await connectConfig({ username: 'nacos', password: 'nacos', ...user });
  const dataId = unique('user');
  await client.publishSingle(dataId, GROUP, '1');
  assert.strictEqual(await client.getConfig(dataId, GROUP), '1');
});

test('watch-a-missing-config-without-spinning', async () => {
  const client = await connectConfig();
  const dataId = unique('watch');
  const told = watch(client, dataId);
  await sleep(4000);
  assert.ok(client.counted.polls <= 2, `${client.counted.polls} polls before there is a change`);
  await client.publishSingle(dataId, GROUP, '1');
  assert.ok(await told.expect('1') < 3000, 'told late');
  await client.publishSingle(dataId, GROUP, '2');
  assert.ok(await told.expect('2') < 3000, 'told late');
  let polls = client.counted.polls;
  await sleep(4000);
  assert.ok(client.counted.polls - polls <= 2, 'spins after a change');
  await client.remove(dataId, GROUP);
  await told.expect(null);
  polls = client.counted.polls;
  await sleep(4000);
  assert.ok(client.counted.polls - polls <= 2, 'spins after a removal');
});

test('watch-through-a-hold', async () => {
  const client = await connectConfig();
  const dataId = unique('hold');
  await client.publishSingle(dataId, GROUP, '1');
  const told = watch(client, dataId);
  await told.expect('1');
  await sleep(32000);
  assert.ok(client.counted.polls === 2, `${client.counted.polls} polls in 32 s`);
  await client.publishSingle(dataId, GROUP, '2');
  assert.ok(await told.expect('2') < 3000, 'told late');
});

test('register-list-and-deregister', async () => {
  const client = await connectNaming();
  const service = unique('service');
  const metadata = { zone: 'a', 名: '值' };
  await client.registerInstance(service, { ip: '10.2.0.1', port: 1, weight: 3, metadata });
  await client.registerInstance(service, { ip: '10.2.0.1', port: 2 });
  await settle();
  const hosts = await client.getAllInstances(service, GROUP, '', false);
  assert.deepStrictEqual(ports(hosts), [1, 2]);
  const first = hosts.find(host => host.port === 1);
  assert.strictEqual(first.weight, 3);
  assert.deepStrictEqual(first.metadata, metadata);
  assert.strictEqual(first.serviceName, `${GROUP}@@${service}`);
  assert.strictEqual((await client.selectInstances(service, GROUP, 'DEFAULT', true)).length, 2);
  await client.deregisterInstance(service, { ip: '10.2.0.1', port: 1 });
  await settle();
  const left = await client.getAllInstances(service, GROUP, '', false);
  assert.deepStrictEqual(ports(left), [2]);
});

test('deregister-in-another-group', async () => {
  const client = await connectNaming();
  const service = unique('group');
  await client.registerInstance(service, { ip: '10.2.0.1', port: 1 }, 'G1');
  await client.registerInstance(service, { ip: '10.2.0.1', port: 2 }, 'G1');
  await settle();
  assert.strictEqual((await client.getAllInstances(service, 'G1', '', false)).length, 2);
  await client.deregisterInstance(service, { ip: '10.2.0.1', port: 1 }, 'G1');
  await settle();
  const hosts = await client.getAllInstances(service, 'G1', '', false);
  assert.deepStrictEqual(ports(hosts), [2]);
});

test('subscriber-is-pushed-to', async () => {
  const [client, other] = [await connectNaming(), await connectNaming()];
  const service = unique('push');
  await other.registerInstance(service, { ip: '10.2.0.1', port: 1 });
  let hosts = [];
  client.subscribe(service, told => { hosts = told; });
  await eventually(() => hosts.length === 1, 5000, 'the first list');
  // After its second list the client waits ten seconds for the next: only a push is faster.
  await sleep(1500);
  await other.registerInstance(service, { ip: '10.2.0.1', port: 2 });
  await eventually(() => hosts.length === 2, 4000, 'a push of the new instance');
  await other.deregisterInstance(service, { ip: '10.2.0.1', port: 2 });
  await eventually(() => hosts.length === 1, 4000, 'a push of the removed instance');
});

/** A client whose pushes are counted, with a service that it has subscribed to and is up to date. */
async function subscribedForPushes() {
  if (bases.length > 1) throw new Skip('each node pushes to whoever has asked it');
  const [client, other] = [await connectNaming(), await connectNaming()];
  const service = unique('push');
  await other.registerInstance(service, { ip: '10.2.0.1', port: 1 });
  let hosts = [];
  client.subscribe(service, told => { hosts = told; });
  await eventually(() => hosts.length === 1, 5000, 'the first list');
  await sleep(1500);
  const receiver = client._hostReactor._pushReceiver;
  const pushes = [];
  receiver._server.on('message', data => {
    pushes.push({ at: Date.now(), data, compressed: data[0] === 0x1f && data[1] === 0x8b });
  });
  // One instance that changes: with two of them no push is small.
  const told = async text => {
    await other.registerInstance(service, { ip: '10.2.0.1', port: 1, metadata: { text } });
    const hears = () => hosts.some(host => host.metadata.text === text);
    await eventually(hears, 4000, `a push of ${text}`);
  };
  return { receiver, pushes, told };
}

test('pushes-small-and-large-come-once', async () => {
  const { pushes, told } = await subscribedForPushes();
  await told('x');
  await told('x'.repeat(1000));
  await sleep(13000);
  assert.deepStrictEqual(pushes.map(push => push.compressed), [false, true]);
});

for (const [size, text] of [['small', 'x'], ['large', 'x'.repeat(1000)]]) {
  test(`unacknowledged-${size}-push-comes-once-more`, async () => {
    const { receiver, pushes, told } = await subscribedForPushes();
    receiver._server.send = () => {};
    await told(text);
    await sleep(25000);
    const seconds = pushes.map(push => Math.round((push.at - pushes[0].at) / 1000));
    assert.deepStrictEqual(seconds, [0, 10]);
    assert.deepStrictEqual(pushes.map(push => push.compressed), Array(2).fill(size === 'large'));
    assert.ok(pushes[0].data.equals(pushes[1].data), 'the same again');
  });
}

test('subscriber-polls-to-the-same-end', async () => {
  const [client, other] = [await connectNaming(), await connectNaming()];
  const service = unique('poll');
  await other.registerInstance(service, { ip: '10.2.0.1', port: 1 });
  let hosts = [];
  client.subscribe(service, told => { hosts = told; });
  await eventually(() => hosts.length === 1, 5000, 'the first list');
  await other.registerInstance(service, { ip: '10.2.0.1', port: 2 });
  await eventually(() => hosts.length === 2, 12000, 'the next list');
});

test('beats-keep-healthy', async () => {
  const client = await connectNaming();
  const service = unique('beat');
  await client.registerInstance(service, { ip: '10.2.0.1', port: 1 });
  await sleep(18000);
  const hosts = await client.getAllInstances(service, GROUP, '', false);
  assert.deepStrictEqual(hosts.map(host => host.healthy), [true]);
});

test('server-status-and-services', async () => {
  const client = await connectNaming();
  const service = unique('listed');
  assert.strictEqual(await client.getServerStatus(), 'UP');
  await client.registerInstance(service, { ip: '10.2.0.1', port: 1 }, service);
  await settle();
  const { count, data } = await client._serverProxy.getServiceList(1, 10, service);
  assert.deepStrictEqual([count, data], [1, [service]]);
});

alone('life-goes-on-after-a-restart', async () => {
  const [config, naming] = [await connectConfig(), await connectNaming()];
  const [dataId, service] = [unique('restart'), unique('restart')];
  await config.publishSingle(dataId, GROUP, 'before');
  const told = watch(config, dataId);
  await told.expect('before');
  await naming.registerInstance(service, { ip: '10.2.0.1', port: 1 });
  await restartServer();
  assert.strictEqual(await config.getConfig(dataId, GROUP), 'before');
  await config.publishSingle(dataId, GROUP, 'after');
  await told.expect('after', 15000);
  const listed = async () => (await naming.getAllInstances(service, GROUP, '', false)).length === 1;
  await eventually(listed, 15000, 'the beats bring the instance back');
});

main();
