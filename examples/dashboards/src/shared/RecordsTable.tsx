import type { Records } from "../api";
import { number } from "../format";
import { useAnswer } from "../useAnswer";
import type { Go } from "../usePlace";
import { Empty, Loading, Problem } from "./States";
import { Table } from "./Table";

type Props = { title: string; address: string; page: string | undefined; turn: string; go: Go };

/** The records behind a cell of the mart, page by page. */
export function RecordsTable({ title, address, page = "1", turn, go }: Props) {
  const { answer, problem } = useAnswer<Records>(`${address}&page=${encodeURIComponent(page)}`, turn);
  if (!answer) return problem ? <Problem message={problem} /> : <Loading />;
  const first = answer.records[0];
  const pages = Math.max(1, Math.ceil(answer.total / answer.page_rows));
  return (
    <section id="records">
      {!answer.matches_mart && (
        <p className="state">Les enregistrements ne correspondent pas (encore) aux chiffres publiés : un rafraîchissement est en cours ou a échoué.</p>
      )}
      {first ? <Table title={`${title} (${number(answer.total)})`} columns={Object.keys(first)} rows={answer.records} /> : <Empty />}
      {pages > 1 && (
        <p className="pages">
          <button type="button" disabled={answer.page <= 1} onClick={() => go({ page: String(answer.page - 1) })}>Page précédente</button>
          <span>page {number(answer.page)} sur {number(pages)}</span>
          <button type="button" disabled={answer.page >= pages} onClick={() => go({ page: String(answer.page + 1) })}>Page suivante</button>
        </p>
      )}
    </section>
  );
}
