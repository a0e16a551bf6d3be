// What is going on: events and staking over time, and the events themselves.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import "../charts.js";
import { grouped, percent } from "../format.js";
import { figures, heading } from "../parts.js";
import { eventRows, eventTable, TYPES, wordFor } from "./events.js";

const WINDOWS = [
  ["live", "Live", "Every 5 seconds, over an hour"],
  ["5m", "5 minutes", "Windows of 5 minutes, over 24 hours"],
  ["hour", "Hours", "Windows of an hour, over 12 days"],
  ["day", "Days", "Windows of a day, over the last months"],
];
const FEW = 6; // windows that are too few for a line that says something
const STEP = 25;

export const place = "activity";
export const every = 2000;
export const beats = true;
export const title = () => "Activity";
export const start = () => ({ window: null, type: null, limit: STEP });

export async function load(get, { ui, live }) {
  const [windows, events] = await Promise.all([
    seriesOf(get, ui.window, live?.polled),
    get("events", { type: ui.type, limit: ui.limit }),
  ]);
  return { windows, events };
}

/** The chosen windows; until somebody chooses, those of 5 minutes if they make a line.
 * Who does not stream keeps none of 5 seconds. */
async function seriesOf(get, window, polled) {
  const asked = (name) => get("series", { window: name, limit: name === "live" ? 720 : 288 });
  if (window) return asked(window);
  const found = await asked("5m");
  return found.series.length < FEW && !polled ? asked("live") : found;
}

export function view({ windows, events }, context) {
  const { position } = context.live;
  const { window, series } = windows;
  const [spec, value] = window === "live" ? [RATE, "eventsPerSecond"] : [EVENTS, "newEvents"];
  const happened = series.map((w) => [w.at, w[value]]);
  const staked = series.map((w) => [w.at, w.stakedShare * 100]);
  return html`${heading(
    "Activity",
    "Events of the collection, and how much of it is staked",
    choice(window, context),
  )}
    <div class="stack">${position ? figures(now(position)) : nothing}
      <div class="columns">
        <section class="card"><h2>Events</h2>${chart(spec, happened)}</section>
        <section class="card"><h2>Staking share</h2>${chart(SHARE, staked)}</section>
      </div>${latest(events, context)}</div>`;
}

const EVENTS = {
  label: "Events in each window",
  least: 5,
  series: [{ name: "events", tone: "held", bars: true }],
};
const RATE = {
  label: "Events a second",
  series: [{ name: "events a second", tone: "held" }],
};
const SHARE = {
  label: "Share of tokens staked",
  series: [{ name: "staked", tone: "accent" }],
  unit: "%",
};

function choice(chosen, { set, live }) {
  const offered = live.polled ? WINDOWS.slice(1) : WINDOWS;
  return html`<div class="switch" role="group" aria-label="Window">${offered.map(
    ([name, label, about]) => html`<button type="button" aria-pressed=${chosen === name}
      title=${about} @click=${() => set({ window: name })}>${label}</button>`,
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

function chart(spec, rows) {
  if (rows.length < 2) {
    return html`<p class="muted">A line needs two points: the first figures are there, the next come in a while.</p>`;
  }
  return html`<ngu-chart .spec=${spec} .rows=${rows}></ngu-chart>`;
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
