import type { Row } from "../api";
import { number } from "../format";
import { word } from "../words";

/** The totals, large. */
export function Figures({ totals, names }: { totals: Row; names: readonly string[] }) {
  return (
    <dl className="figures">
      {names.map((name) => (
        <div key={name}>
          <dt>{word(name)}</dt>
          <dd data-measure={name} data-value={totals[name] ?? ""}>{number(Number(totals[name] ?? 0))}</dd>
        </div>
      ))}
    </dl>
  );
}
