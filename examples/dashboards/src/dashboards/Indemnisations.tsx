import { Monthly } from "../shared/Monthly";
import type { DashboardProps } from "../shared/props";

export const Indemnisations = (props: DashboardProps) => (
  <Monthly
    {...props}
    dashboard="indemnisations"
    mart="dwh_marts_operationnel.mart_indemnisations"
    figures={["nb_dossiers", "montant_du", "montant_paye", "montant_restant"]}
    plotted={["montant_du", "montant_paye", "montant_restant"]}
    columns={["nb_dossiers", "montant_du", "montant_paye", "montant_restant", "nb_soldes", "nb_partiels", "nb_impayes"]}
    records="Dossiers"
  />
);
