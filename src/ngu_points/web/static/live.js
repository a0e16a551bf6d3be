// The live connection: what arrived last, and whether it can still be believed.

const SILENCE = 15_000; // without a word for so long the connection is dead
const STALE = 120_000; // connected, but the chain has had nothing new for so long
const SAMPLES = 900; // of the last minutes, one a second at most
const PAUSES = [1000, 2000, 4000, 8000, 15_000];

/**
 * Follow api/live. `changed(news)` is called with a new position, or null when only the state of
 * the connection differs. States: connecting, live, stale, disconnected.
 */
export function follow(changed) {
  const live = { state: "connecting", position: null, since: 0, recent: [], retry: null };
  let source, failures, heard, timer;

  const become = (state) => {
    if (live.state === state) return;
    live.state = state;
    changed(null);
  };

  const connect = () => {
    clearTimeout(timer);
    source?.close();
    heard = Date.now();
    source = new EventSource("api/live");
    source.addEventListener("position", (message) => {
      const news = JSON.parse(message.data);
      heard = Date.now();
      if (moved(live.position, news)) live.since = heard;
      live.position = news;
      failures = 0;
      live.state = heard - live.since > STALE ? "stale" : "live";
      remember(live.recent, news, heard / 1000);
      changed(live.position);
    });
    source.addEventListener("heartbeat", () => {
      heard = Date.now();
      if (live.state !== "stale") become("live");
    });
    source.addEventListener("error", lost);
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

  failures = 0;
  live.retry = () => {
    failures = 0;
    connect();
  };
  setInterval(look, 1000);
  addEventListener("online", live.retry);
  connect();
  return live;
}

/** Whether the chain has had something new: the newest answer is also sent on connecting. */
function moved(before, now) {
  return before?.head !== now.head || before?.valid?.blockHash !== now.valid?.blockHash;
}

/** Keep what moves, for charts of the time since the page was opened. */
function remember(recent, position, at) {
  const second = Math.floor(at);
  if (recent.at(-1)?.at === second) recent.pop();
  recent.push({ ...position, at: second });
  if (recent.length > SAMPLES) recent.shift();
}
