"use strict";

// Asks the API again and again and shows what it says. All text is set as text, so nothing in an item can be markup.

const POLL_MS = 2000;
const POLL_FAILURES_MS = 5000;
const TIMEOUT_MS = 10000;
const LOOK_UP_TIMEOUT_MS = 70000; // above CALL_DEADLINE_S, so that the API's own explanation arrives
const SPAN_S = 300; // of the plots
const RATIO_SPAN_S = 10; // of one hit ratio: actors hear of hits a little later than of misses
const UNKNOWN = { ratio: null, rate: null, items: null, bytes: null };
const STORES = ["MwStore", "SharedCache"]; // whose items and bytes are summed up
const WIDTH = 300, HEIGHT = 80, MARGIN = 4;
const MAX_CHARACTERS = 100000; // of a value; a browser shows more only slowly

const byId = (id) => document.getElementById(id);
const samples = []; // what the plots show; null where it is not known
const polls = []; // the counters of the last ones
let answeredAt = null;
let lookUps = 0;
let work = new Map(); // what each node does, by its id

async function ask(path, { timeoutMs = TIMEOUT_MS, reviver, ...options } = {}) {
  let answer, text;
  try {
    answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(timeoutMs), ...options });
    text = await answer.text();
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? `no answer within ${timeoutMs / 1000} s` : "no connection");
  }
  const status = `it answers ${answer.status} ${answer.statusText}`;
  let body;
  try {
    body = JSON.parse(text, reviver);
  } catch {
    throw new Error(status);
  }
  if (!answer.ok) throw new Error(body.detail ?? status);
  return body;
}

// Changes nothing that stays as it is: a selection stays, and a screen reader says only what is new.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fillTable(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    cells.forEach(([text, className = ""], position) => {
      const cell = row.cells[position] ?? row.appendChild(document.createElement(position ? "td" : "th"));
      if (!position) cell.scope = "row";
      setText(cell, text);
      cell.className = className;
    });
  });
}

function fillList(list, texts) {
  while (list.children.length > texts.length) list.lastChild.remove();
  texts.forEach((text, at) => setText(list.children[at] ?? list.appendChild(document.createElement("li")), text));
}

function duration(seconds) {
  if (seconds === null) return "";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [name, size] = units.find(([, size]) => seconds >= size) ?? units[3];
  return `${Math.floor(seconds / size)} ${name}`;
}

// What an actor's stats() says is its own affair; only numbers are shown as numbers.
const number = (value) => (typeof value === "number" ? value.toLocaleString("en") : "");
const shortId = (id) => id.slice(0, 8);
const listed = (words) => new Intl.ListFormat("en").format(words);

function actorRow(actor) {
  const code = actor.code;
  return [
    [`${actor.name} (${actor.class_name})`],
    actor.busy ? [actor.reason] : actor.running ? ["running", "good"] : ["not running", "bad"],
    [actor.node_id ? `${actor.node_ip} (${shortId(actor.node_id)})` : ""],
    [String(actor.pid ?? "")],
    [duration(actor.uptime_s)],
    [String(actor.restarts ?? "")],
    code ? [code.stale ? `${code.running}, older than the disk` : code.running, code.stale ? "bad" : ""] : [""],
    [number(actor.stats?.items)],
    [number(actor.stats?.bytes)],
  ];
}

function nodeRow(node) {
  const resources = Object.entries(node.resources)
    .filter(([name]) => !name.startsWith("node:")) // Ray's own marks, one for each address
    .map(([name, amount]) => `${name} ${name.endsWith("memory") ? `${number(Math.round(amount / 2 ** 20))} MiB` : number(amount)}`)
    .sort(); // Ray's own order changes
  const { tasks = {}, actors = [] } = work.get(node.node_id) ?? {};
  const runs = [...Object.entries(tasks).map(([name, times]) => (times > 1 ? `${times} × ${name}` : name)), ...actors];
  return [
    [shortId(node.node_id)],
    [`${node.address} (${node.host_name})`],
    // Ray goes on listing a node that was replaced, so a dead one alone is nothing to worry about.
    node.alive ? ["alive", "good"] : ["dead", node.reason ? "bad" : ""],
    [runs.join(", "), "wide"],
    [resources.join(", "), "wide"],
  ];
}

