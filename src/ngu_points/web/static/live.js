// The live connection: what arrived last, and whether it can still be believed.

import { get, Problem } from "./api.js";

const SILENCE = 15_000; // without a word for so long the connection is dead
const STALE = 120_000; // connected, but the chain has had nothing new for so long
const PAUSES = [1000, 2000, 4000, 8000, 15_000];
const POLL = 5000; // where nobody streams
const POLLS = 12; // so many, then a stream is tried again

/**
 * Follow api/live. `changed(news, beat)` is called with a new position; with the same and `beat` at
 * a heartbeat; with null when only the state of the connection differs.
 * States: connecting, live, stale, disconnected.
 */
export function follow(changed) {
  const live = { state: "connecting", position: null, since: 0, polled: false, retry: null };
  let source, timer;
  let failures = 0;
  let heard = Date.now();

  const become = (state) => {
    if (live.state === state) return;
    live.state = state;
    changed(null);
  };

  const take = (news) => {
    heard = Date.now();
    failures = 0;
    if (moved(live.position, news)) live.since = heard;
    live.position = news;
    live.state = heard - live.since > STALE ? "stale" : "live";
    changed(news);
  };

  const connect = () => {
    clearTimeout(timer);
    source?.close();
    heard = Date.now();
    let silent = true;
    source = new EventSource("api/live");
    source.addEventListener("position", (message) => {
      silent = live.polled = false;
      take(JSON.parse(message.data));
    });
    source.addEventListener("heartbeat", () => {
      silent = false;
      heard = Date.now();
      if (live.state !== "stale") become("live");
      changed(live.position, true);
    });
    source.addEventListener("error", () => (silent ? poll(POLLS) : lost()));
  };

  /** Ask instead: a function on AWS does not stream, and a busy server has listeners enough. */
  const poll = async (times) => {
    source.close();
    clearTimeout(timer);
    if (times === 0) return connect();
    try {
      const status = await get("status");
      live.polled = true;
      take(positionOf(status));
      clearTimeout(timer);
      timer = setTimeout(poll, POLL, times - 1);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      lost();
    }
  };

  const lost = () => {
    source.close();
    const pause = PAUSES[Math.min(failures++, PAUSES.length - 1)] * (0.75 + Math.random() / 2);
    clearTimeout(timer);
    timer = setTimeout(connect, pause);
    become("disconnected");
  };

  const look = () => {
    const now = Date.now();
    if (live.state !== "disconnected" && now - heard > SILENCE) lost();
    else if (live.state === "live" && now - live.since > STALE) become("stale");
    else if (live.state === "stale") changed(null); // for how long is said, too
  };

  live.retry = () => {
    failures = 0;
    connect();
  };
  setInterval(look, 1000);
  addEventListener("online", live.retry);
  connect();
  return live;
}

/** What a stream would send, from api/status. */
function positionOf({ alarms, events, rates, ...status }) {
  return {
    ...status,
    alarms: alarms.length,
    events: events.total,
    eventsPerSecond: rates.eventsPerSecond,
    moved: [],
    changed: [],
    manyChanged: true,
  };
}

/** Whether the chain has had something new: the newest answer is also sent on connecting. */
function moved(before, now) {
  return before?.head !== now.head || before?.valid?.blockHash !== now.valid?.blockHash;
}
