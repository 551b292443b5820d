// The console: a page over the public HTTP API of this node. What comes from the API enters the
// page as text only, never as HTML.
"use strict";

const CONFIGS = "/nacos/v1/cs/configs";
const HISTORY = "/nacos/v1/cs/history";
const NAMESPACES = "/nacos/v1/console/namespaces";
const STATE = "/nacos/v1/console/server/state";
const SERVICE = "/nacos/v1/ns/service";
const SUBSCRIBERS = "/nacos/v1/ns/service/subscribers";
const INSTANCE = "/nacos/v1/ns/instance";
const CATALOG_SERVICES = "/nacos/v1/ns/catalog/services";
const CATALOG_SERVICE = "/nacos/v1/ns/catalog/service";
const CATALOG_INSTANCES = "/nacos/v1/ns/catalog/instances";
const NODES = "/nacos/v1/core/cluster/nodes";
const MEMBERS = "/nacos/v3/admin/nacolet/cluster";
const LOGIN = "/nacos/v1/auth/users/login";
const USER = "/nacos/v3/auth/user";
const USERS = "/nacos/v3/auth/user/list";
const ROLE = "/nacos/v3/auth/role";
const ROLES = "/nacos/v3/auth/role/list";
const PERMISSION = "/nacos/v3/auth/permission";
const PERMISSIONS = "/nacos/v3/auth/permission/list";

const PAGE_SIZE = 20;
const TYPES = ["text", "json", "xml", "yaml", "html", "properties", "toml"];

const main = document.getElementById("main");
const message = document.getElementById("message");
const namespaces = document.getElementById("namespace");
const who = document.getElementById("who");
// Rises with every view: an answer for one that was left is dropped.
let view = 0;
// Whether everybody has to log in here.
let isGuarded = false;
// Who has logged in: name, token, isAdmin. Only the memory of this page has it.
let session = null;

// ---- elements and calls

function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const button = (text, click, danger) =>
  el("button", { type: "button", click: guard(click), class: danger && "danger" }, text);
const field = (text, control, wide) => el("label", { class: wide && "wide" }, text, control);
const input = (name, value, more) => el("input", { name, value: value ?? "", ...more });

function select(name, values, chosen) {
  const all = values.includes(chosen) ? values : [chosen, ...values];
  return el("select", { name }, ...all.map((value) =>
    el("option", { value, selected: value === chosen && "" }, value)));
}

function table(heads, rows, empty) {
  if (rows.length === 0) return el("p", {}, empty);
  const cells = (row) => el("tr", {}, ...row.map((cell) => el("td", {}, cell ?? "")));
  const head = el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)));
  return el("div", { class: "scroll" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows.map(cells))));
}

function say(text, bad) {
  message.textContent = text;
  message.className = bad ? "bad" : "";
}

const guard = (work) => async (event) => {
  event?.preventDefault();
  say("");
  try {
    await work(event);
  } catch (error) {
    say(error.message, true);
  }
};

async function call(method, path, params, headers) {
  const query = new URLSearchParams(params);
  const inBody = method === "POST" || method === "PUT";
  const asking = session;
  const all = asking ? { ...headers, accessToken: asking.token } : headers;
  const response = await fetch(inBody ? path : `${path}?${query}`,
    { method, headers: all, body: inBody ? query : undefined }).catch(() => {
    throw new Error("The node does not answer.");
  });
  const text = await response.text();
  if (response.ok) return text;
  const { status } = response;
  const words = reason(text, response);
  const wantsUser = async () => ![LOGIN, STATE].includes(path) && learnGuarded();
  if (status === 403 && (asking ? NO_LONGER.includes(words) : await wantsUser())) {
    // Another call may have found out before, and somebody has logged in since.
    if (asking === session) askWho();
    throw new Error(asking ? "This login is no longer good: log in again." : "Log in first.");
  }
  throw Object.assign(new Error(words), { status });
}

