/** Days as a calendar: a column a week, Monday first. */

const DAY_MS = 86_400_000;

export interface Placed<T> {
  readonly item: T;
  /** From 0, the week of the first day that is not left out. */
  readonly week: number;
  /** 0 is Monday. */
  readonly weekday: number;
}

/** Where each day stands; those more than `most` weeks before the last one are left out. */
export function placed<T extends { readonly day: string }>(days: readonly T[], most: number): Placed<T>[] {
  if (!days.length) return [];
  const numbers = days.map((one) => Math.floor(Date.parse(`${one.day}T00:00:00Z`) / DAY_MS));
  const weeks = numbers.map(weekOf);
  const last = Math.max(...weeks);
  const first = Math.min(...weeks.filter((week) => week > last - most));
  return days
    .map((item, at) => ({ item, week: (weeks[at] ?? 0) - first, weekday: weekdayOf(numbers[at] ?? 0) }))
    .filter((one) => one.week >= 0);
}

// 1970-01-01 was a Thursday.
function weekdayOf(day: number): number {
  return (((day + 3) % 7) + 7) % 7;
}

function weekOf(day: number): number {
  return Math.floor((day + 3) / 7);
}
