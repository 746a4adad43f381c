// The sandbox's page: asks once a second what lives, and changes only what has changed, so that text stays selected.
"use strict";

const at = id => document.getElementById(id);
const PERIOD = 1000;
const TASK = {1: "initializing", 2: "failed", 3: "streaming", 4: "stopping", 5: "stopped"};
const DRIVE = {1: "queued", 2: "driving", 3: "failed", 4: "ended"};
const EVENTS = ["AgentInstanceStatus", "ASRResult", "LLMResult", "Interrupted", "UserSpeakAction", "Exception", "AgentInstanceMetaInfo",
  "UserAudioData", "AgentInstanceCreated", "AgentInstanceDeleted"];
const TONES = {SPEAKING: "good", THINKING: "warm", LISTENING: "warm", closing: "warm", streaming: "good", initializing: "warm",
  failed: "bad", delivered: "good", pending: "warm", lost: "bad", blocked: "bad", answered: "good", asking: "warm", broken: "bad"};

// --- small parts -----------------------------------------------------------------------------------------------------

function make(name, text, css) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (css) node.className = css;
  return node;
}

function set(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

function time(seconds) {
  const moment = new Date(seconds * 1000);
  return moment.toLocaleTimeString([], {hour12: false}) + "." + String(moment.getMilliseconds()).padStart(3, "0");
}

/** Have the children of a place be one node for each item, by key, and change only what differs. */
function reconcile(place, items, key, create, update) {
  const known = place.known || (place.known = new Map()), wanted = new Set();
  items.forEach((item, index) => {
    const name = key(item), text = JSON.stringify(item);
    wanted.add(name);
    let entry = known.get(name);
    if (!entry) known.set(name, entry = {node: create(item), text: null});
    if (entry.text !== text) {
      update(entry.node, item);
      entry.text = text;
    }
    if (place.children[index] !== entry.node) place.insertBefore(entry.node, place.children[index] || null);
  });
  for (const [name, entry] of known) {
    if (!wanted.has(name)) {
      entry.node.remove();
      known.delete(name);
    }
  }
}

// --- bars ------------------------------------------------------------------------------------------------------------

function makeBar(item) {
  const row = make("div", null, "bar"), track = make("i");
  track.setAttribute("role", "meter");
  track.setAttribute("aria-valuemin", 0);
  track.setAttribute("aria-label", item.name);
  row.append(make("span"), make("em"), track);
  return row;
}

function showBar(row, {name, count, limit, peak}) {
  const [title, number, track] = row.children, part = limit ? Math.min(1, count / limit) : 0;
  if (title.textContent !== name) {  // long names of Actions break between their words
    title.replaceChildren(...name.split(/(?<=[a-z0-9])(?=[A-Z])/).flatMap(part => [part, make("wbr")]));
  }
  set(number, `${count} of ${limit === null ? "any number" : limit}${peak ? `, peak ${peak}` : ""}`);
  track.style.setProperty("--part", 100 * part + "%");
  track.setAttribute("aria-valuenow", limit === null ? count : Math.min(count, limit));
  track.setAttribute("aria-valuemax", limit === null ? Math.max(count, 1) : Math.max(limit, 1));
  track.setAttribute("aria-valuetext", number.textContent);
  row.className = "bar" + (limit !== null && count > limit ? " bad" : part >= 1 ? " warm" : "");
}

const bars = (id, items) => reconcile(at(id), items, item => item.name, makeBar, showBar);

const seenRates = new Map();

/** Actions stay for a minute after their last call, so that nothing jumps about. */
function rates(apps, label, now) {
  for (const app of apps) {
    for (const [action, [count, limit]] of Object.entries(app.Rates)) {
      const name = label(app) + action, before = seenRates.get(name);
      seenRates.set(name, {name, count, limit, at: now, peak: Math.max(count, before ? before.peak : 0)});
    }
  }
  for (const [name, one] of seenRates) {
    if (one.at !== now) one.count = 0;
    if (now - one.at > 60) seenRates.delete(name);
  }
  return [...seenRates.values()].map(({name, count, limit, peak}) => ({name, count, limit, peak}))
    .sort((one, other) => one.name < other.name ? -1 : 1);
}

// --- tables ----------------------------------------------------------------------------------------------------------

/** Columns: [title, value of a row, {tone, css, open}]. */
const TABLES = {
  instances: {
    what: "instances", key: row => row.AgentInstanceId, columns: [
      ["Status", row => row.Closing ? "closing" : row.Status, {tone: true, open: row => showInstance(row)}],
      ["Id", row => row.AgentInstanceId, {css: "id"}], ["Round", row => row.Round], ["Kind", row => row.Kind],
      ["Agent", row => row.AgentId, {css: "name"}], ["Room", row => row.RoomId, {css: "name"}],
      ["User", row => row.UserId, {css: "name"}], ["Stream", row => row.AgentStreamId, {css: "name"}]],
  },
  tasks: {
    what: "stream tasks", key: row => row.TaskId, columns: [
      ["Status", row => TASK[row.Status] || row.Status, {tone: true, open: row => showTask(row)}],
      ["Id", row => row.TaskId, {css: "id"}], ["Room", row => row.RoomId, {css: "name"}],
      ["Stream", row => row.StreamId, {css: "name"}],
      ["Drive", row => row.Drive ? `${row.Drive.Kind}, ${DRIVE[row.Drive.Status]}` : "none"], ["Queued", row => row.Queued]],
  },
  agents: {
    what: "agents", key: row => row.AgentId, columns: [
      ["Agent", row => row.AgentId, {open: row => showJson("Agent " + row.AgentId, row)}], ["Name", row => row.Name],
      ["Has", row => ["LLM", "TTS", "ASR"].filter(name => row[name]).join(" ") || "nothing"]],
  },
  refused: {
    what: "refused calls", key: row => row.RequestId, columns: [
      ["Time", row => time(row.Time), {open: row => showCall(row)}],
      ["Action", row => row.Action || "none", {css: "action"}], ["Code", row => row.Code, {css: "bad"}],
      ["Why", row => row.Message, {css: "wide"}], ["What to do", row => row.Advice, {css: "wide"}]],
  },
  calls: {
    what: "calls", key: row => row.RequestId, columns: [
      ["Time", row => time(row.Time), {open: row => showCall(row)}],
      ["Action", row => (apps.length > 1 ? `${row.AppId ?? "unknown app"} · ` : "") + (row.Action || "none"), {css: "action"}],
      ["Answer", row => row.Code ? row.Code : row.Status === null ? "no answer" : row.Status === 200 ? "0" : "HTTP " + row.Status,
        {tone: row => row.Code ? "bad" : row.Status === 200 ? "good" : "warm"}],
      ["Faults", row => row.Faults.join(", ")], ["About", row => row.About, {css: "id"}]],
  },
  callbacks: {
    what: "callbacks", key: row => row.Number, columns: [
      ["Time", row => time(row.Time), {open: row => showCallback(row)}], ["State", row => row.State, {tone: true}],
      ["Event", row => ({3: "task status", 4: "drive status"})[row.Event] || row.Event, {css: "action"}],
      ["Answer", row => {
        const tries = row.Attempts.length, last = row.Attempts[tries - 1];
        return last ? (last.Status || last.Error) + (tries > 1 ? `, ${tries} tries` : "") : "";
      }, {css: "name"}],
      ["About", row => row.About, {css: "id"}]],
  },
  models: {
    what: "calls of models", key: row => row.Time + row.About + row.Round, columns: [
      ["Time", row => time(row.Time), {open: row => showJson("Call of " + row.Url, row)}], ["State", row => row.State, {tone: true}],
      ["HTTP", row => row.Status ?? "none"], ["Round", row => row.Round],
      ["Why the agent is mute", row => row.Problem, {css: "wide"}], ["It said", row => row.Text, {css: "wide"}]],
  },
};

function table(id, {Total, Shown}) {
  const {what, key, columns} = TABLES[id], place = at(id);
  set(at(id + "-count"), Total === 0 ? `No ${what} yet` : Total > Shown.length ? `The newest ${Shown.length} of ${Total}` : `All ${Total}`);
  if (!place.tBodies.length) {
    const head = make("tr");
    head.append(...columns.map(([title]) => { const cell = make("th", title); cell.scope = "col"; return cell; }));
    place.append(make("thead"), make("tbody"));
    place.tHead.append(head);
  }
  place.hidden = !Shown.length;
  place.parentNode.hidden = !Shown.length;
  reconcile(place.tBodies[0], Shown, key, () => {
    const line = make("tr");
    for (const [title, , {css, open} = {}] of columns) {
      const cell = make("td", null, css);
      cell.dataset.label = title;
      if (open) {
        const button = make("button");
        button.type = "button";
        button.addEventListener("click", () => open(line.row));
        cell.append(button);
      }
      line.append(cell);
    }
    return line;
  }, (line, row) => {
    line.row = row;
    columns.forEach(([title, value, {tone, open} = {}], index) => {
      const cell = line.children[index], text = value(row) ?? "";
      set(open ? cell.firstChild : cell, text);
      if (open) cell.firstChild.setAttribute("aria-label", `${title} ${text}: show ${key(row)}`);
      if (tone) cell.className = tone === true ? TONES[text] || "" : tone(row);
    });
  });
}

// --- one thing in full -----------------------------------------------------------------------------------------------

let shownAbout = "";

function openDetail(title, about, controls) {
  shownAbout = about;
  set(at("detail-title"), title);
  set(at("detail-notice"), "");
  at("control").hidden = !controls;
  at("speak").hidden = at("emit").hidden = controls !== "instance";
  at("timeline").hidden = !about;
  at("json").hidden = Boolean(about);
  if (!at("detail").open) at("detail").showModal();
}

function showJson(title, value) {
  openDetail(title, "", "");
  set(at("json"), JSON.stringify(value, null, 2));
}

async function showFull(title, path) {
  openDetail(title, "", "");
  set(at("json"), "loading");
  set(at("json"), JSON.stringify(await ask(path), null, 2));
}

const showCall = row => showFull(`${row.Action || "Call"} ${row.RequestId}`, "call?id=" + encodeURIComponent(row.RequestId));
const showCallback = row => showFull(`Callback ${row.Number}: ${row.Event}`, "callback?number=" + row.Number);

function showInstance(row) {
  openDetail("Instance " + row.AgentInstanceId, row.AgentInstanceId, "instance");
  timeline();
}

function showTask(row) {
  openDetail("Stream task " + row.TaskId, row.TaskId, "task");
  timeline();
}

async function timeline() {
  if (!shownAbout || !at("detail").open) return;
  const events = await ask("timeline?about=" + encodeURIComponent(shownAbout));
  events.forEach((event, index) => { event.key = `${event.Kind} ${event.Id ?? event.Time} ${event.Id ? "" : index}`; });
  reconcile(at("timeline"), events, event => event.key, () => {
    const line = make("li");
    line.append(make("time"), make("span"), make("div"));
    return line;
  }, (line, event) => {
    const [when, round, what] = line.children;
    set(when, time(event.Time));
    set(round, event.Round ? "round " + event.Round : "");
    const text = event.Message || (event.Data && Object.keys(event.Data).length ? JSON.stringify(event.Data) : "");
    const title = make("b", `${event.Kind} ${event.Name}${event.Code ? " " + event.Code : ""}`, event.Code ? "bad" : "");
    what.replaceChildren(title, make("small", text));
  });
}

// --- commands --------------------------------------------------------------------------------------------------------

async function ask(path, body) {
  const options = body === undefined ? {cache: "no-store"}
    : {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
  const answer = await fetch(path, options);
  if (!answer.headers.get("Content-Type").startsWith("application/json")) throw new Error(await answer.text());
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.Error || answer.statusText);
  return value;
}

function onSubmit(id, notice, send) {
  at(id).addEventListener("submit", async event => {
    event.preventDefault();
    set(at(notice), "");
    const fields = Object.fromEntries(new FormData(event.target));
    try {
      await send(fields);
      await look();
    } catch (error) {
      set(at(notice), error.message);
    }
  });
}

onSubmit("advance", "notice", fields => ask("advance", {Seconds: Number(fields.seconds)}));
onSubmit("speak", "detail-notice", fields => ask("speak", {Text: fields.text, About: shownAbout}));
onSubmit("emit", "detail-notice", fields => ask("emit", {Event: fields.event, About: shownAbout}));
onSubmit("end", "detail-notice", async () => {
  await ask("end", {About: shownAbout});
  at("detail").close();
});
at("emit").elements.event.append(...EVENTS.map(name => make("option", name)));

// --- what lives ------------------------------------------------------------------------------------------------------

const points = [];
let before = null, seen = "", apps = [];

function chart(total, now) {
  if (before && now > before.now) points.push(Math.max(0, total - before.total) / (now - before.now));
  before = {total, now};
  while (points.length > 120) points.shift();
  set(at("pace"), points.length ? Math.round(points[points.length - 1]) : 0);
  if (!points.some(Boolean) && !at("chart").drawn) return;
  at("chart").drawn = points.some(Boolean);
  const most = Math.max(12, ...points), first = 121 - points.length;
  const line = points.map((value, index) => `${first + index},${39 - 37 * value / most}`).join(" ");
  const [area, curve] = at("chart").children;
  area.setAttribute("points", `${first},40 ${line} 120,40`);
  curve.setAttribute("points", line);
}

function show(live) {
  apps = live.apps;
  const label = app => apps.length > 1 ? app.AppId + " · " : "";
  set(at("faults"), live.faults.length
    ? "Faults: " + live.faults.map(one => `${one.Fault} ${one.On} (${one.Hits})`).join(" · ") : "No faults");
  bars("quotas", apps.flatMap(app => app.Quotas.map(one => ({name: label(app) + one.Kind, count: one.Alive, limit: one.Limit}))));
  for (const id of Object.keys(TABLES)) table(id, live[id]);
  set(at("total"), `now, ${live.calls.Total} in all`);
}

async function look() {
  try {
    const live = await ask("live?seen=" + seen);
    if (live.apps) show(live);
    seen = live.seen;
    const label = app => apps.length > 1 ? app.AppId + " · " : "";
    const shown = rates(live.apps ? live.apps : [], label, live.now);
    bars("rates", shown);
    at("rates-empty").hidden = shown.length > 0;
    set(at("clock"), new Date(live.now * 1000).toLocaleString([], {hour12: false}));
    chart(live.calls ? live.calls.Total : before ? before.total : 0, live.now);
    set(at("link"), location.origin);
    at("link").className = "";
    await timeline();
  } catch (error) {
    set(at("link"), "the sandbox does not answer: " + error.message);
    at("link").className = "lost";
  }
}

async function run() {
  if (!document.hidden) await look();
  setTimeout(run, PERIOD);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
run();
