// The frame of every page: where we are, what is loaded, whether it is live.
//
// A page is {title, every, start, load, view}: `load` asks the API, `view` draws what came. It is
// loaded again when the chain moves on, at most once in `every` milliseconds; once in `idle` where
// the news does not concern it. Where time itself changes figures, it `beats`: heartbeats do it too.

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { get, Problem } from "./api.js";
import { frame } from "./frame.js";
import { follow } from "./live.js";
import { failed, loading, marked } from "./parts.js";
import { nothingYet } from "./pages/nothing_yet.js";
import * as activity from "./pages/activity.js";
import * as feast from "./pages/feast.js";
import * as health from "./pages/health.js";
import * as leaderboard from "./pages/leaderboard.js";
import * as token from "./pages/token.js";
import * as wallet from "./pages/wallet.js";

const ROUTES = [
  [/^\/?$/, leaderboard],
  [/^\/around\/([^/]+)$/, leaderboard],
  [/^\/wallet\/([^/]+)$/, wallet],
  [/^\/feast(?:\/([^/]+))?$/, feast],
  [/^\/activity$/, activity],
  [/^\/tokens$/, token],
  [/^\/token\/([^/]+)$/, token],
  [/^\/health$/, health],
];

const AGAIN = 3;
const app = document.querySelector("#app");
let visit = null; // the page that is open, and everything that belongs to it
let programme = null; // what is served: chain, contract, seasons
let live = null;

function open() {
  const path = location.hash.startsWith("#/") ? location.hash.slice(1) : visit ? null : "/";
  if (path === null) return; // "#main" is a place on the page, not a page
  const [match, page] = route(path);
  const moved = visit !== null;
  if (moved) clearTimeout(visit.timer);
  visit = { page, subject: match[1] ?? null, ui: page.start?.() ?? {}, data: null, problem: null };
  visit.due = Infinity; // when it is loaded again
  visit.focus = moved;
  document.title = `${page.title(visit)} · ngu points`;
  scrollTo(0, 0);
  draw();
  load(visit);
}

function route(path) {
  for (const [pattern, page] of ROUTES) {
    const match = pattern.exec(decoded(path));
    if (match) return [match, page];
  }
  location.replace("#/");
  return [["/"], leaderboard];
}

function decoded(path) {
  try {
    return decodeURI(path);
  } catch {
    return path; // a mistyped link: the page says what is wrong with it
  }
}

async function load(one) {
  if (one.loading) {
    one.again = true;
    return;
  }
  one.loading = true;
  one.again = false;
  try {
    one.data = await consistent(() => one.page.load(get, { ...one, live }));
    one.problem = null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    one.problem = error;
  } finally {
    one.loading = false;
    one.loadedAt = Date.now();
  }
  if (one !== visit) return;
  draw();
  if (one.again) load(one);
}

/** The block of every answer that a page was made from. */
const blocks = (data) =>
  Object.values(data)
    .map((answer) => answer?.valid?.block)
    .filter((block) => block !== undefined);

/** What a page shows belongs to one block: ask again if a block came between two answers. */
async function consistent(load) {
  let data = await load();
  for (let again = 0; again < AGAIN && new Set(blocks(data)).size > 1; again++) data = await load();
  return data;
}

/** Load the open page again, but not more often than it wants. */
function refresh(news) {
  const one = visit;
  const concerned = one.page.concerns?.(news, one) ?? true;
  const due = (one.loadedAt ?? 0) + (concerned ? one.page.every : one.page.idle);
  if (one.due <= due) return;
  clearTimeout(one.timer);
  one.due = due;
  one.timer = setTimeout(
    () => {
      one.due = Infinity;
      if (one === visit) load(one);
    },
    Math.max(0, due - Date.now()),
  );
}

function content() {
  const { page, data, problem } = visit;
  if (problem?.code === "no-data") return nothingYet(programme, live);
  if (problem && !data) return failed(problem, () => load(visit));
  if (!data) return loading;
  const context = { ...visit, programme, live, set };
  const old = problem && problem.code !== "offline";
  return html`${old ? html`<p class="notice" role="alert">${marked(problem.message)}</p>` : nothing}
    ${page.view(data, context)}`;
}

/** Change what the reader has chosen on this page; `again` asks the API anew. */
function set(changes, again = true) {
  Object.assign(visit.ui, changes);
  draw();
  if (again) load(visit);
}

function draw() {
  render(frame({ visit, live, programme, content: content() }), app);
  if (visit.focus && (visit.data || visit.problem)) {
    visit.focus = false;
    document.querySelector("main h1, main h2")?.focus({ preventScroll: true });
  }
}

async function introduce() {
  try {
    const status = await get("status");
    programme = { ...status.programme, running: status.running };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
  draw();
}

live = follow((news, beat) => {
  if (!visit) return;
  if (news && (!beat || visit.page.beats)) refresh(news);
  if (!programme && live.state === "live") introduce();
  draw();
});
addEventListener("hashchange", open);
open();
introduce();
