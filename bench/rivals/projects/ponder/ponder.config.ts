// Ponder: settings by environment, as for the other rivals; BENCH_DATABASE is a URL or empty.
import { createConfig } from "ponder";
import { erc721, ngu } from "./abis";

const { BENCH_URL, BENCH_KIND, BENCH_CONTRACT, BENCH_FROM, BENCH_TO, BENCH_TUNED } = process.env;
const database = process.env.BENCH_DATABASE;

// Every entry of `rpc` has a budget of requests of its own, which starts at 20 a second.
const tuned = { rpc: Array(25).fill(BENCH_URL!), ethGetLogsBlockRange: 500 };

export default createConfig({
  database: database
    ? { kind: "postgres", connectionString: database }
    : { kind: "pglite", directory: process.env.BENCH_FOLDER! },
  chains: {
    bench: { id: 31338, ...(BENCH_TUNED ? tuned : { rpc: BENCH_URL! }) },
  },
  contracts: {
    Collection: {
      abi: BENCH_KIND === "ngu" ? ngu : erc721,
      chain: "bench",
      address: BENCH_CONTRACT as `0x${string}`,
      startBlock: Number(BENCH_FROM),
      endBlock: Number(BENCH_TO),
    },
  },
});
