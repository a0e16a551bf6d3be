// Small views that several pages share.

import { html, svg, nothing } from "./vendor/lit-html/lit-html.js";
import { avatar } from "./avatar.js";
import * as icons from "./icons.js";
import { grouped, local, shortened, utc } from "./format.js";

/** Points as they came, with the decimals set back. */
export function amount(points) {
  const [whole, fraction] = grouped(points).split(".");
  const rest =
    fraction === undefined ? nothing : html`<wbr><span class="fraction">.${fraction}</span>`;
  return html`<span class="amount">${whole}${rest}</span>`;
}

export function moment(seconds, form) {
  if (seconds === null || seconds === undefined) return "–";
  const iso = new Date(Number(seconds) * 1000).toISOString();
  const [first, clock] = utc(seconds, form).split(" ");
  return html`<time class="nowrap" datetime=${iso} title="${local(seconds)} (your time)"
    >${first}${clock ? html` <span class="clock">${clock}</span>` : nothing}</time>`;
}

/** A button that copies `text`; says so for two seconds. */
export function copier(text, what) {
  const copy = async ({ currentTarget: button }) => {
    await navigator.clipboard.writeText(text);
    button.dataset.copied = "";
    say(`${what} copied`);
    setTimeout(() => delete button.dataset.copied, 2000);
  };
  return html`<button class="copy" type="button" @click=${copy}
    aria-label="Copy ${what} ${text}" title="Copy">
    <span class="before">${icons.copy}</span><span class="after">${icons.done}</span></button>`;
}

/** Tell a screen reader. */
function say(text) {
  document.querySelector("#said").textContent = text;
}

export const walletHref = (wallet) => `#/wallet/${wallet}`;
export const tokenHref = (id) => `#/token/${id}`;

/** A wallet: picture, ends of the address as a link, copy button. */
export function address(wallet, { link = true, picture = true } = {}) {
  if (!wallet) return html`<span class="muted">–</span>`;
  const short = html`<span class="mono" title=${wallet}>${shortened(wallet)}</span>`;
  return html`<span class="address">${picture ? avatar(wallet) : nothing}
    ${link ? html`<a href=${walletHref(wallet)}>${short}</a>` : short}
    ${copier(wallet, "address")}</span>`;
}

/** "12" or "1–100": ids that belong together, the first as a link. */
export function tokenRange(first, last) {
  const start = html`<a class="mono" href=${tokenHref(first)} title=${first}>${shortId(first)}</a>`;
  if (first === last) return html`<span class="nowrap">${start}</span>`;
  const end = html`<a class="mono" href=${tokenHref(last)} title=${last}>${shortId(last)}</a>`;
  return html`<span class="nowrap">${start} – ${end}</span>`;
}

const shortId = (id) => (id.length > 12 ? `${id.slice(0, 5)}…${id.slice(-5)}` : id);

/** A bar of `part` in 0..1, for the eye; the number stands beside it. */
export function bar(part, tone = "") {
  return html`<svg class="bar ${tone}" viewBox="0 0 100 6" preserveAspectRatio="none"
    aria-hidden="true">${svg`<rect width=${Math.max(0, Math.min(1, part)) * 100} height="6"></rect>`}
  </svg>`;
}

/** Which season is shown, where there are several. */
export function seasons(shown, { programme, set }) {
  const names = programme?.seasons ?? [];
  if (names.length < 2) return nothing;
  return html`<label class="choice">Season <select @change=${(e) => set({ season: e.target.value })}>
    ${names.map((name) => html`<option ?selected=${name === shown}>${name}</option>`)}
  </select></label>`;
}

/** A row of labelled numbers: [label, value, small print]; `roomy` for addresses. */
export function figures(items, width = "") {
  return html`<dl class="figures ${width}">${items.map(
    ([label, value, small]) =>
      html`<div><dt>${label}</dt><dd>${value}${small ? html`<small>${small}</small>` : nothing}</dd></div>`,
  )}</dl>`;
}

/** A table that scrolls on its own where it is too wide; `columns` as [heading, class]; class
 *  `silent` leaves a heading to screen readers. */
export function table(label, columns, rows, foot = nothing) {
  const heads = columns.map(([name, kind = ""]) => {
    const silent = kind.split(" ").includes("silent");
    return html`<th scope="col" class=${kind}>${silent ? html`<span class="hidden">${name}</span>` : name}</th>`;
  });
  return html`<div class="scroll" role="region" aria-label=${label} tabindex="0">
    <table><caption class="hidden">${label}</caption>
      <thead><tr>${heads}</tr></thead><tbody>${rows}</tbody>${foot}</table></div>`;
}

/** Text of the API with `commands` in backticks, as HTML. */
export function marked(text) {
  return String(text)
    .split("`")
    .map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));
}

/** A page that has nothing to show says what to do next. */
export function empty(title, text, commands = "") {
  return html`<section class="card message"><h2>${title}</h2><p>${text}</p>
    ${commands ? html`<pre tabindex="0">${commands}</pre>` : nothing}</section>`;
}

export function failed(problem, retry) {
  return html`<section class="card message" role="alert"><h2>This could not be loaded</h2>
    <p>${marked(problem.message)}</p><p><button class="button" type="button" @click=${retry}>Try again</button></p>
  </section>`;
}

export const loading = html`<div class="stack" aria-busy="true" aria-label="Loading">
  <div class="skeleton tall"></div><div class="skeleton taller"></div></div>`;

/** The page's heading; `focus` lands here after navigation. */
export function heading(title, text = nothing, aside = nothing) {
  return html`<div class="head"><div><h1 tabindex="-1">${title}</h1>
    ${text === nothing ? nothing : html`<p>${text}</p>`}</div>${aside}</div>`;
}