// How a node says that it does not take a token; whatever else is refused, the token is good.
const NO_LONGER = ["token invalid or expired!", "user not found!"];

function reason(text, response) {
  try {
    const body = JSON.parse(text);
    // An envelope has the reason in its data.
    if (typeof body.data === "string" && body.data) return body.data;
    return body.message ?? body.error ?? text;
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

async function get(path, params) {
  const body = JSON.parse(await call("GET", path, params));
  // Some answers come in an envelope.
  if (body !== null && typeof body === "object" && "code" in body && "data" in body) return body.data;
  return body;
}

function show(mine, ...children) {
  if (mine === view) main.replaceChildren(...children);
}

function pager(page, pages, go) {
  const step = (text, to, on) => {
    const made = button(text, () => go(to));
    made.disabled = !on;
    return made;
  };
  return el("div", { class: "row" }, step("Previous", page - 1, page > 1),
    el("span", {}, `${page} of ${Math.max(pages, 1)}`), step("Next", page + 1, page < pages));
}

const when = (time) => (time ? new Date(time).toLocaleString() : "");
const values = (form) => Object.fromEntries(new FormData(form));

// ---- configurations

async function configs(filter = { dataId: "", group: "" }, page = 1) {
  const mine = ++view;
  const tenant = namespaces.value;
  // Stars stand for anything, as everywhere in Nacos.
  const like = (text) => (text ? `*${text}*` : "");
  const found = await get(CONFIGS, { search: "blur", tenant, dataId: like(filter.dataId),
    group: like(filter.group), pageNo: page, pageSize: PAGE_SIZE });
  const search = el("form", { submit: guard((event) => configs(values(event.target))) },
    field("Data id", input("dataId", filter.dataId, { type: "search" })),
    field("Group", input("group", filter.group, { type: "search" })),
    el("button", {}, "Search"), button("New", () => edit(null)));
  const rows = found.pageItems.map((item) => [
    el("a", { href: "#configs", click: guard(() => edit(item)) }, item.dataId),
    item.group, item.type, when(item.lastModified),
    button("History", () => history(item))]);
  show(mine, el("h2", {}, `Configurations (${found.totalCount})`), search,
    table(["Data id", "Group", "Type", "Changed", ""], rows, "Nothing found."),
    pager(page, found.pagesAvailable, (to) => configs(filter, to)));
}

const named = ({ dataId, group }) => ({ dataId, group, tenant: namespaces.value });

async function edit(item, content) {
  const mine = ++view;
  const known = item && await get(CONFIGS, { show: "all", ...named(item) });
  const is = known ?? { dataId: "", group: "DEFAULT_GROUP", type: "text", content: "" };
  const text = el("textarea", { name: "content", spellcheck: "false", required: "" });
  text.value = content ?? is.content;
  const fixed = { required: "", readonly: known && "" };
  const form = el("form", { submit: guard((event) => publish(known, values(event.target))) },
    field("Data id", input("dataId", is.dataId, fixed)),
    field("Group", input("group", is.group, fixed)),
    field("Type", select("type", TYPES, is.type || "text")),
    field("Application", input("appName", is.appName)),
    field("Tags", input("config_tags", is.configTags)),
    field("Description", input("desc", is.desc), true),
    field("Content", text, true),
    el("button", {}, known ? "Publish" : "Create"), button("Back", () => configs()),
    known && button("History", () => history(known)),
    known && button("Delete", () => remove(known), true));
  show(mine, el("h2", {}, known ? known.dataId : "New configuration"),
    known && el("p", {}, `MD5 ${known.md5}, changed ${when(known.modifyTime)}`) || "", form);
}

async function publish(known, form) {
  const name = named(form);
  if (!known && await exists(name)) throw new Error("It exists already: find it in the list.");
  // Compare and set: what somebody else published meanwhile is not overwritten.
  const headers = known ? { casMd5: known.md5 } : {};
  const answer = await call("POST", CONFIGS, { ...form, ...name }, headers);
  if (answer !== "true") throw new Error(`Not published: ${answer}`);
  say(`Published ${form.dataId}.`);
  await edit(name);
}

async function exists(name) {
  try {
    await call("GET", CONFIGS, name);
    return true;
  } catch (error) {
    if (error.status === 404) return false;
    throw error;
  }
}

async function remove(item) {
  if (!confirm(`Delete ${item.dataId}?`)) return;
  await call("DELETE", CONFIGS, named(item));
  say(`Deleted ${item.dataId}.`);
  await configs();
}

const OPERATIONS = { I: "created", U: "changed", D: "deleted" };

async function history(item, page = 1) {
  const mine = ++view;
  const found = await get(HISTORY,
    { search: "accurate", ...named(item), pageNo: page, pageSize: PAGE_SIZE });
  const rows = found.pageItems.map((entry) => [
    when(entry.lastModifiedTime), OPERATIONS[entry.opType.trim()] ?? entry.opType, entry.srcIp,
    entry.publishType, button("Look", () => compare(item, entry.id))]);
  show(mine, el("h2", {}, `History of ${item.dataId}`),
    el("div", { class: "row" }, button("Back", () => configs())),
    table(["When", "What", "From", "Kind", ""], rows, "Nothing is remembered."),
    pager(page, found.pagesAvailable, (to) => history(item, to)));
}

async function compare(item, nid) {
  const mine = ++view;
  const then = await get(HISTORY, { nid, ...named(item) });
  const there = await exists(named(item));
  const now = there ? (await get(CONFIGS, { show: "all", ...named(item) })).content : "";
  show(mine, el("h2", {}, `${item.dataId} until ${when(then.lastModifiedTime)}`),
    el("p", {}, "Marked: what only that version has, and what only the present one has."),
    el("pre", {}, ...difference(then.content ?? "", now)),
    el("div", { class: "row" }, button("Back", () => history(item)),
      button("Edit with this content", () => restore(item, there, then))));
}

async function restore(item, there, then) {
  await edit(there ? item : null, then.content);
  if (there) return;
  main.querySelector("[name=dataId]").value = item.dataId;
  main.querySelector("[name=group]").value = item.group;
}

// Lines by longest common subsequence; very long texts are shown one after the other.
function difference(old, fresh) {
  const [a, b] = [old.split("\n"), fresh.split("\n")];
  const line = (name, sign, text) => el(name, { class: { "-": "old", "+": "new" }[sign] }, `${sign} ${text}\n`);
  if (a.length * b.length > 1e6) {
    return [...a.map((text) => line("del", "-", text)), ...b.map((text) => line("ins", "+", text))];
  }
  const common = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push(line("span", " ", a[i++]));
      j++;
    } else if (j === b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) {
      lines.push(line("del", "-", a[i++]));
    } else {
      lines.push(line("ins", "+", b[j++]));
    }
  }
  return lines;
}

