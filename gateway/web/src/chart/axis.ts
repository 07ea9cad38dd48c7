/** The time axis: marks where days begin in a zone. */

import { type IChartApiBase, type Time, defaultHorzScaleBehavior } from "lightweight-charts";
import { type Zone, offsetOf } from "../zones";

type Points = Parameters<InstanceType<ReturnType<typeof defaultHorzScaleBehavior>>["fillWeightsForPoints"]>[0];

export class ZonedAxis extends defaultHorzScaleBehavior() {
  zone: Zone = "utc";

  /** The weights of marks as for UTC, of times moved by the zone's offset. */
  override fillWeightsForPoints(points: Points, start: number): void {
    const first = Math.max(0, start - 1);
    const moved = points.slice(first).map((point) => {
      const seconds = Number(point.originalTime);
      const shown = seconds + offsetOf(seconds * 1000, this.zone) / 1000;
      return { ...point, time: this.convertHorzItemToInternal(shown as Time) };
    });
    super.fillWeightsForPoints(moved, start - first);
    moved.slice(start - first).forEach((point, index) => (points[start + index]!.timeWeight = point.timeWeight));
  }
}

/** Have the axis of a chart mark the days of another zone; what is seen stays where it is. */
export function markDays(chart: IChartApiBase<Time>, axis: ZonedAxis, zone: Zone): void {
  if (zone === axis.zone) return;
  axis.zone = zone;
  // The chart asks where days begin for times that are new to it alone.
  const all = chart.panes().flatMap((pane) => pane.getSeries());
  const data = all.map((series) => series.data());
  const range = chart.timeScale().getVisibleLogicalRange();
  for (const series of all) series.setData([]);
  all.forEach((series, index) => series.setData([...data[index]!]));
  if (range) chart.timeScale().setVisibleLogicalRange(range);
}
