// One wallet: how many points, and why.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import "../charts.js";
import { mustBeAddress } from "../api.js";
import { avatar } from "../avatar.js";
import { addsUp } from "../exact.js";
import { fromMicro, grouped, percent, plural, utc } from "../format.js";
import { amount, copier, figures, heading, moment, table, tokenRange, seasons } from "../parts.js";
import { explanation } from "./explanation.js";

const STEP = 20;

export const place = "leaderboard";
export const every = 1500;
export const idle = 15_000;
export const title = ({ subject }) => `Wallet ${subject}`;
/** Points grow with time, but the explanation is dear: at once only when an event names the wallet. */
export const concerns = (news, { subject }) =>
  news.manyChanged || news.changed.includes(subject.toLowerCase());
export const start = () => ({ season: null, ranges: STEP, feasts: 10, intervals: STEP });

export async function load(get, { subject, ui }) {
  mustBeAddress(subject);
  const path = `wallets/${encodeURIComponent(subject)}`;
  const { season } = ui;
  const record = await get(path, { season });
  if (!record.known) return { record };
  const at = record.valid.block; // all of it as of one block, also where blocks come fast
  const [holdings, why, history, { valid: _, ...feasts }] = await Promise.all([
    get(`${path}/holdings`, { at, limit: ui.ranges }),
    get(`${path}/explanation`, { at, season, limit: ui.intervals }),
    get(`${path}/history`, { to: at, season, points: 120 }),
    get(`${path}/feasts`, { limit: ui.feasts }),
  ]);
  return { record, holdings, feasts, why, history };
}

export function view(data, context) {
  const { record } = data;
  const aside = html`${seasons(record.season, context)} ${rank(record)}`;
  return html`${heading(name(record), nothing, aside)}<div class="stack">
    ${notices(record)}
    ${record.known ? body(data, context) : stranger()}</div>`;
}

function name(record) {
  return html`<span class="address title">${avatar(record.wallet, true)}
    <span class="mono whole">${record.wallet}</span>${copier(record.wallet, "address")}</span>`;
}

function rank(record) {
  if (!record.rank) return nothing;
  return html`<a class="button" href="#/around/${record.wallet}">Rank ${grouped(record.rank)}, see who is near</a>`;
}

function notices(record) {
  return html`${
    record.earns !== false
      ? nothing
      : html`<p class="notice">This address earns nothing: it is excluded by the rules of the programme.</p>`
  }
    ${
      record.uncertain
        ? html`<p class="notice">An event contradicts our record of this wallet. Its points may change until the
          record has been compared with the chain.</p>`
        : nothing
    }
    ${
      (record.retractions ?? []).length
        ? html`<div class="notice"><p>Points that were shown and taken back:</p><ul>${record.retractions.map(
            (r) =>
              html`<li>${grouped(r.shown)} became ${grouped(r.now)} (${utc(r.timestamp)} UTC): ${r.why}</li>`,
          )}</ul></div>`
        : nothing
    }`;
}

function stranger() {
  return html`<section class="card message"><h2>Nothing has happened to this wallet</h2>
    <p>No event of the collection names it, so it has no tokens and no points. If you expected some, compare
      the address; a wallet that bought a moment ago appears when its block has been read.</p>
    <p><a class="button" href="#/">To the leaderboard</a></p></section>`;
}

function body({ record, holdings, feasts, why, history }, context) {
  return html`${figures([
    [
      "Points",
      html`<span id="points">${amount(record.points)}</span>`,
      record.season === null ? "" : `season ${record.season}`,
    ],
    [
      "Today",
      record.dailyPoints === null ? "–" : html`+${amount(record.dailyPoints)}`,
      "since 00:00 UTC",
    ],
    ["Earns now", amount(record.perDay), "points a day, feasts aside"],
    ["Held", grouped(record.currentHeld), "tokens not staked"],
    ["Staked", grouped(record.currentStaked), `tokens now, ${grouped(record.totalStaked)} ever`],
    ["Streak", plural(record.stakingStreak, "day"), "with a token staked"],
  ])}
    ${explanation(
      why,
      addsUp(
        why.lines.map((l) => l.exact),
        why.exact,
      ),
      context,
    )}
    <div class="columns">
      <section class="card"><h2>Points over time</h2>${chart(history, POINTS, (s) => [s.points])}</section>
      <section class="card"><h2>Tokens over time</h2>${chart(history, TOKENS, (s) => [s.held, s.staked])}</section>
    </div>
    <div class="columns">${owned(holdings, context)}${shares(feasts, context)}</div>`;
}

const POINTS = { label: "Points over time", series: [{ name: "points", tone: "accent" }] };
const TOKENS = {
  label: "Tokens over time",
  least: 5,
  series: [
    { name: "held", tone: "held", step: true },
    { name: "staked", tone: "accent", step: true },
  ],
};

function chart(history, spec, values) {
  const rows = history.series.map((s) => [s.timestamp, ...values(s)]);
  return html`<ngu-chart .spec=${spec} .rows=${rows}></ngu-chart>`;
}

function owned(holdings, { ui, set }) {
  const rows = holdings.ranges.map(
    (r) => html`<tr><td>${tokenRange(r.first, r.last)}</td>
      <td class="number wide">${grouped(r.quantity)}</td>
      <td>${r.staked ? html`<span class="badge staked">staked</span>` : html`<span class="badge held">held</span>`}</td>
      <td>${moment(r.since)}</td></tr>`,
  );
  return html`<section class="card flush"><div class="card-head"><h2>Holdings</h2>
      <span class="muted">${plural(holdings.total, "range")}</span></div>
    ${
      holdings.total
        ? table(
            "Holdings",
            [["Tokens"], ["How many", "number wide"], ["State"], ["Since, UTC"]],
            rows,
          )
        : html`<p class="pad muted">No token at this block.</p>`
    }
    ${further(holdings.next, () => set({ ranges: Math.min(1000, ui.ranges * 4) }), "ranges")}</section>`;
}

function shares(feasts, { ui, set }) {
  const rows = feasts.feasts.map(
    (f) => html`<tr><td><a href="#/feast/${f.date}">${f.date}</a></td>
      <td class="number">${amount(f.share)}</td>
      <td class="number muted">${percent(f.shareMicro, f.poolMicro)}%</td></tr>`,
  );
  return html`<section class="card flush"><div class="card-head"><h2>Feasts</h2>
      <span class="muted">${amount(fromMicro(feasts.totalMicro))} in all</span></div>
    ${
      rows.length
        ? table("Feast shares", [["Day"], ["Share", "number"], ["Of the pool", "number"]], rows)
        : html`<p class="pad muted">No share of a feast yet: whoever has a token staked when a day ends gets one.</p>`
    }
    ${further(feasts.next, () => set({ feasts: Math.min(366, ui.feasts * 3) }), "days")}</section>`;
}

function further(next, go, what) {
  if (!next) return nothing;
  return html`<p class="more"><button class="button" type="button" @click=${go}>More ${what}</button></p>`;
}
