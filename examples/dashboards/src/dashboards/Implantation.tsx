import { Monthly } from "../shared/Monthly";
import type { DashboardProps } from "../shared/props";

export const Implantation = (props: DashboardProps) => (
  <Monthly
    {...props}
    dashboard="implantation-suivi"
    mart="dwh_marts_operationnel.mart_implantation_suivi"
    figures={["nb_demandes", "nb_accordees", "nb_refusees", "nb_attributions", "superficie_attribuee_m2"]}
    plotted={["nb_demandes", "nb_accordees", "nb_refusees"]}
    columns={["nb_demandes", "nb_en_attente", "nb_accordees", "nb_refusees", "nb_attributions", "nb_mises_en_exploitation", "superficie_attribuee_m2"]}
    records="Demandes"
  />
);