// ---- services

async function services(filter = { serviceNameParam: "", groupNameParam: "" }, page = 1) {
  const mine = ++view;
  const found = await get(CATALOG_SERVICES, { ...filter, namespaceId: namespaces.value, pageNo: page,
    pageSize: PAGE_SIZE, hasIpCount: false, withInstances: false });
  const search = el("form", { submit: guard((event) => services(values(event.target))) },
    field("Service", input("serviceNameParam", filter.serviceNameParam, { type: "search" })),
    field("Group", input("groupNameParam", filter.groupNameParam, { type: "search" })),
    el("button", {}, "Search"));
  const rows = found.serviceList.map((one) => [
    el("a", { href: "#services", click: guard(() => service(one)) }, one.name),
    one.groupName, one.clusterCount, `${one.healthyInstanceCount} of ${one.ipCount}`]);
  show(mine, el("h2", {}, `Services (${found.count})`), search,
    table(["Service", "Group", "Clusters", "Healthy instances"], rows, "Nothing found."),
    pager(page, Math.ceil(found.count / PAGE_SIZE), (to) => services(filter, to)));
}

async function service(one, page = 1) {
  const mine = ++view;
  const name = { serviceName: `${one.groupName}@@${one.name}`, groupName: one.groupName,
    namespaceId: namespaces.value };
  const about = await get(CATALOG_SERVICE, name);
  const part = { pageNo: page, pageSize: PAGE_SIZE };
  const clusters = await Promise.all(about.clusters.map(async (cluster) =>
    ({ cluster, found: await get(CATALOG_INSTANCES, { ...name, ...part, clusterName: cluster.name }) })));
  const heard = await get(SUBSCRIBERS, { ...name, ...part });
  const parts = clusters.flatMap(({ cluster, found }) => [
    el("h2", {}, `Cluster ${cluster.name} (${found.count})`),
    table(["Address", "Healthy", "Enabled", "Weight", "Kind", "Metadata", ""],
      found.list.map((instance) => instanceRow(one, name, instance)), "No instance.")]);
  const most = Math.max(heard.count, ...clusters.map(({ found }) => found.count), 0);
  const subscribers = heard.subscribers.map((who) => [who.addrStr, who.agent, who.app]);
  show(mine, el("h2", {}, `${one.name} in ${one.groupName}`),
    el("p", {}, `Protection threshold ${about.service.protectThreshold}, metadata ` +
      JSON.stringify(about.service.metadata)),
    el("div", { class: "row" }, button("Back", () => services()), button("Reload", () => service(one, page)),
      button("Delete", () => removeService(one, name), true)),
    ...parts, el("h2", {}, `Subscribers (${heard.count})`),
    table(["Address", "Agent", "Application"], subscribers, "Nobody."),
    pager(page, Math.ceil(most / PAGE_SIZE), (to) => service(one, to)));
}

