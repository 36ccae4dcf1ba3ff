import type { Go } from "../usePlace";
import { Link } from "./Link";

export type Crumb = { readonly label: string; readonly to: Readonly<Record<string, string>> };

/** The way down to what is shown; each part of it leads back up. */
export function Breadcrumb({ crumbs, go }: { crumbs: readonly Crumb[]; go: Go }) {
  return (
    <nav aria-label="Fil d'Ariane" className="breadcrumb">
      <ol>
        {crumbs.map((crumb, index) => (
          <li key={crumb.label}>
            {index === crumbs.length - 1 ? <span aria-current="location">{crumb.label}</span> : <Link to={crumb.to} go={go}>{crumb.label}</Link>}
          </li>
        ))}
      </ol>
    </nav>
  );
}
