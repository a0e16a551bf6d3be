// What surrounds every page: header, search, navigation, the live strip, the footer.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as icons from "./icons.js";
import { duration, grouped, isAddress, isTokenId, plural, shortened } from "./format.js";
import { copier, moment, tokenHref, walletHref } from "./parts.js";

const PLACES = [
  ["leaderboard", "#/", "Leaderboard", icons.ranks],
  ["feast", "#/feast", "Feast", icons.feast],
  ["activity", "#/activity", "Activity", icons.activity],
  ["tokens", "#/tokens", "Tokens", icons.token],
  ["health", "#/health", "Health", icons.health],
];

const STATES = {
  connecting: "Connecting",
  live: "Live",
  stale: "Stale",
  disconnected: "Disconnected",
};

export function frame({ visit, live, programme, content }) {
  return html`<a class="skip" href="#main" @click=${toMain}>Skip to content</a>
    <header class="top"><div class="top-row">
      <a class="brand" href="#/"><img src="icon.svg" alt="" width="28" height="28">ngu points</a>
      ${navigation(visit)}${search()}${theme()}
    </div></header>
    ${strip(live, shown(visit) ?? live.position?.valid)}
    <main id="main" tabindex="-1">${content}</main>
    ${footer(programme)}
    <p id="said" class="hidden" role="status"></p>`;
}

function toMain(event) {
  event.preventDefault();
  document.querySelector("#main").focus();
}

function navigation(visit) {
  return html`<nav class="nav" aria-label="Pages"><ul>${PLACES.map(
    ([name, href, label, icon]) => html`<li><a href=${href}
      aria-current=${visit.page.place === name ? "page" : nothing}>${icon}${label}</a></li>`,
  )}</ul></nav>`;
}

function search() {
  const find = (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const text = form.elements.what.value.trim();
    const alert = form.querySelector("[role=alert]");
    alert.hidden = isAddress(text) || isTokenId(text);
    if (isAddress(text)) location.hash = walletHref(text);
    else if (isTokenId(text)) location.hash = tokenHref(text);
    else {
      alert.textContent = "That is no wallet (0x and 40 hex digits) and no token id (a number).";
      return;
    }
    form.reset();
  };
  const calm = ({ currentTarget }) => {
    currentTarget.form.querySelector("[role=alert]").hidden = true;
  };
  return html`<search class="search"><form role="search" @submit=${find}>
    ${icons.search}
    <input name="what" aria-label="Find a wallet or a token" placeholder="Wallet 0x… or token id"
      autocomplete="off" spellcheck="false" @input=${calm}>
    <p role="alert" hidden></p></form></search>`;
}

function theme() {
  const turn = () => {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("ngu-theme", root.dataset.theme);
    } catch {
      // storage may be forbidden: then the choice lasts as long as the page
    }
  };
  return html`<button class="icon-button theme" type="button" @click=${turn}
    aria-label="Switch between light and dark" title="Light or dark">
    <span class="sun">${icons.sun}</span><span class="moon">${icons.moon}</span></button>`;
}

/** What the numbers on the page are valid to. */
function shown({ data }) {
  return Object.values(data ?? {}).find((answer) => answer?.valid)?.valid;
}

function strip(live, valid) {
  const { state, position } = live;
  return html`<section class="strip" aria-label="How fresh it is">
    <span class="live" data-state=${state} role="status">${STATES[state]}</span>
    ${state === "disconnected" ? reconnecting(live) : nothing}
    ${state === "stale" ? stale(live) : nothing}
    ${
      valid
        ? html`<span>Block <b id="block">${grouped(valid.block)}</b></span>
          <span class="nowrap">${moment(valid.timestamp)} UTC</span>
          ${
            valid.final
              ? html`<span class="badge good" title="The chain can no longer take this back">final</span>`
              : html`<span class="badge warn" title="Newer than what the chain calls final: may still change"
                >provisional</span>`
          }
          ${position?.lag ? html`<span>${plural(position.lag, "block")} behind the head</span>` : nothing}`
        : nothing
    }
    ${
      position?.alarms
        ? html`<a class="badge bad" href="#/health">${plural(position.alarms, "alarm")}</a>`
        : nothing
    }
  </section>`;
}

function reconnecting(live) {
  const seen = html`What you see is from ${moment(live.since / 1000, { date: false })} UTC.`;
  return html`<span>${live.since ? seen : nothing} Trying again by itself.</span>
    <button class="button small" type="button" @click=${live.retry}>Try now</button>`;
}

function stale(live) {
  const silent = duration((Date.now() - live.since) / 1000);
  return html`<span>Connected, but the chain has had nothing new for ${silent}.
    <a href="#/health">See why</a></span>`;
}

function footer(programme) {
  return html`<footer class="foot">
    ${
      programme?.contract
        ? html`<span>Contract <span class="mono" title=${programme.contract}
            >${shortened(programme.contract)}</span>${copier(programme.contract, "contract")}
          on chain ${programme.chainId ?? "–"}</span>
          <span>ngu-points ${programme.version}</span>`
        : nothing
    }
    <a href="api/exports/points?format=csv">Points as CSV</a>
    <a href="api/exports/tokens?format=csv&ranges=true">Tokens as CSV</a>
    <a href="openapi.json">API</a>
  </footer>`;
}
