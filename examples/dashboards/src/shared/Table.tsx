import type { ReactNode } from "react";
import type { Row } from "../api";
import { cell } from "../format";
import { word } from "../words";

type Props = {
  title: string;
  columns: readonly string[];
  rows: readonly Row[];
  /** What the first cell of a row holds, for example a link further down. */
  head?: (row: Row) => ReactNode;
};

/** Rows with a title, a header for each column and for each row; wider ones scroll within themselves. */
export function Table({ title, columns, rows, head }: Props) {
  return (
    <div className="scrolled" tabIndex={0} role="region" aria-label={title}>
      <table>
        <caption>{title}</caption>
        <thead>
          <tr>{columns.map((column) => <th key={column} scope="col">{word(column)}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr key={columns.slice(0, 3).map((column) => row[column]).join("|") || index}>
              {columns.map((column, place) =>
                place === 0 ? (
                  <th key={column} scope="row">{head ? head(row) : cell(column, row[column] ?? null)}</th>
                ) : (
                  <td key={column} className={typeof row[column] === "number" ? "number" : ""}>{cell(column, row[column] ?? null)}</td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
