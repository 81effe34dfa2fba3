"use strict";
// Shows what the daemon says of itself. All text goes into the page as text, never as markup.

const CELLS = 512, LISTED = 50, PERIOD_MS = 2000;
const byId = (id) => document.getElementById(id);
const make = (name, text, className) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

class Refused extends Error {
  constructor(status, error) { super(`${error.message} ${error.remedy}`); this.status = status; }
}

async function ask(path, change) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.authorization = `Bearer ${token}`;
  if (change) Object.assign(headers, { "x-holdfast": "1", "content-type": "application/json" });
  const options = { headers, method: change ? "POST" : "GET", body: change ? JSON.stringify(change) : undefined,
    credentials: "omit", cache: "no-store", redirect: "error" };
  const answer = await fetch(path, options);
  const json = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, json.error);
  return json;
}

const bytes = (count) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (count >= 1024 && at + 1 < units.length) { count /= 1024; at += 1; }
  return `${at ? count.toFixed(1) : count} ${units[at]}`;
};
const seconds = (time) => {
  if (time === undefined) return "";
  if (time < 1e-3) return `${(time * 1e6).toFixed(1)} us`;
  return time < 1 ? `${(time * 1e3).toFixed(2)} ms` : `${time.toFixed(2)} s`;
};

// What was counted between two looks: how many, and percentiles from the buckets, each of which ends at 2^(index/4) s.
function between(now, before) {
  const old = new Map(before ? before.buckets : []);
  const fresh = now.buckets.map(([index, count]) => [index, count - (old.get(index) || 0)]).filter(([, count]) => count > 0);
  const count = fresh.reduce((sum, [, one]) => sum + one, 0);
  const percentile = (share) => {
    let left = share * count;
    for (const [index, one] of fresh) { left -= one; if (left <= 0) return 2 ** (index / 4); }
    return undefined;
  };
  return { count, median: percentile(0.5), high: percentile(0.99) };
}

let before = null;
const articles = new Map();

function article(volume) {
  if (!articles.has(volume.name)) {
    const root = byId("volume").content.cloneNode(true).firstElementChild;
    root.dataset.volume = volume.name;
    root.querySelector(".name").textContent = volume.name;
    root.querySelector(".retry").addEventListener("click", () => retry(volume.name));
    byId("volumes").append(root);
    articles.set(volume.name, root);
  }
  return articles.get(volume.name);
}

function showReasons(status) {
  byId("health").textContent = status.health;
  byId("health").className = `badge ${status.health}`;
  document.title = `${status.health} - Holdfast`;
  const daemon = status.daemon;
  byId("daemon").textContent = `holdfastd ${daemon.release}, process ${daemon.pid}, ${daemon.reactors} reactors, since ${daemon.started.rfc3339}`;
  byId("reasons").replaceChildren(...status.reasons.map((reason) => {
    const box = make("div", undefined, `reason ${reason.health}`);
    box.append(make("p", `${reason.status} (${reason.code})`), make("p", reason.action), make("pre", reason.commands.join("\n")));
    return box;
  }));
}

function showVolume(volume, latency, elapsed) {
  const root = article(volume);
  const badge = root.querySelector(".badge");
  badge.textContent = volume.health;
  badge.className = `badge ${volume.health}`;
  const used = volume.budget_bytes ? Math.round(100 * volume.not_clean_bytes / volume.budget_bytes) : 0;
  const facts = [`${bytes(volume.size_bytes)} on ${volume.backing.path}`, volume.state, volume.mode, `budget used ${used}%`,
    `dirty ${bytes(volume.dirty_bytes)}`, `unstable ${bytes(volume.unstable_bytes)}`, `failed ${bytes(volume.failed_bytes)}`,
    `lost ${bytes(volume.lost_bytes)}`, volume.policy];
  root.querySelector(".facts").textContent = facts.join(" · ");
  const button = root.querySelector(".retry");
  button.hidden = volume.failed_bytes === 0;
  button.dataset.bytes = bytes(volume.failed_bytes);
  const old = before && before.latencies.volumes.find((one) => one.volume === volume.name);
  const rows = [["requests", "client"], ["device", "device"]].flatMap(([where, label]) => latency[where].map((one) => {
    const was = old && old[where].find((other) => other.operation === one.operation);
    const found = between(one, was);
    const row = make("tr");
    const rate = elapsed ? (found.count / elapsed).toFixed(1) : "";
    [`${label} ${one.operation}`, rate, seconds(found.median), seconds(found.high)].forEach((text) => row.append(make("td", text)));
    return row;
  }));
  root.querySelector(".rates tbody").replaceChildren(...rows);
}