function problemsOf(status) {
  const notRunning = new Map(); // names by reason; one cause often stops all of them
  const problems = [];
  for (const actor of status.actors) {
    if (!actor.running) notRunning.set(actor.reason, [...(notRunning.get(actor.reason) ?? []), actor.name]);
    else if (actor.reason && !actor.busy) problems.push(`${actor.name}: ${actor.reason}`);
    if (actor.code?.stale) {
      problems.push(`${actor.name} runs older code than is on the disk (${actor.code.changed.join(", ")}): \`make reload-actors\``);
    }
  }
  for (const [reason, names] of notRunning) {
    problems.push(`${listed(names)} ${names.length > 1 ? "are" : "is"} not running: ${reason}`);
  }
  if (status.code.stale) problems.push("the API runs older code than is on the disk: `make restart` loads it, or names the line that is wrong");
  if (status.engine.reason) problems.push(status.engine.reason);
  problems.push(...status.engine.problems);
  const missed = new Map(status.nodes.filter((node) => node.reason).map((node) => [node.address, node]));
  for (const [address, node] of missed) problems.push(`the machine ${address} (${node.host_name}) is missed: ${node.reason}`);
  if (status.nodes_reason) problems.push(`the Ray nodes are not known: ${status.nodes_reason}`);
  return problems;
}

function say(summary, problems = [], remedy = "") {
  const isGood = !problems.length && !remedy;
  setText(byId("summary"), summary);
  byId("summary").className = isGood ? "good" : "bad";
  fillList(byId("problems"), problems);
  setText(byId("remedy"), remedy);
  document.title = isGood ? "SeedCore" : `${summary} – SeedCore`;
}

function sum(actors, name) {
  return actors.reduce((total, actor) => total + (Number(actor.stats?.[name]) || 0), 0);
}

function counters(status) {
  const stores = status.actors.filter((actor) => STORES.includes(actor.class_name));
  return {
    at: performance.now() / 1000,
    // Without one of them the sums would jump, and so would all that is made of them.
    areKnown: status.actors.every((actor) => actor.running && !actor.reason && actor.stats?.engine_up !== 0),
    hits: sum(status.actors, "hits"),
    misses: status.actors.find((actor) => actor.class_name === "MissTracker")?.stats?.misses ?? 0,
    requests: status.requests,
    items: sum(stores, "items"),
    bytes: sum(stores, "bytes"),
  };
}

function addSample(status) {
  const now = counters(status), before = polls.at(-1);
  const sample = { at: now.at, ...UNKNOWN };
  // A restarted process counts from 0 again.
  if (before && now.requests >= before.requests) sample.rate = (now.requests - before.requests) / (now.at - before.at);
  if (now.areKnown) {
    Object.assign(sample, { items: now.items, bytes: now.bytes });
    const since = polls.find((poll) => poll.areKnown && poll.at >= now.at - RATIO_SPAN_S) ?? now;
    const hits = Math.max(0, now.hits - since.hits), misses = Math.max(0, now.misses - since.misses);
    if (hits + misses > 0) sample.ratio = hits / (hits + misses);
  }
  polls.push(now);
  while (polls[0].at < now.at - RATIO_SPAN_S) polls.shift();
  samples.push(sample);
}

function draw(name, most, describe) {
  const now = performance.now() / 1000;
  const known = samples.filter((sample) => sample[name] !== null);
  let path = "", isDown = false;
  for (const sample of samples) {
    if (sample[name] !== null) {
      const x = WIDTH * (1 - (now - sample.at) / SPAN_S);
      const y = HEIGHT - MARGIN - (sample[name] / most(known)) * (HEIGHT - 2 * MARGIN);
      path += `${isDown ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}${isDown ? "" : "h0"}`; // a lone one is a dot
    }
    isDown = sample[name] !== null;
  }
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  byId(name).replaceChildren(line);
  if (known.length) setText(byId(`${name}-now`), describe(known.at(-1)[name], most(known)));
}