function instanceRow(one, name, instance) {
  const turn = async () => {
    const { ip, port, clusterName, weight, ephemeral } = instance;
    const metadata = JSON.stringify(instance.metadata);
    await call("PUT", INSTANCE, { ...name, ip, port, clusterName, weight, ephemeral, metadata,
      healthy: instance.healthy, enabled: !instance.enabled });
    say(`${ip}:${port} is ${instance.enabled ? "off" : "on"}.`);
    await service(one);
  };
  return [`${instance.ip}:${instance.port}`, instance.healthy ? "yes" : "no",
    instance.enabled ? "yes" : "no", instance.weight, instance.ephemeral ? "ephemeral" : "persistent",
    JSON.stringify(instance.metadata), button(instance.enabled ? "Turn off" : "Turn on", turn)];
}

async function removeService(one, name) {
  if (!confirm(`Delete the service ${one.name}?`)) return;
  await call("DELETE", SERVICE, name);
  say(`Deleted ${one.name}.`);
  await services();
}

// ---- namespaces and cluster

async function loadNamespaces() {
  const chosen = namespaces.value;
  const all = await get(NAMESPACES);
  namespaces.replaceChildren(...all.map((one) => el("option",
    { value: one.namespace, selected: one.namespace === chosen && "" }, one.namespaceShowName)));
  return all;
}

async function namespacePage() {
  const mine = ++view;
  const all = await loadNamespaces();
  const rows = all.map((one) => [one.namespaceShowName, one.namespace, one.namespaceDesc, one.configCount,
    one.namespace === "" ? "" : button("Delete", () => removeNamespace(one), true)]);
  const create = el("form", { submit: guard((event) => createNamespace(values(event.target))) },
    field("Name", input("namespaceName", "", { required: "" })),
    field("Id (made up when empty)", input("customNamespaceId")),
    field("Description", input("namespaceDesc")), el("button", {}, "Create"));
  show(mine, el("h2", {}, "Namespaces"),
    table(["Name", "Id", "Description", "Configs", ""], rows, "None."), create);
}

