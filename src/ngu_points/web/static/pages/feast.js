// The feast: today's pool and who would get what, the days before.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { duration, fromMicro, grouped, percent, plural } from "../format.js";
import { address, amount, bar, empty, figures, heading, moment, table } from "../parts.js";

const STEP = 50;

export const place = "feast";
export const every = 2000;
export const title = ({ subject }) => (subject ? `Feast of ${subject}` : "Feast");
export const start = () => ({ limit: STEP, days: 14 });

export async function load(get, { subject, ui }) {
  const feasts = await get("feasts", { limit: ui.days });
  if (!subject && !feasts.open) return { feasts, day: null };
  const day = await get(`feasts/${encodeURIComponent(subject ?? "today")}`, { limit: ui.limit });
  return { feasts, day };
}

export function view({ feasts, day }, context) {
  if (!day) {
    return html`${heading("Feast")}${empty(
      "No feast yet",
      "The first day begins with the first event. Each day’s pool is shared among stakers at 00:00 UTC.",
    )}`;
  }
  return html`${day.open ? today(day) : past(day)}
    <div class="stack">${figures(day.open ? openFigures(day) : closedFigures(day.feast))}
      ${sharesOf(day, context)}${last(feasts, context)}</div>`;
}

function today({ feast, valid }) {
  const left = duration(feast.closesAt - valid.timestamp);
  return heading(
    "Today’s feast",
    html`${feast.date}. Shared among stakers in ${left} of block time, at
      ${moment(feast.closesAt, { date: false })} UTC`,
  );
}

function past({ feast }) {
  const state = feast.published
    ? html`<span class="badge good">final</span>`
    : html`<span class="badge warn">provisional</span>`;
  const corrected = feast.corrected ? html`<span class="badge bad">corrected</span>` : nothing;
  return heading(
    html`Feast of ${feast.date}`,
    html`Closed at block ${grouped(feast.block)} ${state} ${corrected}`,
    html`<a class="button" href="#/feast">Today’s feast</a>`,
  );
}

function openFigures({ feast }) {
  return [
    ["Pool", amount(feast.pool), "points so far"],
    ["Carried over", amount(fromMicro(feast.carryMicro)), "from the day before"],
    ["From burns", amount(fromMicro(feast.contributionMicro)), "today"],
    ["Stakers", grouped(feast.stakers), `${plural(feast.stakedTokens, "token")} staked now`],
  ];
}

function closedFigures(feast) {
  return [
    ["Pool", amount(feast.pool), "points"],
    ["Carried in", amount(fromMicro(feast.carryInMicro)), "from the day before"],
    ["From burns", amount(fromMicro(feast.contributionMicro)), "that day"],
    [
      "Shared among",
      plural(feast.sharers, "wallet"),
      feast.carryOutMicro === "0"
        ? "all of the pool"
        : `${grouped(fromMicro(feast.carryOutMicro))} carried on`,
    ],
  ];
}

function sharesOf(day, { set, ui }) {
  const { open, shares, feast } = day;
  if (!shares.length) {
    return html`<section class="card message">
      <h2>${open ? "Nobody has staked today" : "Nobody had staked that day"}</h2>
      <p>${open ? "Unless somebody stakes before midnight, the" : "The"} pool is carried over to the next day.</p>
    </section>`;
  }
  const most = Number(shares[0].shareMicro) || 1;
  const rows = shares.map(
    (s) => html`<tr><td class="rank">${s.rank}</td><td>${address(s.wallet)}</td>
      <td class="wide share">${bar(Number(s.shareMicro) / most, "feast")}</td>
      <td class="number">${amount(s.share)}</td>
      <td class="number wide muted">${percent(s.shareMicro, feast.poolMicro)}%</td></tr>`,
  );
  const columns = [
    ["Rank", "rank silent"],
    ["Wallet"],
    ["Against the largest", "wide share silent"],
    ["Share", "number"],
    ["Of the pool", "number wide"],
  ];
  return html`<section class="card flush"><div class="card-head">
      <h2>${open ? "Who would get what" : "Who got what"}</h2>
      <span class="muted">${open ? "if nothing changed until midnight" : plural(day.total, "share")}</span></div>
    ${table("Shares", columns, rows)}
    ${
      day.next
        ? html`<p class="more"><button class="button" type="button"
          @click=${() => set({ limit: Math.min(1000, ui.limit * 4) })}>Show more</button></p>`
        : nothing
    }</section>`;
}

function last(feasts, { set, ui }) {
  const rows = feasts.feasts.map(
    (f) => html`<tr><td><a href="#/feast/${f.date}">${f.date}</a>
        ${f.published ? nothing : html`<span class="badge warn">provisional</span>`}
        ${f.corrected ? html`<span class="badge bad">corrected</span>` : nothing}</td>
      <td class="number">${amount(f.pool)}</td>
      <td class="number">${amount(fromMicro(f.contributionMicro))}</td>
      <td class="number">${grouped(f.sharers)}</td>
      <td class="number muted">${amount(fromMicro(f.carryOutMicro))}</td></tr>`,
  );
  const columns = [
    ["Day"],
    ["Pool", "number"],
    ["From burns", "number"],
    ["Wallets", "number"],
    ["Carried on", "number"],
  ];
  return html`<section class="card flush"><h2>The last feasts</h2>
    ${
      rows.length
        ? table("The last feasts", columns, rows)
        : html`<p class="pad muted">None yet: the first closes at the next 00:00 UTC.</p>`
    }
    ${
      feasts.next
        ? html`<p class="more"><button class="button" type="button"
          @click=${() => set({ days: Math.min(366, ui.days * 4) })}>Earlier days</button></p>`
        : nothing
    }</section>`;
}
