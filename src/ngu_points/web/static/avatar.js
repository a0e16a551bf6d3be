// A small picture of an address, so that eyes can tell two apart. Same address, same picture.

import { html, svg } from "./vendor/lit-html/lit-html.js";

const CELLS = 5;

/** A mirrored 5 × 5 pattern; decoration, silent for screen readers. */
export function avatar(address, large = false) {
  const digits = [...address.slice(2)].map((digit) => parseInt(digit, 16));
  const hue = (digits[0] * 256 + digits[1] * 16 + digits[2]) % 360;
  const cells = [];
  for (let x = 0; x < 3; x++) {
    for (let y = 0; y < CELLS; y++) {
      const digit = digits[3 + x * CELLS + y];
      if (digit < 7) continue;
      const fill = `hsl(${hue + (digit > 12 ? 40 : 0)} 58% 52%)`;
      for (const column of new Set([x, CELLS - 1 - x])) cells.push({ column, y, fill });
    }
  }
  return html`<svg class="avatar ${large ? "large" : ""}" viewBox="-1 -1 7 7" aria-hidden="true">
    ${cells.map(
      ({ column, y, fill }) =>
        svg`<rect x=${column} y=${y} width="1.02" height="1.02" fill=${fill}></rect>`,
    )}
  </svg>`;
}