async function createNamespace(form) {
  const answer = await call("POST", NAMESPACES, form);
  if (answer !== "true") throw new Error("Not created: is the id in use already?");
  say(`Created ${form.namespaceName}.`);
  await namespacePage();
}

async function removeNamespace(one) {
  if (!confirm(`Delete the namespace ${one.namespaceShowName}?`)) return;
  const answer = await call("DELETE", NAMESPACES, { namespaceId: one.namespace });
  if (answer !== "true") throw new Error("Not deleted.");
  say(`Deleted ${one.namespaceShowName}.`);
  await namespacePage();
}

async function cluster() {
  const mine = ++view;
  const [state, nodes, raft] = await Promise.all([get(STATE), get(NODES),
    // Served to the node's own host only.
    get(MEMBERS).catch(() => null)]);
  const rows = nodes.map((node) => [node.address, node.state, node.extendInfo.nodeId,
    node.extendInfo.voter ? "voter" : "learner", node.extendInfo.version]);
  const members = raft?.members.map((member) =>
    [member.node_id, member.address, member.role, member.match_index, member.state]);
  show(mine, el("h2", {}, "Cluster"),
    el("p", {}, `Nacolet ${state.nacolet_version}, as Nacos ${state.version}, ${state.startup_mode}`),
    table(["Address", "State", "Node id", "Votes", "Version"], rows, "No member."),
    el("h2", {}, "Raft"),
    raft ? el("p", {}, `Term ${raft.term}, committed ${raft.commit_index}, applied ${raft.applied_index}, ` +
      `leader ${raft.leader ?? "unknown"}, answered by ${raft.node_id}`)
      : el("p", {}, session && !session.isAdmin ? "Told to administrators only."
        : "Told on the node's own host only."),
    raft ? table(["Node id", "Peer address", "Role", "Match index", "State"], members, "No member.") : "",
    el("div", { class: "row" }, button("Reload", cluster)));
}

// ---- who has logged in

// Everybody may ask this. It changes when the node is started again with other settings.
async function learnGuarded() {
  isGuarded = (await get(STATE)).auth_enabled === "true";
  return isGuarded;
}

// What is being edited comes back when the same user logs in again, or anybody where nobody was
// known.
function askWho() {
  const kept = main.querySelector("textarea") && { name: session?.name, children: [...main.childNodes] };
  setSession(null);
  const form = el("form", { submit: guard((event) => logIn(values(event.target), kept)) },
    field("User", input("username", kept?.name, { required: "", autocomplete: "username" })),
    field("Password", password("password", "current-password")), el("button", {}, "Log in"));
  show(++view, el("h2", {}, "Log in"), form);
}

const password = (name, autocomplete) => input(name, "", { type: "password", required: "", autocomplete });

function setSession(to) {
  session = to;
  document.getElementById("users").hidden = !session?.isAdmin;
  who.hidden = !session;
  if (!session) return who.replaceChildren();
  const link = (text, click) => el("a", { href: "#", click: guard(click) }, text);
  const { name } = session;
  who.replaceChildren(name, link("Password", () => changePassword(name)), link("Log out", logOut));
}

async function logIn(form, kept) {
  const text = await call("POST", LOGIN, form).catch((error) => {
    throw error.status === 403 ? new Error("The user name and the password do not fit.") : error;
  });
  const { username, accessToken, globalAdmin } = JSON.parse(text);
  setSession({ name: username, token: accessToken, isAdmin: globalAdmin === true });
  if (kept && (kept.name ?? username) === username) show(++view, ...kept.children);
  else await begin();
}

function logOut() {
  main.replaceChildren();
  namespaces.replaceChildren();
  askWho();
}

