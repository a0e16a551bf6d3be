import { ponder } from "ponder:registry";
import { page, token, wallet } from "ponder:schema";
import { zeroAddress } from "viem";
// @ts-ignore: plain JavaScript, shared with another rival
import { advance, parts } from "../runs.mjs";

async function pay(db: any, id: `0x${string}`, held: bigint, staked: bigint) {
  await db
    .insert(wallet)
    .values({ id, held, staked })
    .onConflictDoUpdate((row: any) => ({ held: row.held + held, staked: row.staked + staked }));
}

async function change(context: any, event: any, effect: object, first: bigint, quantity: bigint) {
  const { db } = context;
  const time = Number(event.block.timestamp);
  const earned = new Map<`0x${string}`, [number, number]>();
  const earn = (who: `0x${string}`, staked: boolean, seconds: number) => {
    const [held, kept] = earned.get(who) ?? [0, 0];
    earned.set(who, staked ? [held, kept + seconds] : [held + seconds, kept]);
  };
  for (const [id, from, to] of parts(Number(first), Number(quantity))) {
    const row = await db.find(page, { id });
    const runs = JSON.stringify(advance(row ? JSON.parse(row.runs) : [], from, to, effect, time, earn));
    if (row) await db.update(page, { id }).set({ runs });
    else await db.insert(page).values({ id, runs });
  }
  for (const [who, [held, staked]] of earned) await pay(db, who, BigInt(held), BigInt(staked));
}

// Addresses arrive with checksums' capitals, which the answer is not to have.
const low = (address: string) => address.toLowerCase() as `0x${string}`;

if (process.env.BENCH_KIND === "ngu") {
  const on = ponder.on.bind(ponder) as any;
  on("Collection:BatchMint", ({ event, context }: any) =>
    change(context, event, { mint: low(event.args.to) }, event.args.startTokenId, event.args.quantity));
  on("Collection:BatchBurn", ({ event, context }: any) =>
    change(context, event, { burn: true }, event.args.startTokenId, event.args.quantity));
  on("Collection:BatchTransfer", ({ event, context }: any) =>
    change(context, event, { owner: low(event.args.to) }, event.args.startTokenId, event.args.quantity));
  on("Collection:Stake", ({ event, context }: any) =>
    change(context, event, { staker: low(event.args.account) }, event.args.tokenId, 1n));
  on("Collection:Unstake", ({ event, context }: any) =>
    change(context, event, { staker: null }, event.args.tokenId, 1n));
} else {
  (ponder as any).on("Collection:Transfer", async ({ event, context }: any) => {
    const { db } = context;
    const id = event.args.tokenId;
    const since = Number(event.block.timestamp);
    const owner = event.args.to === zeroAddress ? null : low(event.args.to);
    if (event.args.from === zeroAddress) {
      await db.insert(token).values({ id, owner, since }).onConflictDoUpdate({ owner, since });
      return;
    }
    const row = await db.find(token, { id });
    await pay(db, row.owner, BigInt(since - row.since), 0n);
    await db.update(token, { id }).set({ owner, since });
  });
}
