"use strict";
const at = id => document.getElementById(id);
const TASK = {1: "initializing", 2: "failed", 3: "streaming", 4: "stopping", 5: "stopped"};
const DRIVE = {1: "queued", 2: "driving", 3: "failed", 4: "ended"};
const points = [];
let before = null;

function make(name, text, css) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (css) node.className = css;
  return node;
}

function time(seconds) {
  const moment = new Date(seconds * 1000);
  return moment.toLocaleTimeString([], {hour12: false}) + "." + String(moment.getMilliseconds()).padStart(3, "0");
}

function bar(name, count, most) {
  const row = make("div", null, "bar"), track = make("i"), part = most ? Math.min(1, count / most) : 0;
  track.style.setProperty("--part", 100 * part + "%");
  track.style.setProperty("--tone", most !== null && count > most ? "var(--bad)" : part >= 1 ? "var(--warm)" : "var(--good)");
  row.append(make("span", name), track, make("em", count + " / " + (most === null ? "∞" : most)));
  return row;
}

function table(id, columns, rows) {
  const place = at(id), top = place.scrollTop;
  if (!rows.length) { place.replaceChildren(make("div", "none", "empty")); return; }
  const grid = make("table"), head = make("tr");
  columns.forEach(([title]) => head.append(make("th", title)));
  grid.append(head);
  for (const row of rows) {
    const line = make("tr");
    for (const [, show] of columns) {
      const cell = make("td"), value = show(row);
      if (value instanceof Node) { cell.append(value); if (value.dataset && value.dataset.wide) cell.className = "wide"; }
      else cell.textContent = value ?? "";
      line.append(cell);
    }
    grid.append(line);
  }
  place.replaceChildren(grid);
  place.scrollTop = top;
}

const tag = (text, css) => make("span", text, "tag " + (css || ""));
const mono = text => make("code", text);
function wide(text, css) { const node = make("span", text, css); node.dataset.wide = "1"; return node; }

function tone(status) {
  return {SPEAKING: "good", THINKING: "warm", LISTENING: "warm", streaming: "good", initializing: "warm", failed: "bad",
    delivered: "good", pending: "warm", lost: "bad"}[status] || "soft";
}

function chart(total, now) {
  if (before && now > before.now) points.push((total - before.total) / (now - before.now));
  before = {total, now};
  while (points.length > 120) points.shift();
  const most = Math.max(12, ...points), svg = at("chart");
  at("pace").textContent = points.length ? Math.round(points[points.length - 1]) : 0;
  const line = points.map((value, index) => `${120 - points.length + index + 1},${39 - 37 * value / most}`).join(" ");
  svg.innerHTML = points.length < 2 ? "" :
    `<polygon points="${121 - points.length},40 ${line} 120,40" fill="var(--accent)" opacity=".15"/>` +
    `<polyline points="${line}" fill="none" stroke="var(--accent)" stroke-width="1.5" vector-effect="non-scaling-stroke"/>`;
}

function show(live) {
  at("clock").textContent = new Date(live.now * 1000).toLocaleString([], {hour12: false});
  at("faults").textContent = live.faults.length
    ? "faults: " + live.faults.map(one => `${one.Fault} ${one.On} (${one.Hits})`).join(" · ") : "no faults";
  const several = live.apps.length > 1, label = app => several ? app.AppId + " · " : "";
  at("quotas").replaceChildren(...live.apps.flatMap(app => app.Quotas.map(one => bar(label(app) + one.Kind, one.Alive, one.Limit))));
  const rates = live.apps.flatMap(app => Object.entries(app.Rates).map(([name, [count, most]]) => bar(label(app) + name, count, most)));
  at("rates").replaceChildren(...(rates.length ? rates : [make("div", "quiet", "empty")]));
  const total = Object.values(live.totals).reduce((sum, count) => sum + count, 0);
  at("total").textContent = total;
  chart(total, live.now);
  at("instances-count").textContent = live.apps.reduce((sum, app) => sum + app.Quotas[0].Alive + app.Quotas[1].Alive, 0);
  table("instances", [
    ["Status", row => tag(row.Closing ? "closing" : row.Status, tone(row.Status))], ["Kind", row => row.Kind],
    ["Agent", row => row.AgentId], ["Room", row => row.RoomId], ["User", row => row.UserId],
    ["Stream", row => row.AgentStreamId], ["Round", row => row.Round], ["Id", row => mono(row.AgentInstanceId)],
  ], live.instances.slice().reverse());
  at("tasks-count").textContent = live.apps.reduce((sum, app) => sum + app.Quotas[2].Alive, 0);
  table("tasks", [
    ["Status", row => tag(TASK[row.Status] || row.Status, tone(TASK[row.Status]))], ["Room", row => row.RoomId],
    ["Stream", row => row.StreamId], ["Drive", row => row.Drive ? `${row.Drive.Kind}, ${DRIVE[row.Drive.Status]}` : "–"],
    ["Queued", row => row.Queued || ""], ["Id", row => mono(row.TaskId)],
  ], live.tasks.slice().reverse());
  at("agents-count").textContent = live.apps.reduce((sum, app) => sum + app.Agents, 0);
  table("agents", [["Agent", row => row.AgentId], ["Name", row => row.Name],
    ["Has", row => ["LLM", "TTS", "ASR"].filter(name => row[name]).join(" ") || "–"]], live.agents.slice().reverse());
  at("refused-count").textContent = live.refusedTotal;
  table("refused", [
    ["Time", row => time(row.Time)], ["Action", row => row.Action || "–"], ["Code", row => tag(row.Code, "bad")],
    ["Why", row => wide(row.Message)], ["What to do", row => wide(row.Advice, "soft")],
  ], live.refused.slice().reverse());
  at("callbacks-count").textContent = live.callbacksTotal;
  table("callbacks", [
    ["State", row => tag(row.State, tone(row.State))], ["Event", row => ({3: "task status", 4: "drive status"})[row.Event] || row.Event],
    ["About", row => mono(row.About)], ["Tries", row => row.Attempts.length],
    ["Last answer", row => { const last = row.Attempts[row.Attempts.length - 1]; return last ? last.Status || last.Error : "–"; }],
  ], live.callbacks.slice().reverse());
  table("calls", [
    ["Time", row => time(row.Time)], ["Action", row => row.Action || "–"],
    ["Code", row => row.Code ? tag(row.Code, "bad") : row.Status === null ? tag("no answer", "warm")
      : row.Status === 200 ? tag("0", "good") : tag("HTTP " + row.Status, "warm")],
    ["App", row => row.AppId ?? "–"], ["Faults", row => row.Faults.join(", ")],
  ], live.calls.slice().reverse());
}

async function look() {
  try {
    const answer = await fetch("live", {cache: "no-store"});
    show(await answer.json());
    at("link").textContent = location.origin;
    at("link").className = "";
  } catch (error) {
    at("link").textContent = "the sandbox does not answer";
    at("link").className = "lost";
  }
  setTimeout(look, 500);
}
look();
