// Who has most points, live.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { mustBeAddress } from "../api.js";
import { duration, grouped, percent, plural } from "../format.js";
import {
  address,
  amount,
  bar,
  empty,
  figures,
  heading,
  table,
  walletHref,
  seasons,
} from "../parts.js";

const STEP = 50;
const MOST = 1000;
const COLUMNS = [
  ["Rank", "rank"],
  ["Wallet"],
  ["Points", "number"],
  ["Against the first", "wide share silent"],
  ["All seasons", "number wide"],
  ["Held", "number wide"],
  ["Staked", "number wide"],
];

export const place = "leaderboard";
export const every = 1000;
export const title = () => "Leaderboard";
export const start = () => ({ limit: STEP, season: null });

export async function load(get, { ui, subject }) {
  if (subject) mustBeAddress(subject);
  const wanted = {
    season: ui.season,
    ...(subject ? { around: subject, limit: 21 } : { limit: ui.limit }),
  };
  const [board, feasts] = await Promise.all([
    get("leaderboard", wanted),
    get("feasts", { limit: 1 }),
  ]);
  return { board, feasts };
}

export function view({ board, feasts }, context) {
  const { live, subject } = context;
  return html`${heading("Leaderboard", summary(board, subject), seasons(board.season, context))}
    <div class="stack">${figures(totals(board, feasts.open, live.position?.totals))}
    ${board.wallets.length ? ranking(board, context) : nobody(subject, context)}</div>`;
}

function summary(board, subject) {
  const season = board.season === null ? "" : `Season ${board.season}, `;
  const all = html`${season}${plural(board.total, "wallet")} with points`;
  return subject ? html`${all}. Around one wallet; <a href="#/">show all</a>` : all;
}

function totals(board, feast, all) {
  const rows = [
    ["Wallets", all ? grouped(all.wallets) : "–", `${grouped(board.total)} with points`],
  ];
  if (all) {
    rows.push(["Tokens", grouped(all.tokens), "alive now"]);
    rows.push(["Staked", `${percent(all.staked, all.tokens)}%`, plural(all.staked, "token")]);
  }
  if (feast) {
    const left = feast.closesAt - board.valid.timestamp;
    rows.push(["Today’s feast", amount(feast.pool), `shared in ${duration(left)}`]);
  }
  return rows;
}

function ranking(board, context) {
  const moved = new Map((context.live.position?.moved ?? []).map((m) => [m.wallet, m]));
  const most = Number(board.wallets[0].points);
  const rows = repeat(
    board.wallets,
    (row) => row.wallet,
    (row) => line(row, most, moved, context),
  );
  return html`<section class="card flush" aria-label="Ranking">
    ${table("Leaderboard", COLUMNS, rows)}${more(board, context)}</section>`;
}

function line(row, most, moved, { subject }) {
  const here = subject?.toLowerCase() === row.wallet;
  return html`<tr data-wallet=${row.wallet} class="${moved.has(row.wallet) ? "flash" : ""} ${here ? "here" : ""}">
    <td class="rank"><span class=${row.rank <= 3 ? "medal" : ""}>${row.rank}</span></td>
    <td>${address(row.wallet)}</td>
    <td class="number points"><a class="plain" href=${walletHref(row.wallet)}
      title="Why this many?">${amount(row.points)}</a></td>
    <td class="wide share">${bar(Number(row.points) / most)}</td>
    <td class="number wide muted">${amount(row.totalPoints)}</td>
    <td class="number wide">${grouped(row.held)}</td>
    <td class="number wide">${grouped(row.staked)}</td></tr>`;
}

function more(board, { ui, set, subject }) {
  const shown = board.wallets.length;
  if (subject || shown >= board.total) return nothing;
  if (ui.limit >= MOST) {
    return html`<p class="more muted">The first ${grouped(shown)} of ${grouped(board.total)}.
      <a href="api/exports/points?format=csv">All of them as CSV</a></p>`;
  }
  return html`<p class="more"><button class="button" type="button"
    @click=${() => set({ limit: Math.min(MOST, ui.limit + STEP) })}>Show more</button>
    <span class="muted">${grouped(shown)} of ${grouped(board.total)}</span></p>`;
}

function nobody(subject, { programme, live }) {
  if (subject) return empty("That wallet has no rank", "It has no points in this season.");
  if (live.position?.events === 0) {
    return empty(
      "No event yet",
      `No event of kind “${programme?.kind}” has been read so far. If the collection has tokens already, it
      emits other events: set contract.kind in ngu.toml, for an ERC-721 collection to “erc721”.`,
    );
  }
  return empty(
    "No wallet has points yet",
    "Points begin with the first mint. If tokens exist already, look at the rates and the season in ngu.toml.",
  );
}
