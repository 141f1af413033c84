import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "../ui/theme.ts";

export interface Series {
  label: string;
  values: (number | null)[];
}

interface Props {
  label: string;
  /** Seconds since 1970, or since any moment. */
  times: number[];
  series: Series[];
  /** Whether the times are days. */
  isDaily?: boolean;
}

const HEIGHT = 220;
const COLOURS = ["--accent", "--cached", "--draft", "--good", "--error", "--muted"];

/** A line plot. What it shows is also in a table beside it: its label names it for who cannot see it. */
export function Plot({ label, times, series, isDaily = false }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shown = theme();
  const names = series.map((one) => one.label).join("\n");
  const data = [times, ...series.map((one) => one.values)] as uPlot.AlignedData;

  useEffect(() => {
    const box = place.current;
    if (!box) return;
    plot.current = new uPlot(options(box, names.split("\n"), isDaily), data, box);
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: box.clientWidth, height: HEIGHT }));
    observer.observe(box);
    return () => {
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [names, isDaily, shown]);
  useEffect(() => plot.current?.setData(data), [times, names]);

  return (
    <figure class="plot">
      <figcaption>{label}</figcaption>
      <div ref={place} role="img" aria-label={label} />
    </figure>
  );
}

function options(box: HTMLElement, names: string[], isDaily: boolean): uPlot.Options {
  const style = getComputedStyle(box);
  const colour = (name: string) => style.getPropertyValue(name);
  const axis: uPlot.Axis = {
    stroke: colour("--muted"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const times: uPlot.Axis = { ...axis, values: (_, ticks) => ticks.map(isDaily ? dayOf : clockOf), space: 90 };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    cursor: { show: false },
    scales: { x: { time: true }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [times, { ...axis, size: 64 }],
    series: [
      {},
      ...names.map((label, index) => {
        const stroke = colour(COLOURS[index % COLOURS.length] ?? "--accent");
        return { label, stroke, width: 2, points: { show: isDaily, size: 6, fill: stroke } };
      }),
    ],
    legend: { show: names.length > 1, live: false },
  };
}

function clockOf(time: number): string {
  return new Date(time * 1000).toTimeString().slice(0, 8);
}

function dayOf(time: number): string {
  return new Date(time * 1000).toISOString().slice(5, 10);
}
