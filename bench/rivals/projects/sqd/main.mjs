// SQD: `node main.mjs`, settings in BENCH_URL, BENCH_KIND, BENCH_CONTRACT, BENCH_FROM, BENCH_TO,
// BENCH_TOPICS (signature hashes by name) and DB_URL.
import evm from "@subsquid/evm-processor";
import store from "@subsquid/typeorm-store";
import typeorm from "typeorm";
import model from "./lib/model.js";
import { advance, parts } from "./runs.mjs";

const { BENCH_URL, BENCH_KIND, BENCH_CONTRACT, BENCH_FROM, BENCH_TO, BENCH_TUNED } = process.env;
const topics = JSON.parse(process.env.BENCH_TOPICS);
const names = Object.fromEntries(Object.entries(topics).map(([name, topic]) => [topic, name]));
const nobody = "0x" + "0".repeat(40);

const tuned = { capacity: 50, maxBatchCallSize: 1000 };
const processor = new evm.EvmBatchProcessor()
  .setRpcEndpoint({ url: BENCH_URL, ...(BENCH_TUNED ? tuned : {}) })
  .setFinalityConfirmation(0)
  .setBlockRange({ from: Number(BENCH_FROM), to: Number(BENCH_TO) })
  .setFields({ block: { timestamp: true }, log: { topics: true, data: true } })
  .addLog({ address: [BENCH_CONTRACT], topic0: Object.values(topics) });

const address = (topic) => "0x" + topic.slice(26);
const word = (data, at) => Number("0x" + data.slice(2 + 64 * at, 66 + 64 * at));

async function loaded(ctx, type, keys) {
  const rows = await ctx.store.findBy(type, { id: typeorm.In([...keys]) });
  return new Map(rows.map((row) => [row.id, row]));
}

function* events(ctx) {
  for (const block of ctx.blocks) {
    const time = Math.floor(block.header.timestamp / 1000);
    for (const log of block.logs) yield [log, time];
  }
}

/** Adds to the wallets of a batch what their tokens earned in it. */
async function pay(ctx, earned) {
  const wallets = await loaded(ctx, model.Wallet, earned.keys());
  for (const [id, [held, staked]] of earned) {
    const wallet = wallets.get(id) ?? new model.Wallet({ id, held: 0, staked: 0 });
    wallet.held += held;
    wallet.staked += staked;
    wallets.set(id, wallet);
  }
  await ctx.store.upsert([...wallets.values()]);
}

function purse() {
  const earned = new Map();
  return [earned, (wallet, staked, seconds) => {
    const sums = earned.get(wallet) ?? [0, 0];
    sums[staked ? 1 : 0] += seconds;
    earned.set(wallet, sums);
  }];
}

async function erc721(ctx) {
  const all = [...events(ctx)].map(([log, time]) => [String(Number(log.topics[3])), log, time]);
  const tokens = await loaded(ctx, model.Token, new Set(all.map(([id]) => id)));
  const [earned, earn] = purse();
  for (const [id, log, time] of all) {
    const token = tokens.get(id) ?? new model.Token({ id, owner: null, since: time });
    if (token.owner !== null) earn(token.owner, false, time - token.since);
    const to = address(log.topics[2]);
    token.owner = to === nobody ? null : to;
    token.since = time;
    tokens.set(id, token);
  }
  await ctx.store.upsert([...tokens.values()]);
  await pay(ctx, earned);
}

/** What a log of ours says: [effect, first id, quantity]. */
function read(log) {
  const who = address(log.topics[1]);
  const [first, quantity] = [word(log.data, 0), word(log.data, 1)];
  switch (names[log.topics[0]]) {
    case "BatchMint": return [{ mint: who }, first, quantity];
    case "BatchBurn": return [{ burn: true }, first, quantity];
    case "BatchTransfer": return [{ owner: address(log.topics[2]) }, first, quantity];
    case "Stake": return [{ staker: who }, first, 1];
    default: return [{ staker: null }, first, 1];
  }
}

async function ngu(ctx) {
  const all = [...events(ctx)].map(([log, time]) => [...read(log), time]);
  const touched = all.flatMap(([, first, quantity]) => parts(first, quantity).map(([at]) => String(at)));
  const rows = await loaded(ctx, model.Page, new Set(touched));
  const pages = new Map([...rows].map(([id, row]) => [Number(id), JSON.parse(row.runs)]));
  const [earned, earn] = purse();
  for (const [effect, first, quantity, time] of all) {
    for (const [page, from, to] of parts(first, quantity)) {
      pages.set(page, advance(pages.get(page) ?? [], from, to, effect, time, earn));
    }
  }
  const changed = [...pages].map(([id, runs]) => new model.Page({ id: String(id), runs: JSON.stringify(runs) }));
  await ctx.store.upsert(changed);
  await pay(ctx, earned);
}

const database = new store.TypeormDatabase({ supportHotBlocks: !BENCH_TUNED });
processor.run(database, BENCH_KIND === "ngu" ? ngu : erc721);
