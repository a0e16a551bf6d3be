// Events as rows: what, which tokens, who, when.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { grouped } from "../format.js";
import { address, copier, moment, table, tokenRange } from "../parts.js";

const WORDS = {
  BatchMint: ["Mint", "good"],
  BatchBurn: ["Burn", "bad"],
  BatchTransfer: ["Transfer", "held"],
  Stake: ["Stake", "staked"],
  Unstake: ["Unstake", "warn"],
};
export const TYPES = Object.keys(WORDS);
export const wordFor = (type) => WORDS[type][0];

const COLUMNS = [
  ["Event"],
  ["Tokens"],
  ["From"],
  ["To"],
  ["Block", "number"],
  ["Time, UTC"],
  ["Transaction", "number silent"],
];

export const eventTable = (label, rows) => table(label, COLUMNS, rows);

export function eventRows(events) {
  return events.map((e) => {
    const [word, tone] = WORDS[e.type];
    const last = String(BigInt(e.first) + BigInt(e.quantity) - 1n);
    return html`<tr data-event=${e.id}>
      <td><span class="badge ${tone}" title=${e.type}>${word}</span>
        ${e.error ? html`<span class="badge bad" title=${e.error}>contradicts</span>` : nothing}</td>
      <td>${tokenRange(e.first, last)}
        ${e.quantity === "1" ? nothing : html`<span class="muted nowrap">${grouped(e.quantity)} tokens</span>`}</td>
      <td>${address(e.from, { picture: false })}</td>
      <td>${address(e.type === "BatchBurn" ? null : e.to, { picture: false })}</td>
      <td class="number">${grouped(e.block)}</td><td>${moment(e.timestamp)}</td>
      <td class="number">${copier(e.transactionHash, "transaction hash")}</td></tr>`;
  });
}