function showMap(root, map) {
  const box = root.querySelector(".map");
  if (box.childElementCount !== map.cells.length) box.replaceChildren(...[...map.cells].map(() => make("i", undefined, "cell")));
  [...map.cells].forEach((state, at) => { box.children[at].className = state === "." ? "cell" : `cell ${state}`; });
  box.setAttribute("aria-label", `extents: ${map.cells}`);
  const beyond = map.lost_known_to === null ? "" : `; what is lost is shown up to byte ${map.lost_known_to}`;
  root.querySelector(".scale").textContent = `a cell is ${bytes(map.cell_bytes)}${beyond}`;
}

function extentRow(extent) {
  const refusal = extent.refusal;
  const row = make("tr");
  const why = refusal ? [refusal.class, refusal.errno.name, refusal.attempts, refusal.first.rfc3339, refusal.last.rfc3339] : ["", "", "", "", ""];
  [extent.state, extent.offset, bytes(extent.length), ...why].forEach((text) => row.append(make("td", text)));
  if (refusal) row.title = refusal.errno.meaning;
  return row;
}

async function showExtents(root, volume) {
  const rows = [];
  for (const state of ["lost", "failed"]) {
    if (volume[`${state}_bytes`] === 0) continue;
    const page = await ask(`/v1/volumes/${encodeURIComponent(volume.name)}/extents?state=${state}&limit=${LISTED}`);
    rows.push(...page.extents.map(extentRow));
    if (page.next !== null) {
      const row = make("tr");
      row.append(make("td", `more: holdfastctl extents ${volume.name} --state ${state}`));
      row.firstChild.colSpan = 8;
      rows.push(row);
    }
  }
  const table = root.querySelector(".extents");
  table.hidden = rows.length === 0;
  table.tBodies[0].replaceChildren(...rows);
}

async function look() {
  const [status, latencies] = await Promise.all([ask("/v1/status"), ask("/v1/latencies")]);
  const at = performance.now();
  showReasons(status);
  const elapsed = before ? (at - before.at) / 1000 : 0;
  for (const volume of status.volumes) {
    showVolume(volume, latencies.volumes.find((one) => one.volume === volume.name), elapsed);
    const root = article(volume);
    showMap(root, await ask(`/v1/volumes/${encodeURIComponent(volume.name)}/map?cells=${CELLS}`));
    await showExtents(root, volume);
  }
  before = { latencies, at };
}

// Asks first, and only "Retry now" does it.
function retry(name) {
  const [dialog, root] = [byId("ask"), articles.get(name)];
  byId("question").textContent = `Write the ${root.querySelector(".retry").dataset.bytes} that the disk of '${name}' refused?`;
  byId("yes").onclick = () => { dialog.close(); follow(name, root.querySelector(".done")); };
  dialog.showModal();
}
byId("no").addEventListener("click", () => byId("ask").close());

async function follow(name, told) {
  try {
    let { operation } = await ask(`/v1/volumes/${encodeURIComponent(name)}/retry`, {});
    while (operation.state === "running") {
      told.textContent = `retry ${operation.id}: ${bytes(operation.done_bytes)} of ${bytes(operation.total_bytes)}`;
      await new Promise((resolve) => setTimeout(resolve, 300));
      ({ operation } = await ask(`/v1/operations/${operation.id}`));
    }
    told.textContent = `retry ${operation.id} ${operation.state}: ${bytes(operation.done_bytes)} written, ${bytes(operation.left_bytes)} still refused`;
  } catch (error) {
    told.textContent = error.message;
  }
}

byId("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const box = byId("explanation");
  try {
    const id = byId("failure").value.trim();
    const found = await ask(`/v1/explain/${encodeURIComponent(id)}?limit=${LISTED}`);
    const words = `${found.errno.meaning} (${found.errno.name}) on '${found.volume}', reported ${found.reported.rfc3339}; ${found.unresolved ? "still true" : "over"}.`;
    const table = make("table");
    table.append(...found.extents.map(extentRow));
    box.replaceChildren(make("p", words), table);
  } catch (error) {
    box.replaceChildren(make("p", error.message, "bad"));
  }
});

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  byId("token").value = "";
  turn();
});

let timer = 0;
async function turn() {
  clearTimeout(timer);
  try {
    if (!document.hidden) await look();
    byId("key").hidden = true;
    byId("main").hidden = false;
    byId("note").textContent = "";
  } catch (error) {
    if (error.status === 401) {
      byId("refused").textContent = sessionStorage.getItem("token") ? "This is not the token." : "";
      sessionStorage.removeItem("token");
      byId("main").hidden = true;
      byId("key").hidden = false;
      return;
    }
    byId("note").textContent = error instanceof Refused ? error.message : "The daemon does not answer: what is shown is old.";
    byId("note").className = "bad";
  }
  timer = setTimeout(turn, PERIOD_MS);
}
document.addEventListener("visibilitychange", turn);
turn();
