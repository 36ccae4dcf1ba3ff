import { Monthly } from "../shared/Monthly";
import type { DashboardProps } from "../shared/props";

export const EmploisCrees = (props: DashboardProps) => (
  <Monthly
    {...props}
    dashboard="emplois-crees"
    mart="dwh_marts_operationnel.mart_emplois_crees"
    figures={["nb_declarations", "nb_prevus", "nb_crees", "nb_crees_femmes"]}
    plotted={["nb_prevus", "nb_crees"]}
    columns={["nb_declarations", "nb_prevus", "nb_crees", "nb_crees_cdi", "nb_crees_cdd", "nb_crees_interim", "nb_crees_femmes"]}
    records="Déclarations"
  />
);
