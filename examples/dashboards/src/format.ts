// Numbers, dates and words as French readers write them.
import { type Cell, UNKNOWN } from "./api";

const whole = new Intl.NumberFormat("fr-FR", { maximumFractionDigits: 0 });
const exact = new Intl.NumberFormat("fr-FR", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const short = new Intl.NumberFormat("fr-FR", { notation: "compact", maximumFractionDigits: 1 });
const day = new Intl.DateTimeFormat("fr-FR", { dateStyle: "short", timeZone: "UTC" });
const moment = new Intl.DateTimeFormat("fr-FR", { dateStyle: "long", timeStyle: "medium" });
const month = new Intl.DateTimeFormat("fr-FR", { month: "long", timeZone: "UTC" });

export const number = (value: number): string => whole.format(value);
export const compact = (value: number): string => short.format(value);
export const time = (iso: string): string => moment.format(new Date(iso));
export const monthName = (value: string | number): string => month.format(new Date(Date.UTC(2026, Number(value) - 1, 1)));

/** A cell of a column: identifiers and years without separators, amounts to the hundredth, dates as dates. */
export function cell(column: string, value: Cell): string {
  if (value === null) return "—";
  if (column.endsWith("_id") || column === "annee") return String(value);
  if (column === "mois") return monthName(value);
  if (typeof value === "number") return column.startsWith("montant_") || column.startsWith("superficie_") ? exact.format(value) : whole.format(value);
  return column.startsWith("date_") ? day.format(new Date(`${value}T00:00:00Z`)) : value;
}

/** A filter's value as the address carries it. */
export const valueOf = (value: Cell | undefined): string => (value === null || value === undefined ? UNKNOWN : String(value));
