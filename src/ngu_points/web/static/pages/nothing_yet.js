// Nothing is covered yet: what happens now, or what to do.

import { html } from "../vendor/lit-html/lit-html.js";
import { grouped } from "../format.js";
import { empty } from "../parts.js";

const COMMANDS = `ngu init        # writes ngu.toml: set chain.rpc and contract.address
ngu run         # reads the chain, keeps reading, serves this page`;

export function nothingYet(programme, live) {
  const head = live.position?.head;
  if (!programme?.running) {
    return empty(
      "No block has been read yet",
      "Nothing is reading the chain into this database. Start it, and this page fills by itself:",
      COMMANDS,
    );
  }
  return empty(
    "The first blocks are on their way",
    html`The chain is being read${head ? ` up to block ${grouped(head)}` : ""}; the first numbers appear
      here by themselves. A collection with millions of events takes a few minutes.
      <a href="#/health">Watch the pipeline</a>.`,
  );
}
