import { Bar, BarChart, CartesianGrid, Legend, Line, LineChart, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import { compact, number } from "../format";
import { word } from "../words";

export type Point = Readonly<Record<string, string | number>> & { readonly label: string };
type Props = { title: string; points: readonly Point[]; measures: readonly string[]; kind: "bars" | "lines" };

const COLOURS = ["var(--plot-1)", "var(--plot-2)", "var(--plot-3)"];

/** A plot of some measures; the same numbers are in the table beside it. It changes in place, without a flourish. */
export function Plot({ title, points, measures, kind }: Props) {
  const axes = (
    <>
      <CartesianGrid stroke="var(--line)" vertical={false} />
      <XAxis dataKey="label" stroke="var(--soft)" fontSize={12} interval="preserveStartEnd" minTickGap={24} />
      <YAxis stroke="var(--soft)" fontSize={12} width={64} tickFormatter={(value) => compact(Number(value))} />
      <Tooltip
        formatter={(value) => number(Number(value))}
        contentStyle={{ background: "var(--raised)", border: "1px solid var(--line)", color: "var(--text)" }}
        isAnimationActive={false}
      />
      <Legend />
    </>
  );
  const data = [...points];
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <ResponsiveContainer width="100%" height={280}>
        {kind === "bars" ? (
          <BarChart data={data} title={title} accessibilityLayer>
            {axes}
            {measures.map((name, index) => (
              <Bar key={name} dataKey={name} name={word(name)} fill={COLOURS[index] ?? "var(--plot-1)"} isAnimationActive={false} />
            ))}
          </BarChart>
        ) : (
          <LineChart data={data} title={title} accessibilityLayer>
            {axes}
            {measures.map((name, index) => (
              <Line key={name} dataKey={name} name={word(name)} stroke={COLOURS[index] ?? "var(--plot-1)"} strokeWidth={2} dot={false} isAnimationActive={false} />
            ))}
          </LineChart>
        )}
      </ResponsiveContainer>
    </figure>
  );
}
