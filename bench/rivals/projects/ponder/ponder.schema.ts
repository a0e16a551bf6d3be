import { onchainTable } from "ponder";

export const token = onchainTable("token", (t) => ({
  id: t.bigint().primaryKey(),
  owner: t.hex(),
  since: t.integer().notNull(),
}));

export const page = onchainTable("page", (t) => ({
  id: t.integer().primaryKey(),
  runs: t.text().notNull(),
}));

export const wallet = onchainTable("wallet", (t) => ({
  id: t.hex().primaryKey(),
  held: t.bigint().notNull(),
  staked: t.bigint().notNull(),
}));
