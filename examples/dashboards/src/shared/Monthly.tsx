import type { Row, View } from "../api";
import { monthName, valueOf } from "../format";
import { useAnswer } from "../useAnswer";
import type { Place } from "../usePlace";
import { Breadcrumb, type Crumb } from "./Breadcrumb";
import { Figures } from "./Figures";
import { Filters } from "./Filters";
import { Freshness } from "./Freshness";
import { Link } from "./Link";
import { Plot } from "./Plot";
import type { DashboardProps } from "./props";
import { questionOf, turnOf } from "./question";
import { RecordsTable } from "./RecordsTable";
import { Empty, Loading, Problem } from "./States";
import { Table } from "./Table";

type Props = DashboardProps & {
  dashboard: string;
  mart: string;
  figures: readonly string[];
  plotted: readonly string[];
  columns: readonly string[];
  records: string;
};

const FILTERS = ["zone", "annee"];

/** A dashboard by zone and month: zones, then the months of one, then the records of one month. */
export function Monthly({ dashboard, mart, figures, plotted, columns, records, place, go, live }: Props) {
  const turn = turnOf(live, mart);
  const names = place.zone !== undefined && place.annee !== undefined ? [...FILTERS, "mois"] : FILTERS;
  const { answer, problem } = useAnswer<View>(questionOf(dashboard, names, place), turn);
  const month = names.includes("mois") && place.mois !== undefined;
  return (
    <>
      <Freshness version={answer?.version} state={live.state} problem={answer && problem} />
      <Filters names={FILTERS} choices={answer?.choices} place={place} go={go} />
      <Breadcrumb crumbs={crumbs(dashboard, place, answer)} go={go} />
      {!answer && (problem ? <Problem message={problem} /> : <Loading />)}
      {answer && answer.rows === 0 && <Empty />}
      {answer && answer.rows > 0 && (
        <>
          <Figures totals={answer.totals} names={figures} />
          {month ? (
            <RecordsTable title={records} address={questionOf(`${dashboard}/records`, names, place)} page={place.page} turn={turn} go={go} />
          ) : (
            <Breakdown dashboard={dashboard} view={answer} place={place} plotted={plotted} columns={columns} go={go} />
          )}
        </>
      )}
    </>
  );
}

type BreakdownProps = { dashboard: string; view: View; place: Place; plotted: readonly string[]; columns: readonly string[]; go: DashboardProps["go"] };

function Breakdown({ dashboard, view, place, plotted, columns, go }: BreakdownProps) {
  const zones = view.by_zone ?? [];
  const months = view.by_period ?? [];
  const points = (rows: readonly Row[], label: (row: Row) => string) =>
    rows.map((row) => ({ ...Object.fromEntries(plotted.map((name) => [name, Number(row[name])])), label: label(row) }));
  const down = (more: Readonly<Record<string, string>>) => ({ tableau: dashboard, ...(place.annee && { annee: place.annee }), ...more });
  const byMonth = <Plot title="Par mois" kind="lines" measures={plotted} points={points(months.filter((row) => row.annee !== null && row.mois !== null), period)} />;
  if (place.zone === undefined)
    return (
      <>
        <div className="plots">
          <Plot title="Par zone" kind="bars" measures={plotted} points={points(zones, zoneName)} />
          {byMonth}
        </div>
        <Table
          title="Par zone"
          columns={["nom_zone", "region", ...columns]}
          rows={zones}
          head={(row) => <Link to={down({ zone: valueOf(row.zone_id) })} go={go}>{zoneName(row)}</Link>}
        />
      </>
    );
  const zone = place.zone;
  return (
    <>
      <div className="plots">{byMonth}</div>
      <Table
        title="Par mois"
        columns={["mois", ...columns]}
        rows={[...months].reverse()}
        head={(row) => <Link to={down({ zone, annee: valueOf(row.annee), mois: valueOf(row.mois) })} go={go}>{period(row)}</Link>}
      />
    </>
  );
}

const zoneName = (row: Row): string => (row.nom_zone != null ? String(row.nom_zone) : row.zone_id == null ? "Zone inconnue" : `Zone n° ${row.zone_id}`);

const period = (row: Row): string => (row.annee == null || row.mois == null ? "Date inconnue" : `${monthName(row.mois)} ${row.annee}`);

function crumbs(dashboard: string, place: Place, view: View | undefined): Crumb[] {
  const year: Record<string, string> = place.annee === undefined ? {} : { annee: place.annee };
  const found: Crumb[] = [{ label: "Toutes les zones", to: { tableau: dashboard, ...year } }];
  if (place.zone === undefined) return found;
  const name = view?.choices.zone?.find((choice) => choice.value === place.zone)?.label;
  const zone = place.zone;
  found.push({ label: name != null ? String(name) : zoneName({ zone_id: zone === "inconnu" ? null : zone }), to: { tableau: dashboard, ...year, zone } });
  if (place.annee === undefined || place.mois === undefined) return found;
  const known = place.annee !== "inconnu" && place.mois !== "inconnu";
  const label = period({ annee: known ? place.annee : null, mois: known ? place.mois : null });
  return [...found, { label, to: { tableau: dashboard, ...year, zone, mois: place.mois } }];
}
