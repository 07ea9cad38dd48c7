/** The chart that keys and buttons act on. */

export interface ChartControls {
  /** Move by a share of what is seen; less than 0: into the past. */
  scroll(share: number): void;
  zoom(factor: number): void;
  newest(): void;
  /** Save the bars that are seen, as CSV. */
  saveBars(): void;
  /** Save what is seen, as PNG. */
  savePicture(): void;
}

let controlled: ChartControls | null = null;

/** Act on this chart from now on; null: on none. */
export function controlBy(chart: ChartControls | null): void {
  controlled = chart;
}

/** What acts on the chart; null where none is on the page. */
export function controls(): ChartControls | null {
  return controlled;
}