function changePassword(name) {
  const own = name === session.name;
  const form = el("form", { submit: guard((event) => setPassword(name, values(event.target))) },
    ...(own ? [field("Old password", password("oldPassword", "current-password"))] : []),
    field("New password", password("newPassword", "new-password")),
    field("Once more", password("again", "new-password")),
    el("button", {}, "Set"), button("Back", open));
  show(++view, el("h2", {}, `Password of ${name}`), form);
}

async function setPassword(name, { oldPassword, newPassword, again }) {
  if (newPassword !== again) throw new Error("The two are not the same.");
  const form = { username: name, newPassword };
  await call("PUT", USER, oldPassword === undefined ? form : { ...form, oldPassword });
  // A new password ends every login with the old one.
  if (name === session.name) logOut();
  else await users();
  say(`${name} has another password.`);
}

// ---- users, for administrators

async function users(page = 1) {
  const mine = ++view;
  const part = { pageNo: page, pageSize: PAGE_SIZE };
  const [people, roles, permissions] =
    await Promise.all([USERS, ROLES, PERMISSIONS].map((path) => get(path, part)));
  const peopleRows = people.pageItems.map(({ username }) => [username,
    button("Set password", () => changePassword(username)), removal(USER, username, { username })]);
  const roleRows = roles.pageItems.map((one) => [one.role, one.username,
    removal(ROLE, `the role ${one.role} of ${one.username}`, one)]);
  const permissionRows = permissions.pageItems.map((one) => [one.role, one.resource, one.action,
    removal(PERMISSION, `the permission of ${one.role} for ${one.resource}`, one)]);
  show(mine, el("h2", {}, `Users (${people.totalCount})`),
    table(["Name", "", ""], peopleRows, "Nobody."),
    addition(USER, field("Name", input("username", "", { required: "", autocomplete: "off" })),
      field("Password", password("password", "new-password"))),
    el("h2", {}, `Roles (${roles.totalCount})`),
    table(["Role", "User", ""], roleRows, "None."),
    addition(ROLE, field("Role", input("role", "", { required: "" })),
      field("User", input("username", "", { required: "", autocomplete: "off" }))),
    el("h2", {}, `Permissions (${permissions.totalCount})`),
    table(["Role", "Resource", "Action", ""], permissionRows, "None."),
    addition(PERMISSION, field("Role", input("role", "", { required: "" })),
      field("Resource", input("resource", "", { required: "", placeholder: "namespace:group:config/*" })),
      field("Action", select("action", ["r", "w", "rw"], "r"))),
    pager(page, Math.max(...[people, roles, permissions].map((list) => list.pagesAvailable)), users));
}

function addition(path, ...fields) {
  const add = async (event) => {
    await call("POST", path, values(event.target));
    say("Added.");
    await users();
  };
  return el("form", { submit: guard(add) }, ...fields, el("button", {}, "Add"));
}

function removal(path, what, one) {
  const remove = async () => {
    if (!confirm(`Delete ${what}?`)) return;
    await call("DELETE", path, one);
    say(`Deleted ${what}.`);
    await users();
  };
  return button("Delete", remove, true);
}

// ---- which section

const SECTIONS = { configs, services, namespaces: namespacePage, cluster, users };

const open = guard(async () => {
  const name = location.hash.slice(1);
  if (isGuarded && !session) return askWho();
  const section = name in SECTIONS && (name !== "users" || session?.isAdmin) ? name : "configs";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${section}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const shown = SECTIONS[section]();
  const mine = view;
  // What is refused does not leave another section behind under its name.
  await shown.catch((error) => {
    show(mine);
    throw error;
  });
});

addEventListener("hashchange", open);
for (const link of document.querySelectorAll("nav a")) {
  // A second click on the same section leads back to its list.
  link.addEventListener("click", () => link.hash === location.hash && open());
}
namespaces.addEventListener("change", open);
const begin = () => guard(loadNamespaces)().then(open);
guard(async () => (await learnGuarded() ? askWho() : begin()))();
