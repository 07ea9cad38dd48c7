/** Amounts of accounts: decimals with 18 digits after the point, exact, which numbers are not. */

import { MINUS, grouped } from "../format";

const DIGITS = 18;

/** An amount as the gateway writes it, in units of its last digit. */
export function unitsOf(text: string): bigint {
  const [, sign, whole = "0", fraction = ""] = /^(-?)(\d+)(?:\.(\d{1,18}))?$/.exec(text) ?? [];
  const units = BigInt(whole + fraction.padEnd(DIGITS, "0"));
  return sign ? -units : units;
}

/** Units as text with all digits but the zeros at the end: 1,234.5. */
export function amount(units: bigint): string {
  const digits = (units < 0n ? -units : units).toString().padStart(DIGITS + 1, "0");
  const fraction = digits.slice(-DIGITS).replace(/0+$/, "");
  const whole = grouped(digits.slice(0, -DIGITS));
  return (units < 0n ? MINUS : "") + (fraction ? `${whole}.${fraction}` : whole);
}

/** After each amount the sum of those up to it. */
export function runningTotals(amounts: readonly bigint[]): bigint[] {
  let sum = 0n;
  return amounts.map((one) => (sum += one));
}
