/** The options of the chart, from colours, time zone and scale. */

import { type DeepPartial, PriceScaleMode, TickMarkType, type Time, type TimeChartOptions } from "lightweight-charts";
import type { Scale } from "../address";
import { dateTime, detailOf, two, zoneOfBars } from "../format";
import type { Colours } from "../theme";
import { type Zone, partsOf } from "../zones";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Bars that would fit between the newest one and the right edge. */
export const RIGHT_OFFSET = 6;

export function chartOptions(colours: Colours, chosen: Zone, interval: string): DeepPartial<TimeChartOptions> {
  const detail = detailOf(interval);
  const zone = zoneOfBars(interval, chosen);
  const label = { color: colours.muted, labelBackgroundColor: colours.muted };
  return {
    layout: {
      // The attribution is in the list of keys: the logo would need styles that the page's policy refuses.
      attributionLogo: false,
      background: { color: colours.background },
      textColor: colours.muted,
      fontFamily: "ui-sans-serif, system-ui, sans-serif",
      fontSize: 11,
      panes: { separatorColor: colours.line, separatorHoverColor: colours.line, enableResize: true },
    },
    grid: { vertLines: { color: colours.line }, horzLines: { color: colours.line } },
    crosshair: {
      mode: 0,
      vertLine: { ...label, width: 1, style: 3 },
      horzLine: { ...label, width: 1, style: 3 },
    },
    rightPriceScale: { borderVisible: false, minimumWidth: 72 },
    timeScale: {
      borderVisible: false,
      timeVisible: true,
      secondsVisible: detail === "second",
      rightOffset: RIGHT_OFFSET,
      barSpacing: 7,
      minBarSpacing: 0.4,
      tickMarkFormatter: (time: Time, kind: TickMarkType) => tick(Number(time) * 1000, kind, zone),
    },
    localization: { timeFormatter: (time: Time) => dateTime(Number(time) * 1000, zone, detail) },
    kineticScroll: { mouse: false, touch: true },
  };
}

export function scaleMode(scale: Scale): PriceScaleMode {
  if (scale === "log") return PriceScaleMode.Logarithmic;
  return scale === "percent" ? PriceScaleMode.Percentage : PriceScaleMode.Normal;
}

function tick(ms: number, kind: TickMarkType, zone: Zone): string {
  const { year, month, day, hour, minute, second } = partsOf(ms, zone);
  if (kind === TickMarkType.Year) return String(year);
  if (kind === TickMarkType.Month) return MONTHS[month - 1] ?? "";
  if (kind === TickMarkType.DayOfMonth) return String(day);
  const time = `${two(hour)}:${two(minute)}`;
  return kind === TickMarkType.TimeWithSeconds ? `${time}:${two(second)}` : time;
}
