/** Spans of time on the chart: shaded gaps, and the line of stores. */

import type {
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesPrimitive,
  SeriesAttachedParameter,
  Time,
} from "lightweight-charts";

export interface Span {
  /** Seconds since 1970. */
  readonly start: number;
  readonly end: number;
  readonly colour: string;
  readonly label: string;
}

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

/** Where a time is: a logical index of the chart, with a fraction between bars. */
export type Locate = (time: number) => number | null;

const SMALLEST_PX = 2;
const LINE_PX = 3;
const LABEL_PX = 60;

/** Draws spans over the height of a pane (shade), or as a line along its lower edge. */
export class Spans implements ISeriesPrimitive<Time>, IPrimitivePaneView, IPrimitivePaneRenderer {
  private attachedTo: SeriesAttachedParameter<Time> | null = null;
  private spans: readonly Span[] = [];

  constructor(
    private readonly kind: "shade" | "line",
    private readonly locate: Locate,
  ) {}

  attached(to: SeriesAttachedParameter<Time>): void {
    this.attachedTo = to;
  }

  detached(): void {
    this.attachedTo = null;
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return [this];
  }

  zOrder(): "top" | "bottom" {
    return this.kind === "shade" ? "bottom" : "top";
  }

  renderer(): IPrimitivePaneRenderer {
    return this;
  }

  show(spans: readonly Span[]): void {
    this.spans = spans;
    this.attachedTo?.requestUpdate();
  }

  draw(target: Target): void {
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio, verticalPixelRatio }) => {
      for (const span of this.spans) {
        const from = this.x(span.start);
        const to = this.x(span.end);
        if (from === null || to === null) continue;
        const left = Math.max(0, Math.round(from * horizontalPixelRatio));
        const width = Math.max(Math.round(to * horizontalPixelRatio) - left, SMALLEST_PX);
        if (left > bitmapSize.width || left + width < 0) continue;
        context.fillStyle = span.colour;
        const height = this.kind === "line" ? Math.round(LINE_PX * verticalPixelRatio) : bitmapSize.height;
        context.fillRect(left, bitmapSize.height - height, width, height);
        if (this.kind === "shade" && width > LABEL_PX * horizontalPixelRatio) {
          context.font = `${Math.round(10 * verticalPixelRatio)}px ui-sans-serif, system-ui, sans-serif`;
          context.fillText(
            span.label,
            left + 4 * horizontalPixelRatio,
            bitmapSize.height - 8 * verticalPixelRatio,
            width,
          );
        }
      }
    });
  }

  private x(time: number): number | null {
    const at = this.locate(time);
    const scale = this.attachedTo?.chart.timeScale();
    if (at === null || !scale) return null;
    // Coordinates are those of whole indexes: between two of them it is reckoned.
    const whole = Math.floor(at);
    const left = scale.logicalToCoordinate(whole as never);
    const right = scale.logicalToCoordinate((whole + 1) as never);
    return left === null || right === null ? null : left + (right - left) * (at - whole);
  }
}
