// Questions to the API. The browser revalidates by ETag on its own; what fails is one sentence.

import { isAddress } from "./format.js";

/** An answer that is an error: `message` is for people, `code` for the page. */
export class Problem extends Error {
  constructor(detail, { code = "", status = 0, hint = null } = {}) {
    super(hint ? `${sentence(detail)} ${sentence(hint)}` : sentence(detail));
    this.code = code;
    this.status = status;
  }
}

function sentence(text) {
  const plain = text.trim().replace(/\.$/, "");
  return `${plain.charAt(0).toUpperCase()}${plain.slice(1)}.`;
}

/** Problem unless the text is an address: then the API need not be asked. */
export function mustBeAddress(text) {
  if (isAddress(text)) return;
  throw new Problem(`${text} is no wallet`, { hint: "an address is 0x and 40 hex digits" });
}

/** GET api/`path`; parameters that are null or "" are left out. Throws Problem. */
export async function get(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const query = new URLSearchParams(given).toString();
  let response;
  try {
    response = await fetch(`api/${path}${query ? `?${query}` : ""}`);
  } catch {
    throw new Problem("the server cannot be reached", {
      code: "offline",
      hint: "see whether `ngu run` is up",
    });
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  throw new Problem(body?.detail ?? `the server answered ${response.status}`, {
    code: body?.code,
    status: response.status,
    hint: body?.hint,
  });
}
