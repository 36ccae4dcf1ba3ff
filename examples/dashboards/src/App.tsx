import { useEffect } from "react";
import { CreancesAgees } from "./dashboards/CreancesAgees";
import { EmploisCrees } from "./dashboards/EmploisCrees";
import { Implantation } from "./dashboards/Implantation";
import { Indemnisations } from "./dashboards/Indemnisations";
import { Link } from "./shared/Link";
import { useLive } from "./useLive";
import { usePlace } from "./usePlace";

const DASHBOARDS = [
  { name: "implantation-suivi", title: "Suivi des implantations", Shown: Implantation },
  { name: "indemnisations", title: "Indemnisations", Shown: Indemnisations },
  { name: "emplois-crees", title: "Emplois créés", Shown: EmploisCrees },
  { name: "creances-agees", title: "Créances âgées", Shown: CreancesAgees },
] as const;

export function App() {
  const [place, go] = usePlace();
  const live = useLive();
  const { name, title, Shown } = DASHBOARDS.find((each) => each.name === place.tableau) ?? DASHBOARDS[0];

  useEffect(() => {
    document.title = `${title} · SIGETI`;
  }, [title]);

  return (
    <>
      <a className="skip" href="#contenu">Aller au contenu</a>
      <header>
        <p className="agency">SIGETI</p>
        <nav aria-label="Tableaux de bord">
          {DASHBOARDS.map((each) => (
            <Link key={each.name} to={{ tableau: each.name }} go={go} current={each.name === name}>{each.title}</Link>
          ))}
        </nav>
      </header>
      <main id="contenu">
        <h1>{title}</h1>
        <Shown key={name} place={place} go={go} live={live} />
      </main>
    </>
  );
}
