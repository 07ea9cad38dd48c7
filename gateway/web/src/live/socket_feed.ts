/** Live changes by the socket; by polling for as long as it cannot be opened. */

import type { Series } from "../api/bars";
import {
  type BarSink,
  DELAYED_MS,
  type Instrument,
  type LiveFeed,
  type Price,
  type Quote,
  type Status,
  type Stop,
  type TradeSink,
} from "./feed";
import type { Rows } from "./messages";
import { PollingFeed } from "./polling";
import { LiveSocket, type Request } from "./socket";

const LAST_BARS = 300;
const LAST_TRADES = 60;
/** How long a socket that was open may be gone before polling takes its place. */
const PATIENCE_MS = 5_000;
/** How long what the socket refused is asked for instead. */
const REFUSED_MS = 30_000;

/** A subscription by both ways, of which one is on. */
interface Taken {
  readonly bySocket: () => Stop;
  readonly byPolling: () => Stop;
  stop: Stop;
}

export class SocketFeed implements LiveFeed {
  private readonly taken = new Set<Taken>();
  private readonly socket: LiveSocket;
  private readonly polling: LiveFeed;
  private isOpen = false;
  private wasOpen = false;
  private polls = false;
  private lost: ReturnType<typeof setTimeout> | undefined;

  constructor(
    url: string,
    private readonly report: (status: Status) => void,
  ) {
    // While the socket is open, what is asked beside it says nothing of how live the page is.
    this.polling = new PollingFeed((status) => this.polls && report(status));
    this.socket = new LiveSocket(url, {
      opened: () => this.opened(),
      heartbeat: (lag) =>
        this.report(lag !== null && lag > DELAYED_MS ? { state: "delayed", lag } : { state: "live", lag }),
      closed: (opened) => this.closed(opened),
    });
    this.socket.connect();
  }

  bars(series: Series, sink: BarSink): Stop {
    const { venue, symbol, interval } = series;
    return this.take(
      { channel: "bars", venue, symbol, interval, last: LAST_BARS },
      (rows, whole) => {
        if (rows.channel === "bars") (whole ? sink.snapshot : sink.changes).call(sink, rows.bars);
      },
      () => this.polling.bars(series, sink),
      (start, end) => sink.revised(start, end),
    );
  }

  trades(of: Instrument, sink: TradeSink): Stop {
    return this.take(
      { channel: "trades", ...of, last: LAST_TRADES },
      (rows, whole) => {
        if (rows.channel === "trades") (whole ? sink.snapshot : sink.more).call(sink, rows.trades);
      },
      () => this.polling.trades(of, sink),
    );
  }

  quotes(of: Instrument, sink: (quote: Quote | null) => void): Stop {
    return this.take(
      { channel: "quotes", ...of },
      (rows) => rows.channel === "quotes" && sink(rows.quote),
      () => this.polling.quotes(of, sink),
    );
  }

  latest(of: readonly Instrument[], sink: (prices: readonly Price[]) => void): Stop {
    const bySocket = () => {
      // A symbol that is not live is an error here: its price stays as it is.
      const stops = of.map((one) =>
        this.socket.subscribe({ channel: "latest", venue: one.venue, symbol: one.symbol }, (message) => {
          const rows = message.type === "subscribed" || message.type === "rows" ? message.rows : null;
          if (rows?.channel === "latest" && rows.latest) sink([{ ...one, ...rows.latest }]);
        }),
      );
      return () => stops.forEach((stop) => stop());
    };
    return this.both({ bySocket, byPolling: () => this.polling.latest(of, sink), stop: () => {} });
  }

  private take(
    request: Request,
    rows: (rows: Rows, whole: boolean) => unknown,
    byPolling: () => Stop,
    revised: (start: number, end: number) => void = () => {},
  ): Stop {
    const bySocket = () =>
      this.socket.subscribe(request, (message) => {
        if (message.type === "subscribed") rows(message.rows, !message.resumed);
        else if (message.type === "rows") rows(message.rows, false);
        else if (message.type === "revised") revised(message.start, message.end);
        // What the socket does not give, such as a symbol that is not live, polling may.
        else if (message.type === "error") this.pollFor(one);
      });
    const one: Taken = { bySocket, byPolling, stop: () => {} };
    return this.both(one);
  }

  private both(one: Taken): Stop {
    this.taken.add(one);
    one.stop = this.polls ? one.byPolling() : one.bySocket();
    return () => {
      this.taken.delete(one);
      one.stop();
    };
  }

  /** Ask for a while for what the socket refused; it may have been a store that did not answer. */
  private pollFor(one: Taken): void {
    this.swap(one, one.byPolling);
    setTimeout(() => !this.polls && this.swap(one, one.bySocket), REFUSED_MS);
  }

  private swap(one: Taken, to: () => Stop): void {
    if (!this.taken.has(one)) return;
    one.stop();
    one.stop = to();
  }

  private opened(): void {
    this.isOpen = true;
    this.wasOpen = true;
    clearTimeout(this.lost);
    this.report({ state: "live", lag: null });
    if (!this.polls) return;
    this.polls = false;
    this.taken.forEach((one) => this.swap(one, one.bySocket));
  }

  private closed(opened: boolean): void {
    this.isOpen = false;
    if (this.polls) return;
    this.report({ state: "reconnecting" });
    // Each attempt that fails comes here too: the patience began when the socket was lost.
    if (opened || !this.wasOpen) {
      clearTimeout(this.lost);
      this.lost = setTimeout(() => this.poll(), opened ? PATIENCE_MS : 0);
    }
  }

  private poll(): void {
    if (this.isOpen || this.polls) return;
    this.polls = true;
    this.taken.forEach((one) => this.swap(one, one.byPolling));
  }
}
