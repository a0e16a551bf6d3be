// Tokens as runs: [first id, last id, owner, staker or null, since], sorted, in pages of ids.
// A page is one row of a rival's database; ids fit into a number here, which is faster for them.

export const PAGE = 64;

/** Each page that ids from `first` on touch, with the part of them in it: [page, first, last]. */
export function parts(first, quantity) {
  const found = [];
  const end = first + quantity - 1;
  for (let page = Math.floor(first / PAGE); page * PAGE <= end; page++) {
    found.push([page, Math.max(first, page * PAGE), Math.min(end, page * PAGE + PAGE - 1)]);
  }
  return found;
}

/**
 * The runs of a page after one event on `first` to `last`. `earn(wallet, staked, seconds)` hears
 * whose clock stops. An effect is {mint}, {owner} for a transfer, {staker} (null unstakes), {burn}.
 */
export function advance(runs, first, last, effect, time, earn) {
  if (effect.mint) {
    const at = runs.findIndex((run) => run[0] > last);
    const minted = [first, last, effect.mint, null, time];
    return at < 0 ? [...runs, minted] : [...runs.slice(0, at), minted, ...runs.slice(at)];
  }
  const after = [];
  for (const run of runs) {
    const [low, high, owner, staker, since] = run;
    if (high < first || low > last) {
      after.push(run);
      continue;
    }
    if (low < first) after.push([low, first - 1, owner, staker, since]);
    const from = Math.max(low, first);
    const to = Math.min(high, last);
    earn(staker ?? owner, staker !== null, (to - from + 1) * (time - since));
    if (!effect.burn) {
      const kept = effect.staker === undefined ? staker : effect.staker;
      after.push([from, to, effect.owner ?? owner, kept, time]);
    }
    if (high > last) after.push([last + 1, high, owner, staker, since]);
  }
  return after;
}
