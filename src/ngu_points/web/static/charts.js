// <ngu-chart>: one uPlot chart that fits its box and follows the colour scheme.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { utc } from "./format.js";

const HEIGHT = 220;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function translucent(hex, alpha) {
  return (
    hex +
    Math.round(alpha * 255)
      .toString(16)
      .padStart(2, "0")
  );
}

/**
 * Properties: `spec`, {label, series: [{name, tone, bars, step}], least, unit}, and `rows`,
 * [[seconds, value, …], …] with null where nothing is known. Values are for the eye only.
 */
class NguChart extends HTMLElement {
  #plot = null;
  #drawn = "";
  #watchers = [];

  connectedCallback() {
    this.setAttribute("role", "img");
    const redraw = () => this.#draw(true);
    const size = new ResizeObserver(() => this.#fit());
    const theme = new MutationObserver(redraw);
    size.observe(this);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.#watchers = [size, theme];
    this.#draw(true);
  }

  disconnectedCallback() {
    for (const watcher of this.#watchers) watcher.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  set rows(rows) {
    this.data = rows;
    if (this.isConnected && this.spec) this.#draw(false);
  }

  #fit() {
    if (this.#plot && this.clientWidth) {
      this.#plot.setSize({ width: this.clientWidth, height: HEIGHT });
    }
  }

  #draw(anew) {
    if (!this.spec || !this.data) return;
    this.setAttribute("aria-label", this.#described());
    const columns = [0, ...this.spec.series.map((_, i) => i + 1)].map((i) =>
      this.data.map((row) => (row[i] === null ? null : Number(row[i]))),
    );
    const shape = JSON.stringify(this.spec);
    if (!anew && this.#plot && shape === this.#drawn) {
      this.#plot.setData(columns);
      return;
    }
    this.#drawn = shape;
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(), columns, this);
  }

  /** What a screen reader says instead of the picture: the ends of each line. */
  #described() {
    const { label, series, unit = "" } = this.spec;
    if (!this.data.length) return `${label}: nothing yet`;
    const [first, last] = [this.data[0], this.data.at(-1)];
    const ends = series.map((s, i) => `${s.name} from ${first[i + 1]} to ${last[i + 1]}${unit}`);
    return `${label}, ${utc(first[0])} to ${utc(last[0])} UTC: ${ends.join("; ")}`;
  }

  #options() {
    const { series, least = 1, unit = "" } = this.spec;
    const axis = {
      stroke: colour("--muted"),
      font: `11px ${colour("--sans")}`,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      gap: 6,
    };
    const value = (_, v) =>
      v === null || v === undefined ? "–" : `${v.toLocaleString("en")}${unit}`;
    return {
      width: this.clientWidth || 320,
      height: HEIGHT,
      padding: [12, 32, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, points: { size: 7 } },
      legend: { live: true },
      scales: {
        x: { time: true, ...(series[0].bars && { range: around }) },
        y: { range: (_, low, high) => [Math.min(0, low), top(high, least)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          space: 70,
          values: (_, ticks, _axis, _space, step) => times(ticks, step),
        },
        { ...axis, size: 46, values: (_, ticks) => ticks.map((t) => short(t) + unit) },
      ],
      series: [
        { label: "UTC", value: (_, v) => (v === null ? "–" : utc(v)) },
        ...series.map((s) => ({ ...line(s), value })),
      ],
    };
  }
}

/** Ticks of the time axis: clock times within a day, dates beyond; a date where the day changes. */
function times(ticks, step) {
  let day = "";
  return ticks.map((tick) => {
    const [date, clock] = utc(tick).split(" ");
    const shown = step >= 86_400 ? date.slice(5) : clock.slice(0, step < 60 ? 8 : 5);
    const label = day !== date && step < 86_400 ? `${shown}\n${date.slice(5)}` : shown;
    day = date;
    return label;
  });
}

function line({ name, tone, bars, step }) {
  const stroke = colour(`--${tone}`);
  return {
    label: name,
    stroke,
    width: bars ? 0 : 2,
    fill: bars ? translucent(stroke, 0.75) : translucent(stroke, 0.1),
    points: { show: false },
    paths: bars
      ? uPlot.paths.bars({ size: [0.7, 40], gap: 1 })
      : step
        ? uPlot.paths.stepped({ align: 1 })
        : undefined,
  };
}

/** The first and the last bar are whole. */
function around({ data: [times] }, first, last) {
  const half = times.length > 1 ? (times[1] - times[0]) / 2 : 1;
  return [first - half, last + half];
}

const top = (high, least) => Math.max(high * 1.08, least);

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const short = (n) => COMPACT.format(n);

customElements.define("ngu-chart", NguChart);
