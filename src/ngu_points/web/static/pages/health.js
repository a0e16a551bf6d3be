// Is it right, is it live, what is it doing: the flow as a picture, with its figures on it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import "../charts.js";
import { duration, grouped, plural } from "../format.js";
import { heading, marked, moment, table } from "../parts.js";

export const place = "health";
export const every = 1500;
export const beats = true;
export const title = () => "Health";

export async function load(get) {
  const [status, windows] = await Promise.all([get("status"), seriesOf(get)]);
  return { status, windows };
}

/** The last 24 hours; while there are few, the last hour in steps of 5 seconds. */
async function seriesOf(get) {
  const day = await get("series", { window: "5m", limit: 288 });
  return day.series.length > 2 ? day : get("series", { window: "live", limit: 720 });
}

const WORDS = { ok: "well", warning: "look", alarm: "alarm", idle: "idle" };
const TONES = { ok: "good", warning: "warn", alarm: "bad", idle: "" };

export function view({ status, windows }) {
  return html`${heading("Health", overall(status))}
    <div class="stack">
      ${
        status.alarms.length
          ? html`<div class="notice bad" role="alert">
            <ul>${status.alarms.map((a) => html`<li>${marked(a)}</li>`)}</ul></div>`
          : nothing
      }
      ${flow(status)}
      <div class="columns">
        ${figuresOf(status)}
        <section class="card"><h2>Lag and backlog</h2>${chart(windows.series)}</section>
      </div>
      <div class="columns">${endpoints(status.endpoints)}${jobs(status.jobs)}</div>
    </div>`;
}

function overall({ running, alarms, valid, at }) {
  if (!running) return marked("Nothing is reading the chain now: start `ngu run`.");
  if (alarms.length)
    return `${plural(alarms.length, "alarm")}. What to type for each is in docs/operations.md.`;
  if (!valid) return "Catching up: no block has been processed yet.";
  return html`All is well, as of ${moment(at, { date: false })} UTC.`;
}

/** monitor → stream → tables → process → state, each with the figures that belong there. */
function flow(status) {
  const notes = stageFigures(status);
  return html`<section aria-label="The flow"><ol class="flow" data-running=${status.running}>${status.stages.map(
    (stage) => html`<li class="stage ${stage.state}" data-stage=${stage.name}>
      <h2>${stage.name} <span class="badge ${TONES[stage.state]}">${WORDS[stage.state]}</span></h2>
      <p>${marked(stage.text)}</p>
      <dl>${notes[stage.name].map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></li>`,
  )}</ol></section>`;
}

function stageFigures({
  head,
  lag,
  coverage,
  backlog,
  deadLetters,
  rates,
  events,
  anomalies,
  totals,
}) {
  return {
    monitor: [
      ["Head", number(head)],
      ["Lag", lag === null ? "–" : plural(lag, "block")],
      ["Rate", `${rates.blocksPerSecond.toFixed(1)} blocks/s`],
    ],
    stream: [
      ["Read to", number(coverage.to)],
      ["Gaps", number(coverage.gaps.length)],
    ],
    tables: [
      ["Backlog", number(backlog)],
      ["Dead letters", number(deadLetters)],
    ],
    process: [
      ["Rate", `${rates.eventsPerSecond.toFixed(1)} events/s`],
      ["Contradictions", number(anomalies)],
    ],
    state: [
      ["Tokens", number(totals.tokens)],
      ["Wallets", number(totals.wallets)],
      ["Events", number(events.total)],
    ],
  };
}

const number = (value) => (value === null || value === undefined ? "–" : grouped(value));

function figuresOf(status) {
  const { coverage, finality, delay, uncertainWallets, retractions } = status;
  const pairs = [
    ["Covered", `blocks ${number(coverage.from)} to ${number(coverage.to)}`],
    ["Final through", `block ${number(finality.final)}`],
    ["Behind the wall clock", delay === null ? "–" : duration(delay)],
    ["In the archive through", `block ${number(coverage.archivedThrough)}`],
    [
      "Proven by certificates",
      coverage.certified.length ? coverage.certified.join(", ") : "none: see `ngu certify`",
    ],
    ["Uncertain wallets", number(uncertainWallets)],
    ["Points taken back", number(retractions)],
  ];
  const gaps = coverage.gaps.map(
    (g) => html`<li>${g.stream}, blocks ${grouped(g.from)} to ${grouped(g.to)}: ${g.why}</li>`,
  );
  return html`<section class="card"><h2>Coverage</h2>
    <dl class="pairs">${pairs.map(([name, value]) => html`<dt>${name}</dt><dd>${marked(value)}</dd>`)}
      <dt>Gaps</dt><dd>${gaps.length ? html`<ul class="plain-list">${gaps}</ul>` : "none"}</dd></dl></section>`;
}

const LAG = {
  label: "Lag in blocks and waiting events",
  least: 5,
  series: [
    { name: "lag, blocks", tone: "feast", step: true },
    { name: "backlog, events", tone: "held", step: true },
  ],
};

function chart(series) {
  const rows = series.map((w) => [w.at, w.lag, w.backlog]);
  if (rows.length < 2) return html`<p class="muted">The first figures come in a while.</p>`;
  return html`<ngu-chart .spec=${LAG} .rows=${rows}></ngu-chart>`;
}

function endpoints(all) {
  const rows = all.map(
    (e) => html`<tr><td>${e.host}</td><td class="number">${grouped(e.requests)}</td>
      <td class="number">${grouped(e.failures)}</td>
      <td class="number ${e.contradictions ? "wrong" : ""}">${grouped(e.contradictions)}</td></tr>`,
  );
  const columns = [
    ["Host"],
    ["Requests", "number"],
    ["Failed", "number"],
    ["Wrong answers", "number"],
  ];
  return html`<section class="card flush"><h2>Endpoints</h2>
    ${
      rows.length
        ? table("Endpoints", columns, rows)
        : html`<p class="pad muted">None has been asked yet.</p>`
    }</section>`;
}

function jobs(all) {
  const rows = all.map(
    (j) => html`<tr><td>${j.name}</td><td>${moment(j.lastRun)}</td>
      <td>${
        j.ok
          ? html`<span class="badge good">done</span>`
          : html`<span class="badge bad" title=${j.error}>failed</span>`
      }</td></tr>`,
  );
  return html`<section class="card flush"><h2>Schedules</h2>
    ${
      rows.length
        ? table("Schedules", [["Job"], ["Last run, UTC"], ["Result"]], rows)
        : html`<p class="pad muted">None has run yet.</p>`
    }</section>`;
}