function showPlots() {
  while (samples.length && samples[0].at < performance.now() / 1000 - SPAN_S) samples.shift();
  const highest = (name) => (known) => Math.max(1, ...known.map((sample) => sample[name])); // of the plot, at its top
  draw("ratio", () => 1, (ratio) => `${Math.round(ratio * 100)} %`);
  draw("rate", highest("rate"), (rate, most) => `${rate.toFixed(1)}/s, highest ${most.toFixed(1)}/s`);
  draw("items", highest("items"), (items) => number(items));
  draw("bytes", highest("bytes"), (bytes) => number(bytes));
}

function showHot(items) {
  byId("hot-table").hidden = !items?.length;
  byId("no-hot").hidden = Boolean(items?.length);
  setText(byId("no-hot"), items ? "nothing was asked for in vain yet" : "not known: no answer");
  fillTable(byId("hot"), (items ?? []).map((item) => [[item.item_id], [number(item.misses)]]));
}

function showEngine({ name, facts, problems, reason }) {
  setText(byId("engine"), `Kept by ${name}`);
  byId("engine").className = reason || problems.length ? "bad" : "good";
  fillList(byId("engine-facts"), facts);
}

function show(status) {
  answeredAt = new Date();
  document.body.classList.remove("lost");
  setText(byId("namespace"), status.namespace);
  setText(byId("address"), status.ray_address);
  setText(byId("code"), status.code.running);
  byId("dashboard").href = `${location.protocol}//${location.hostname}:${status.dashboard_port}/`;
  fillTable(byId("actors"), status.actors.map(actorRow));
  fillTable(byId("nodes"), status.nodes.map(nodeRow));
  showEngine(status.engine);
  offerLogs(status);
  showHot(status.hot_items);
  const problems = problemsOf(status), count = problems.length;
  if (count) say(`${count} ${count > 1 ? "things are" : "thing is"} wrong`, problems, "`make doctor` looks for the cause and says what to do.");
  else say("Everything works");
  addSample(status);
  showPlots();
}

function showLost(error) {
  document.body.classList.add("lost");
  const since = answeredAt ? `All below is from ${answeredAt.toLocaleTimeString()}.` : "Nothing is known yet.";
  const remedy = "`make ps` shows whether it runs, `make logs S=seedcore-api` why not.";
  say(`Lost the API: ${error.message}`, [], `${since} ${remedy}`);
  polls.length = 0;
  samples.push({ at: performance.now() / 1000, ...UNKNOWN });
}

async function poll() {
  let status;
  try {
    status = await ask("/status");
  } catch (error) {
    showLost(error);
  }
  setTimeout(poll, POLL_MS);
  if (status) show(status);
}

// Built anew only when there is another one, so that what somebody has opened stays open.
function showFailures({ failures, reason }) {
  setText(byId("no-failures"), reason ? `not known: ${reason}` : "nothing has failed since the stack was started");
  byId("no-failures").hidden = failures.length > 0;
  const list = byId("failures"), shown = failures.map((failure) => failure.task_id).join();
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...failures.map((failure) => {
    const details = document.createElement("details"), summary = document.createElement("summary");
    const when = failure.ended_at ? new Date(failure.ended_at * 1000).toLocaleTimeString() : "";
    summary.textContent = `${when} ${failure.name}${failure.pid ? ` (pid ${failure.pid})` : ""}: ${failure.error}`;
    const traceback = document.createElement("pre");
    traceback.textContent = failure.traceback;
    details.append(summary, traceback);
    return details;
  }));
}

