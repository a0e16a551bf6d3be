// What is going on: events and staking over time, and the events themselves.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import "../charts.js";
import { grouped, percent } from "../format.js";
import { figures, heading } from "../parts.js";
import { eventRows, eventTable, TYPES, wordFor } from "./events.js";

const WINDOWS = [
  ["5m", "5 minutes", "24 hours"],
  ["hour", "1 hour", "12 days"],
  ["day", "1 day", "the last months"],
];
const STEP = 25;

export const place = "activity";
export const every = 2000;
export const title = () => "Activity";
export const start = () => ({ window: "5m", type: null, limit: STEP });

export async function load(get, { ui }) {
  const [series, events] = await Promise.all([
    get("series", { window: ui.window, limit: 288 }),
    get("events", { type: ui.type, limit: ui.limit }),
  ]);
  return { series, events };
}

export function view({ series, events }, context) {
  const { position } = context.live;
  return html`${heading("Activity", "Events of the collection, and how much of it is staked", windows(context))}
    <div class="stack">${position ? figures(now(position)) : nothing}
      <div class="columns">
        <section class="card"><h2>Events</h2>${chart(series, EVENTS, (w) => w.newEvents)}</section>
        <section class="card"><h2>Staking share</h2>${chart(series, SHARE, (w) => w.stakedShare * 100)}</section>
      </div>${latest(events, context)}</div>`;
}

const EVENTS = {
  label: "Events in each window",
  series: [{ name: "events", tone: "held", bars: true }],
};
const SHARE = {
  label: "Share of tokens staked",
  series: [{ name: "staked", tone: "accent" }],
  max: 100,
  unit: "%",
};

function windows({ ui, set }) {
  return html`<div class="switch" role="group" aria-label="Window">${WINDOWS.map(
    ([name, label, reach]) => html`<button type="button" aria-pressed=${ui.window === name}
      title="Windows of ${label}, over ${reach}" @click=${() => set({ window: name })}>${label}</button>`,
  )}</div>`;
}

function now({ events, eventsPerSecond, totals }) {
  return [
    ["Events", grouped(events), "in all"],
    ["Rate", `${grouped(eventsPerSecond.toFixed(1))}/s`, "over the last minute"],
    [
      "Staked",
      `${percent(totals.staked, totals.tokens)}%`,
      `${grouped(totals.staked)} of ${grouped(totals.tokens)}`,
    ],
    ["Wallets", grouped(totals.wallets), "ever seen"],
  ];
}

function chart({ series }, spec, value) {
  if (series.length < 2) {
    return html`<p class="muted">A line needs two windows: the first figures are there, the next come when the
      window is over.</p>`;
  }
  return html`<ngu-chart .spec=${spec} .rows=${series.map((w) => [w.at, value(w)])}></ngu-chart>`;
}

function latest(events, { ui, set }) {
  const options = TYPES.map(
    (type) => html`<option value=${type} ?selected=${ui.type === type}>${wordFor(type)}</option>`,
  );
  return html`<section class="card flush"><div class="card-head"><h2>Latest events</h2>
      <label class="choice">Show <select @change=${(e) => set({ type: e.target.value || null })}>
        <option value="" ?selected=${ui.type === null}>all</option>${options}</select></label></div>
    ${
      events.events.length
        ? eventTable("Latest events", eventRows(events.events))
        : html`<p class="pad muted">${ui.type ? "No such event in the last blocks." : "No event yet."}</p>`
    }
    ${
      events.next
        ? html`<p class="more"><button class="button" type="button"
          @click=${() => set({ limit: Math.min(500, ui.limit * 4) })}>Earlier events</button></p>`
        : nothing
    }</section>`;
}
