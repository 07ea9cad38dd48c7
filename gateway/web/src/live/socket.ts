/** One WebSocket to /v1/live: subscriptions that outlive it. */

import { type Channel, type Message, MessageReader, type Version } from "./messages";
import type { Stop } from "./feed";

export interface Request {
  readonly channel: Channel;
  readonly [name: string]: string | number | boolean;
}

export interface SocketEvents {
  opened(): void;
  heartbeat(lag: number | null): void;
  /** `opened`: whether it had been open before it closed. */
  closed(opened: boolean): void;
}

interface Subscription {
  readonly request: Request;
  readonly take: (message: Message) => void;
  topic: number | null;
  version: Version | null;
}

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 8_000;
/** The server sends at least a heartbeat each 5 s. */
const SILENCE_MS = 15_000;

/** Connects, and again after it was cut; each subscription goes on from the version it received last. */
export class LiveSocket {
  private socket: WebSocket | null = null;
  private reader = new MessageReader(() => undefined);
  private readonly subscriptions = new Map<number, Subscription>();
  /** By id, also of those that ended while the server did not know yet: what it still sends is to be read. */
  private readonly channels = new Map<number, Channel>();
  private nextId = 1;
  private wait = FIRST_WAIT_MS;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly url: string,
    private readonly events: SocketEvents,
  ) {}

  connect(): void {
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.socket = socket;
      this.reader = new MessageReader((id) => this.channels.get(id));
      this.channels.clear();
      this.subscriptions.forEach((_, id) => this.subscribeNow(id));
      this.listen();
      this.events.opened();
    };
    socket.onmessage = (message: MessageEvent<ArrayBuffer>) =>
      this.take(this.reader.read(new Uint8Array(message.data)));
    socket.onclose = () => {
      clearTimeout(this.silence);
      this.socket = null;
      this.events.closed(opened);
      this.retry = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    };
  }

  subscribe(request: Request, take: (message: Message) => void): Stop {
    const id = this.nextId++;
    this.subscriptions.set(id, { request, take, topic: null, version: null });
    if (this.socket) this.subscribeNow(id);
    return () => {
      this.subscriptions.delete(id);
      this.send({ op: "unsubscribe", id });
    };
  }

  private subscribeNow(id: number): void {
    const subscription = this.subscriptions.get(id);
    if (!subscription) return;
    const { request, version } = subscription;
    this.channels.set(id, request.channel);
    this.send({ op: "subscribe", id, ...request }, version);
  }

  private send(request: object, after: Version | null = null): void {
    const text = JSON.stringify(request);
    // JSON.stringify knows no bigint.
    const whole = after ? `${text.slice(0, -1)},"after":[${after[0]},${after[1]}]}` : text;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(whole);
  }

  private take(message: Message): void {
    this.listen();
    if (message.type === "heartbeat") {
      // Only a connection that lasts ends the count of failures.
      this.wait = FIRST_WAIT_MS;
      this.events.heartbeat(message.lag);
    } else if (message.type === "subscribed") {
      const subscription = this.subscriptions.get(message.id);
      if (!subscription) return;
      subscription.topic = message.topic;
      subscription.version = message.version;
      subscription.take(message);
    } else if (message.type === "unsubscribed") {
      this.channels.delete(message.id);
    } else if (message.type === "error") {
      if (message.id !== null) this.subscriptions.get(message.id)?.take(message);
    } else if ("topic" in message) {
      for (const subscription of this.subscriptions.values()) {
        if (subscription.topic !== message.topic) continue;
        if ("n" in message && subscription.version) subscription.version = [subscription.version[0], message.n];
        subscription.take(message);
      }
    }
  }

  /** Give the server up where it says nothing for long. */
  private listen(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket?.close(), SILENCE_MS);
  }
}
