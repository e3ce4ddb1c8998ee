"use strict";

// Asks the API again and again and shows what it says. All text is set as text, so nothing in an item can be markup.

const POLL_MS = 2000;
const TIMEOUT_MS = 10000;
const SAMPLES = 150; // of five minutes
const WIDTH = 300, HEIGHT = 80;

const byId = (id) => document.getElementById(id);
const reads = [], requests = [];
let before = null;

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `${answer.status} ${answer.statusText}`);
  return body;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(cells) {
  const made = document.createElement("tr");
  cells.forEach(([text, className], position) => {
    const cell = element(position ? "td" : "th", text, className);
    if (!position) cell.scope = "row";
    made.append(cell);
  });
  return made;
}

function duration(seconds) {
  if (seconds === null) return "";
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const [name, size] = units.find(([, size]) => seconds >= size) ?? units[3];
  return `${Math.floor(seconds / size)} ${name}`;
}

const number = (value) => (value === undefined || value === null ? "" : Number(value).toLocaleString("en"));

function actorRow(actor) {
  const code = actor.code;
  return row([
    [`${actor.name} (${actor.class_name})`],
    actor.running ? ["running", "good"] : ["not running", "bad"],
    [actor.node_ip ?? ""],
    [actor.pid ?? ""],
    [duration(actor.uptime_s)],
    [actor.restarts ?? ""],
    code ? [code.stale ? `${code.running}, older than the disk` : code.running, code.stale ? "bad" : ""] : [""],
    [number(actor.stats?.items)],
    [number(actor.stats?.bytes)],
  ]);
}

function nodeRow(node) {
  const resources = Object.entries(node.resources).map(([name, amount]) => `${name} ${number(amount)}`).join(", ");
  return row([[node.node_id.slice(0, 8)], [node.address], node.alive ? ["alive", "good"] : ["dead", "bad"], [resources]]);
}

function problemsOf(status) {
  const problems = [];
  for (const actor of status.actors) {
    if (!actor.running) problems.push(`${actor.name} is not running: ${actor.reason}`);
    else if (actor.reason) problems.push(`${actor.name}: ${actor.reason}`);
    if (actor.code?.stale) {
      problems.push(`${actor.name} runs older code than is on the disk (${actor.code.changed.join(", ")}): make reload-actors`);
    }
  }
  if (status.code.stale) problems.push(`the API runs older code than is on the disk: make restart`);
  if (status.nodes_reason) problems.push(`the Ray nodes are not known: ${status.nodes_reason}`);
  return problems;
}

function say(text, isGood) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text; // else a screen reader would say it each time
  state.className = isGood ? "good" : "bad";
}

function sum(actors, name) {
  return actors.reduce((total, actor) => total + (actor.stats?.[name] ?? 0), 0);
}

function addSample(status) {
  const now = {
    at: performance.now() / 1000,
    hits: sum(status.actors, "hits"),
    misses: status.actors.find((actor) => actor.class_name === "MissTracker")?.stats?.misses ?? 0,
    requests: status.requests,
  };
  if (before && now.at > before.at) {
    // A restarted process counts from 0 again.
    const hits = Math.max(0, now.hits - before.hits), misses = Math.max(0, now.misses - before.misses);
    if (hits + misses > 0) reads.push(hits / (hits + misses));
    requests.push(Math.max(0, now.requests - before.requests) / (now.at - before.at));
    reads.splice(0, reads.length - SAMPLES);
    requests.splice(0, requests.length - SAMPLES);
  }
  before = now;
}

function draw(svg, samples, most) {
  const points = samples.map((sample, position) => {
    const x = samples.length > 1 ? (position / (samples.length - 1)) * WIDTH : WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 4 - (sample / most) * (HEIGHT - 8)).toFixed(1)}`;
  });
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  svg.replaceChildren(line);
}

function showPlots() {
  if (reads.length) byId("ratio-now").textContent = `${Math.round(reads.at(-1) * 100)} %`;
  if (requests.length) byId("requests-now").textContent = `${requests.at(-1).toFixed(1)} a second`;
  draw(byId("ratio"), reads, 1);
  draw(byId("requests"), requests, Math.max(1, ...requests));
}

function show(status) {
  byId("namespace").textContent = status.namespace;
  byId("address").textContent = status.ray_address;
  byId("dashboard").href = `${location.protocol}//${location.hostname}:${status.dashboard_port}/`;
  byId("actors").replaceChildren(...status.actors.map(actorRow));
  byId("nodes").replaceChildren(...status.nodes.map(nodeRow));
  const hot = status.hot_items.map((item) => element("li", `${item.item_id}: ${number(item.misses)}`));
  byId("hot").replaceChildren(...(hot.length ? hot : [element("li", "nothing was asked for in vain yet")]));
  const problems = problemsOf(status);
  byId("problems").replaceChildren(...problems.map((problem) => element("li", problem, "bad")));
  say(problems.length ? `${problems.length} of the things below need you` : "Everything works", !problems.length);
  addSample(status);
  showPlots();
}

async function poll() {
  try {
    show(await ask("/status"));
  } catch (error) {
    say(`The API does not answer (${error.message}). What is below is from before. See make ps.`, false);
  }
  setTimeout(poll, POLL_MS);
}

async function lookUp(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  const organ = form.get("organ").trim(), item = encodeURIComponent(form.get("item"));
  const path = organ ? `/organs/${encodeURIComponent(organ)}/items/${item}` : `/shared-items/${item}`;
  try {
    byId("found").textContent = JSON.stringify(await ask(path), null, 2);
  } catch (error) {
    byId("found").textContent = error.message;
  }
}

byId("look").addEventListener("submit", lookUp);
poll();
