/** Time zones: what the clocks of each show at a moment, daylight saving included. */

/** "utc", "local" (that of this device), or a name of the IANA database such as America/New_York. */
export type Zone = string;

export interface Parts {
  readonly year: number;
  /** From 1. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const MINUS = "\u2212";

/** Today's names of places that some browsers list by older ones alone, such as Calcutta. */
const RENAMED = [
  "Africa/Asmara",
  "America/Argentina/Buenos_Aires",
  "Asia/Ho_Chi_Minh",
  "Asia/Kathmandu",
  "Asia/Kolkata",
  "Asia/Yangon",
  "Atlantic/Faroe",
  "Europe/Kyiv",
];
/** The names that can be chosen, besides UTC and local. */
export const NAMED: readonly string[] = [
  ...new Set([...Intl.supportedValuesOf("timeZone"), ...RENAMED.filter(isKnown)]),
]
  .filter((name) => name !== "UTC")
  .sort();
/** The zone of this device. */
export const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const formats = new Map<string, Intl.DateTimeFormat>();
const midnights = new Map<string, number>();

/** The zone that a text names, in whatever case; empty: none. */
export function zoneNamed(text: string): Zone {
  const lower = text.toLowerCase();
  if (lower === "utc" || lower === "local") return lower;
  const listed = NAMED.find((name) => name.toLowerCase() === lower);
  if (listed) return listed;
  return isKnown(text) ? text : "";
}

/** What a shared address says may be anything. */
function isKnown(name: string): boolean {
  try {
    Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** ms that clocks of a zone are before UTC at `ms`; less than 0: after it. */
export function offsetOf(ms: number, zone: Zone): number {
  if (zone === "utc") return 0;
  const day = Math.floor(ms / DAY_MS) * DAY_MS;
  const first = offsetAtMidnight(day, zone);
  // Clocks are changed on few days: on all others one offset holds, and asking for it anew is slow.
  return first === offsetAtMidnight(day + DAY_MS, zone) ? first : readOffset(ms, zone);
}

/** What calendar and clock of a zone show at `ms`. */
export function partsOf(ms: number, zone: Zone): Parts {
  const date = new Date(ms + offsetOf(ms, zone));
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
  };
}

/** Such as UTC+5:30. */
export function offsetText(ms: number, zone: Zone): string {
  const minutes = Math.round(offsetOf(ms, zone) / MINUTE_MS);
  if (minutes === 0) return "UTC";
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `UTC${minutes < 0 ? MINUS : "+"}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

/** A zone in short, such as New York. */
export function zoneLabel(zone: Zone): string {
  if (zone === "utc") return "UTC";
  return zone === "local" ? "Local" : (zone.split("/").at(-1) ?? zone).replaceAll("_", " ");
}

/** The zones whose names or offsets contain each word of a text; those whose place begins with it first. */
export function zonesLike(text: string, now: number): Zone[] {
  const words = text.toLowerCase().replaceAll("_", " ").split(/\s+/).filter(Boolean);
  const found = ["utc", "local", ...NAMED].filter((zone) => {
    const all = `${zone} ${offsetText(now, zone)}`.toLowerCase().replaceAll("_", " ").replaceAll(MINUS, "-");
    return words.every((word) => all.includes(word));
  });
  const rank = (zone: Zone) =>
    words[0] && (zone === words[0] || zoneLabel(zone).toLowerCase().startsWith(words.join(" "))) ? 0 : 1;
  return found.sort((one, other) => rank(one) - rank(other));
}

function offsetAtMidnight(day: number, zone: Zone): number {
  const key = `${zone} ${day}`;
  let offset = midnights.get(key);
  if (offset === undefined) midnights.set(key, (offset = readOffset(day, zone)));
  return offset;
}

function readOffset(ms: number, zone: Zone): number {
  const whole = Math.floor(ms / 1000) * 1000;
  const of: Record<string, number> = {};
  for (const { type, value } of formatOf(zone).formatToParts(whole)) of[type] = Number(value);
  const shown = Date.UTC(of["year"]!, of["month"]! - 1, of["day"], of["hour"], of["minute"], of["second"]);
  return shown - whole;
}

function formatOf(zone: Zone): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    const digits = { year: "numeric", month: "numeric", day: "numeric" } as const;
    const clock = { hour: "numeric", minute: "numeric", second: "numeric", hourCycle: "h23" } as const;
    format = Intl.DateTimeFormat("en", { timeZone: zone === "local" ? HERE : zone, ...digits, ...clock });
    formats.set(zone, format);
  }
  return format;
}
