// Values as people read them. Amounts stay strings or BigInt from the API to the page.

const MICRO = 1_000_000n;

/** "1234567.890000" → "1,234,567.890000". */
export function grouped(text) {
  const [whole, fraction] = String(text).split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

/** Micro-points (a millionth) as points with six decimals. */
export function fromMicro(micro) {
  const amount = BigInt(micro);
  const size = amount < 0n ? -amount : amount;
  const fraction = String(size % MICRO).padStart(6, "0");
  return `${amount < 0n ? "-" : ""}${size / MICRO}.${fraction}`;
}

/** part of whole in percent with one decimal, rounded down. */
export function percent(part, whole) {
  const total = BigInt(whole);
  if (total === 0n) return "0";
  const tenths = (BigInt(part) * 1000n) / total;
  return `${tenths / 10n}.${tenths % 10n}`;
}

/** 0x1234…abcd, for eyes; the whole address is in the title and behind the copy button. */
export function shortened(hex, head = 6, tail = 4) {
  return hex.length <= 2 + head + tail ? hex : `${hex.slice(0, 2 + head)}…${hex.slice(-tail)}`;
}

export const isAddress = (text) => /^0x[0-9a-fA-F]{40}$/.test(text);
export const isTokenId = (text) => /^(0|[1-9]\d{0,77})$/.test(text) && BigInt(text) < 2n ** 256n;

const two = (n) => String(n).padStart(2, "0");

/** 2026-01-31 12:00:00, in UTC. */
export function utc(seconds, { date = true, clock = true } = {}) {
  const d = new Date(Number(seconds) * 1000);
  const day = `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
  const time = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
  return [date && day, clock && time].filter(Boolean).join(" ");
}

/** The same moment where the reader is. */
export function local(seconds) {
  const form = { dateStyle: "full", timeStyle: "long" };
  return new Date(Number(seconds) * 1000).toLocaleString(undefined, form);
}

/** "3 d 4 h", "12 min", "40 s": the two largest units. */
export function duration(seconds) {
  const units = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  let rest = Math.max(0, Math.round(Number(seconds)));
  const parts = [];
  for (const [size, name] of units) {
    if (rest >= size && parts.length < 2) {
      parts.push(`${Math.floor(rest / size)} ${name}`);
      rest %= size;
    }
  }
  return parts.join(" ") || "0 s";
}

export const plural = (count, one, many = `${one}s`) =>
  `${grouped(count)} ${String(count) === "1" ? one : many}`;
