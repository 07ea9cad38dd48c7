/** What the platform says of itself: its parts, its days, and what is in quarantine. */

import { getJson } from "./http";

export interface Part {
  readonly role: string;
  readonly instance: string;
  readonly state: "ready" | "waiting" | "starting" | "silent";
  readonly detail: string;
  readonly rows: number;
  readonly rows_s: number;
  readonly lag_ms: number | null;
  readonly quarantined: number;
  readonly gaps: number;
  readonly age_ms: number;
}

export const DAY_STATES = ["open", "stale", "proven", "cold", "damaged"] as const;
export type DayState = (typeof DAY_STATES)[number];

export interface StoredDay {
  readonly kind: string;
  /** 2026-11-30. */
  readonly day: string;
  readonly state: DayState;
  readonly rows: number;
}

export interface Quarantine {
  /** In quarantine now. */
  readonly rows: number;
  /** The newest of them, to which the reasons belong. */
  readonly counted: number;
  readonly reasons: readonly { readonly reason: string; readonly rows: number }[];
  /** The last first. */
  readonly newest: readonly QuarantinedRow[];
}

export interface QuarantinedRow {
  readonly ts: string;
  readonly kind: string;
  readonly venue: string;
  /** In its source. */
  readonly place: string;
  readonly reason: string;
}

export async function parts(signal?: AbortSignal): Promise<Part[]> {
  return (await getJson<{ rows: Part[] }>("/v1/parts", {}, signal)).rows;
}

export async function days(signal?: AbortSignal): Promise<StoredDay[]> {
  return (await getJson<{ rows: StoredDay[] }>("/v1/days", {}, signal)).rows;
}

export function quarantine(signal?: AbortSignal): Promise<Quarantine> {
  return getJson<Quarantine>("/v1/quarantine", {}, signal);
}
