// Facts × rates, line by line, and the events behind them.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { grouped } from "../format.js";
import { amount, moment, table, tokenRange } from "../parts.js";

const NAMES = {
  held_seconds: "Holding",
  minted: "Minting",
  burned: "Burning",
  sent: "Sending",
  received: "Receiving",
  staked: "Staking a token",
  unstaked: "Unstaking a token",
  feast_micro: "Feasts",
};

/** What a fact is called in the table: "Holding", "Staking", "Staking, tier 1". */
function nameOf(fact) {
  const tier = /^staked_seconds_(\d+)$/.exec(fact)?.[1];
  if (tier !== undefined) return tier === "0" ? "Staking" : `Staking, tier ${tier}`;
  return NAMES[fact] ?? fact;
}

/** The card: `agrees` says whether the lines add up to the points, checked here once more. */
export function explanation(why, agrees, { ui, set }) {
  const worth = why.lines.filter((l) => !isZero(l.rate));
  const lines = worth.map(
    (l) => html`<tr><td>${nameOf(l.fact)}</td><td class="muted">${l.text}</td>
      <td class="number line">${amount(l.points)}</td></tr>`,
  );
  const foot = html`<tfoot><tr><th scope="row">Points</th><td>${verdict(agrees && why.agrees)}</td>
    <td class="number" id="sum">${amount(why.points)}</td></tr></tfoot>`;
  return html`<section class="card flush" aria-labelledby="why"><div class="card-head">
      <h2 id="why">Why this many?</h2><span class="muted">facts × rates</span></div>
    ${table("Explanation", [["For"], ["How it comes about"], ["Points", "number"]], lines, foot)}
    ${counted(why.lines.filter((l) => isZero(l.rate)))}
    ${intervals(why, ui, set)}</section>`;
}

const isZero = (rate) => /^0(\/|$)/.test(rate);

/** Facts that the season's rates give no points for. */
function counted(lines) {
  if (!lines.length) return nothing;
  const facts = lines.map((l) => `${grouped(l.amount)} ${l.fact.replaceAll("_", " ")}`);
  return html`<p class="pad muted">Also counted, but worth no points this season: ${facts.join(", ")}.</p>`;
}

function verdict(agrees) {
  return agrees
    ? html`<span class="badge good" title="The exact fractions of all lines were added in your browser"
        >adds up exactly</span>`
    : html`<span class="badge bad" role="alert">does not add up, please report it</span>`;
}

function intervals(why, ui, set) {
  if (!why.total) return nothing;
  const rows = why.intervals.map(
    (i) => html`<tr><td>${tokenRange(i.first, i.last)}</td>
      <td><span class="badge ${i.how}">${i.how}</span></td>
      <td>${moment(i.since)}</td><td>${i.until === null ? "now" : moment(i.until)}</td>
      <td>${happened(i.opened)}</td><td>${i.closed ? happened(i.closed) : html`<span class="muted">open</span>`}</td>
      <td class="number">${amount(i.points)}</td></tr>`,
  );
  const columns = [
    ["Tokens"],
    ["How"],
    ["From, UTC"],
    ["Until"],
    ["Opened by"],
    ["Closed by"],
    ["Points", "number"],
  ];
  return html`<details class="fold"><summary>Every interval and the events that opened and closed it
      <span class="muted">(${grouped(why.total)})</span></summary>
    ${table("Intervals", columns, rows)}
    ${
      why.next
        ? html`<p class="more"><button class="button" type="button"
          @click=${() => set({ intervals: Math.min(1000, ui.intervals * 4) })}>More intervals</button></p>`
        : nothing
    }</details>`;
}

function happened(event) {
  if (!event) return html`<span class="muted">–</span>`;
  return html`<span class="nowrap" title="transaction ${event.transactionHash}">${event.type}
    <span class="muted">block ${grouped(event.block)}</span></span>`;
}
