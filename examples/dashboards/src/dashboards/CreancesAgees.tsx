import type { Row, View } from "../api";
import { valueOf } from "../format";
import { Breadcrumb } from "../shared/Breadcrumb";
import { Figures } from "../shared/Figures";
import { Filters } from "../shared/Filters";
import { Freshness } from "../shared/Freshness";
import { Link } from "../shared/Link";
import { Plot } from "../shared/Plot";
import type { DashboardProps } from "../shared/props";
import { questionOf, turnOf } from "../shared/question";
import { RecordsTable } from "../shared/RecordsTable";
import { Empty, Loading, Problem } from "../shared/States";
import { Table } from "../shared/Table";
import { useAnswer } from "../useAnswer";

const DASHBOARD = "creances-agees";
const FILTERS = ["tranche", "risque"];
const FIGURES = ["nb_factures", "montant_encours", "montant_non_echu", "montant_crediteur", "montant_net"];
const PLOTTED = ["montant_encours", "montant_crediteur"];

const named = (value: Row[string] | undefined): string => (value == null ? "Inconnu" : String(value));

/** Receivables by age and risk; an age leads to its invoices. The mart has no zones. */
export function CreancesAgees({ place, go, live }: DashboardProps) {
  const turn = turnOf(live, "dwh_marts_financier.mart_creances_agees");
  const { answer, problem } = useAnswer<View>(questionOf(DASHBOARD, FILTERS, place), turn);
  const top = { label: "Toutes les créances", to: { tableau: DASHBOARD } };
  const age = place.tranche;
  const crumbs = age === undefined ? [top] : [top, { label: age === "inconnu" ? "Ancienneté inconnue" : `${age} jours`, to: { tableau: DASHBOARD, tranche: age } }];
  const points = (rows: readonly Row[], column: string) =>
    rows.map((row) => ({ ...Object.fromEntries(PLOTTED.map((name) => [name, Number(row[name])])), label: named(row[column]) }));
  return (
    <>
      <Freshness version={answer?.version} state={live.state} problem={answer && problem} />
      <Filters names={FILTERS} choices={answer?.choices} place={place} go={go} />
      <Breadcrumb crumbs={crumbs} go={go} />
      {!answer && (problem ? <Problem message={problem} /> : <Loading />)}
      {answer && answer.rows === 0 && <Empty />}
      {answer && answer.rows > 0 && (
        <>
          <Figures totals={answer.totals} names={FIGURES} />
          <div className="plots">
            <Plot title="Par ancienneté (jours de retard)" kind="bars" measures={PLOTTED} points={points(answer.by_age ?? [], "tranche_anciennete")} />
            <Plot title="Par niveau de risque" kind="bars" measures={PLOTTED} points={points(answer.by_risk ?? [], "niveau_risque")} />
          </div>
          {age === undefined && (
            <Table
              title="Par ancienneté"
              columns={["tranche_anciennete", ...FIGURES]}
              rows={answer.by_age ?? []}
              head={(row) => <Link to={{ tableau: DASHBOARD, tranche: valueOf(row.tranche_anciennete) }} go={go}>{named(row.tranche_anciennete)}</Link>}
            />
          )}
          <Table title="Par niveau de risque" columns={["niveau_risque", ...FIGURES]} rows={answer.by_risk ?? []} head={(row) => named(row.niveau_risque)} />
          {age !== undefined && (
            <RecordsTable
              title="Factures de cette ancienneté, tous risques"
              address={questionOf(`${DASHBOARD}/records`, ["tranche"], place)}
              page={place.page}
              turn={turn}
              go={go}
            />
          )}
        </>
      )}
    </>
  );
}
