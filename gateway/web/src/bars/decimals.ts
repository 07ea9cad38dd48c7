/** How many decimals the prices of a series need. */

import { decimalsOf } from "../format";
import type { Values } from "./bar";

/** `decimals`, or more where prices of `bars` have more: they never become fewer, so that the scale does not jump. */
export function widened(decimals: number, bars: readonly Values[]): number {
  return Math.max(decimals, decimalsOf(bars.flatMap(({ open, high, low, close }) => [open, high, low, close])));
}
