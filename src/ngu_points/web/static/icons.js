// Line icons, 24 × 24, drawn with the colour of the text around them.

import { svg, html } from "./vendor/lit-html/lit-html.js";

const icon = (body) => html`<svg viewBox="0 0 24 24" fill="none" stroke="currentColor"
  stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${body}</svg>`;

export const ranks = icon(svg`<path d="M5 20v-7M12 20V4M19 20v-11"></path>`);
export const feast = icon(
  svg`<path d="M12 3v9l6.5 6.2"></path><circle cx="12" cy="12" r="9"></circle>`,
);
export const activity = icon(svg`<path d="M3 12h4l3-8 4 16 3-8h4"></path>`);
export const token = icon(
  svg`<path d="M12 3 4 7.5v9L12 21l8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9"></path>`,
);
export const health = icon(
  svg`<rect x="3" y="9" width="5" height="6" rx="1.5"></rect><rect x="16" y="9" width="5" height="6" rx="1.5"></rect>
    <path d="M8 12h8M13 9.5l2.8 2.5-2.8 2.5"></path>`,
);
export const search = icon(
  svg`<circle cx="11" cy="11" r="7"></circle><path d="m20 20-3.8-3.8"></path>`,
);
export const copy = icon(
  svg`<rect x="9" y="9" width="11" height="11" rx="2.5"></rect><path d="M5 15V6a2 2 0 0 1 2-2h8"></path>`,
);
export const done = icon(svg`<path d="m5 12.5 4.5 4.5L19 7.5"></path>`);
export const sun = icon(
  svg`<circle cx="12" cy="12" r="4"></circle>
    <path d="M12 2v2M12 20v2M4 12H2M22 12h-2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5"></path>`,
);
export const moon = icon(
  svg`<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z"></path>`,
);