async function pollFailures() {
  try {
    showFailures(await ask("/failures"));
  } catch (error) {
    showFailures({ failures: [], reason: error.message });
  }
  setTimeout(pollFailures, POLL_FAILURES_MS);
}

async function pollWork() {
  try {
    work = new Map((await ask("/work")).nodes.map((node) => [node.node_id, node]));
  } catch {
    work = new Map(); // what the page says of the API says it all
  }
  setTimeout(pollWork, POLL_MS);
}

function offerLogs(status) {
  const select = byId("log-actor"), offered = new Set([...select.options].map((option) => option.value));
  const actors = [...status.actors.map((actor) => actor.name), ...[...work.values()].flatMap((node) => node.actors)];
  for (const name of actors) {
    if (offered.has(name)) continue;
    offered.add(name);
    select.add(new Option(name, name));
  }
}

async function showLog() {
  const name = byId("log-actor").value, log = byId("log");
  let found = { out: [], err: [], reason: "" };
  try {
    if (name) found = await ask(`/actors/${encodeURIComponent(name)}/log`);
  } catch (error) {
    found.reason = error.message;
  }
  if (name !== byId("log-actor").value) return; // another one was chosen meanwhile
  const parts = [["printed", found.out], ["logged and raised", found.err]].filter(([, lines]) => lines.length);
  setText(byId("log-state"), found.reason ? `not known: ${found.reason}` : name && !parts.length ? "it has said nothing yet" : "Its last lines, as they come.");
  const isAtEnd = log.hidden || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  log.hidden = !parts.length;
  setText(log, parts.map(([title, lines]) => `── ${title}\n${lines.join("\n")}\n`).join("\n"));
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

async function pollLog() {
  if (byId("log-actor").value && !document.hidden) await showLog();
  setTimeout(pollLog, POLL_MS);
}

// As the API sent it: a JavaScript number has 53 bits, an item's may have more.
const exactly = (key, value, context) =>
  typeof value === "number" && JSON.rawJSON ? JSON.rawJSON(context.source) : value;

async function find(organ, item) {
  // In a path a browser would take these for something else.
  if (/^\.{1,2}$|\//.test(organ)) throw new Error(`an organ "${organ}" can be asked for from Python only`);
  const items = organ ? `/organs/${encodeURIComponent(organ)}/items` : "/shared-items";
  // Not a get of its path, for the same reason.
  const answer = await ask(`${items}/query`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ item_ids: [item] }),
    timeoutMs: LOOK_UP_TIMEOUT_MS,
    reviver: exactly,
  });
  if (answer.unreadable.length) throw new Error(answer.unreadable[0].reason);
  return answer.items[0];
}

function showFound(said, value) {
  byId("found").textContent = said;
  byId("value").textContent = value;
  byId("value").hidden = !value;
}

async function lookUp(event) {
  event.preventDefault();
  const form = new FormData(event.target), organ = form.get("organ"), item = form.get("item");
  const mine = ++lookUps;
  let said, value = "";
  showFound("Looking it up…", "");
  try {
    const found = await find(organ, item);
    if (found) {
      said = found.source === "shared" ? `"${item}" is a shared item.` : `"${item}" is an item of ${organ}.`;
      value = JSON.stringify(found.value, null, 2);
    } else {
      said = organ ? `"${item}" is neither an item of ${organ} nor a shared one.` : `"${item}" is not a shared item.`;
      said += " The miss counts.";
    }
  } catch (error) {
    said = `Not looked up: ${error.message}`;
  }
  if (mine !== lookUps) return; // a later one was asked meanwhile
  if (value.length > MAX_CHARACTERS) {
    said += ` The first ${number(MAX_CHARACTERS)} of its ${number(value.length)} characters:`;
    value = value.slice(0, MAX_CHARACTERS);
  }
  showFound(said, value);
}

byId("look").addEventListener("submit", lookUp);
byId("log-actor").addEventListener("change", showLog);
poll();
pollFailures();
pollWork();
pollLog();
