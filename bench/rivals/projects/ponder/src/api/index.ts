// Ponder wants an API; this one gives the whole answer, for either database.
import { db } from "ponder:api";
import { page, token, wallet } from "ponder:schema";
import { Hono } from "hono";

const app = new Hono();

app.get("/answer", async (c) => {
  const tokens = await db.select().from(token);
  const pages = await db.select().from(page);
  const wallets = await db.select().from(wallet);
  return c.json({
    tokens: tokens.filter((row) => row.owner).map((row) => [String(row.id), row.owner, row.since]),
    pages: pages.map((row) => JSON.parse(row.runs)),
    wallets: wallets.map((row) => [row.id, String(row.held), String(row.staked)]),
  });
});

export default app;
