// One token: who owns and stakes it, since when, and everything that happened to it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Problem } from "../api.js";
import { grouped, isTokenId } from "../format.js";
import { address, figures, heading, moment, tokenHref, tokenRange } from "../parts.js";
import { eventRows, eventTable } from "./events.js";

const STEP = 50;
const LAST = 2n ** 256n - 1n;
const NO_TOKEN = "A token id is a whole number from 0 to 2^256 − 1.";

export const place = "tokens";
export const every = 3000;
export const title = ({ subject }) => (subject ? `Token ${subject}` : "Tokens");
export const start = () => ({ limit: STEP });

export async function load(get, { subject, ui }) {
  if (!subject) return { events: await get("events", { limit: 12 }) };
  if (!isTokenId(subject)) throw new Problem(NO_TOKEN);
  const path = `tokens/${encodeURIComponent(subject)}`;
  const [token, history] = await Promise.all([
    get(path),
    get(`${path}/history`, { limit: ui.limit }),
  ]);
  return { token, history };
}

export function view(data, context) {
  return data.token ? one(data, context) : lookup(data, context);
}

function lookup({ events }, { live }) {
  const tokens = live.position?.totals.tokens;
  return html`${heading("Tokens", "Who owns a token, who stakes it, and since when")}
    <div class="stack"><section class="card">${form("")}
      ${tokens ? html`<p class="muted hint">${grouped(tokens)} tokens are alive.</p>` : nothing}</section>
    <section class="card flush"><h2>What happened last</h2>${
      events.events.length
        ? eventTable("Latest events", eventRows(events.events))
        : html`<p class="pad muted">No event yet.</p>`
    }</section></div>`;
}

function form(value) {
  const find = (event) => {
    event.preventDefault();
    const text = event.currentTarget.elements.token.value.trim();
    const alert = event.currentTarget.querySelector("[role=alert]");
    alert.hidden = isTokenId(text);
    if (isTokenId(text)) location.hash = tokenHref(text);
    else alert.textContent = NO_TOKEN;
  };
  return html`<form class="lookup" @submit=${find}>
    <label for="token">Token id</label>
    <input id="token" name="token" inputmode="numeric" autocomplete="off" .value=${value} placeholder="such as 45">
    <button class="button main">Look up</button>
    <p class="alert" role="alert" hidden></p></form>`;
}

function one({ token, history }, { set, ui }) {
  const more = history.next
    ? html`<p class="more"><button class="button" type="button"
        @click=${() => set({ limit: Math.min(500, ui.limit * 4) })}>Earlier events</button></p>`
    : nothing;
  return html`${heading(
    html`Token <span class="mono">${token.tokenId}</span>`,
    token.exists ? nothing : gone(history),
    neighbours(token),
  )}
    <div class="stack">${token.exists ? facts(token) : nothing}
      <section class="card flush"><h2>History</h2>
        ${
          history.events.length
            ? eventTable("History of the token", eventRows(history.events))
            : html`<p class="pad muted">No event names this token.</p>`
        }${more}</section>
      <section class="card">${form("")}</section></div>`;
}

/** Why a token is not there, from the last event on it, if there is one. */
function gone({ events: [last], next }) {
  if (!last) return next ? "It does not exist now." : "It was never minted.";
  return html`It was burned on ${moment(last.timestamp)} UTC.`;
}

function neighbours({ tokenId }) {
  const id = BigInt(tokenId);
  const link = (to, text) => html`<a class="button" href=${tokenHref(String(to))}>${text}</a>`;
  return html`<span class="pair">${id > 0n ? link(id - 1n, "Previous") : nothing}
    ${id < LAST ? link(id + 1n, "Next") : nothing}</span>`;
}

function facts(token) {
  return figures(
    [
      ["Owner", address(token.owner), html`since ${moment(token.ownedSince)} UTC`],
      [
        "Staker",
        token.staker ? address(token.staker) : "not staked",
        token.staker ? html`since ${moment(token.stakedSince)} UTC` : "",
      ],
      ["Earns for", address(token.earner), `weight ${grouped(token.weight)}`],
      [
        "Like its neighbours",
        tokenRange(token.range.first, token.range.last),
        "same owner, staker and times",
      ],
    ],
    "roomy",
  );
}
