import type { View } from "../api";
import { cell } from "../format";
import type { Go, Place } from "../usePlace";
import { word } from "../words";

type Props = { names: readonly string[]; choices: View["choices"] | undefined; place: Place; go: Go };

/** One list a filter. What is chosen stays chosen while the data change, also where they no longer have it. */
export function Filters({ names, choices, place, go }: Props) {
  return (
    <form className="filters" onSubmit={(event) => event.preventDefault()}>
      {names.map((name) => {
        const offered = choices?.[name] ?? [];
        const chosen = place[name] ?? "";
        const lost = chosen !== "" && !offered.some((choice) => choice.value === chosen);
        return (
          <label key={name}>
            {word(name)}
            <select name={name} value={chosen} onChange={(event) => go({ [name]: event.target.value || undefined, mois: undefined, page: undefined })}>
              <option value="">Toutes</option>
              {offered.map(({ value, label }) => (
                <option key={value} value={value}>{label === null ? (value === "inconnu" ? "Inconnue" : `N° ${value}`) : cell(name, label)}</option>
              ))}
              {lost && <option value={chosen}>{chosen}</option>}
            </select>
          </label>
        );
      })}
    </form>
  );
}
