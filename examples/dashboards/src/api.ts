// What the API says, and how it is asked. Its parameters and answers are described in docs/dashboards.md.

export type Cell = string | number | null;
export type Row = Readonly<Record<string, Cell>>;
export type Version = { readonly name: string; readonly published_at: string };
export type Choice = { readonly value: string; readonly label: Cell };

export type View = {
  readonly dashboard: string;
  readonly mart: string;
  readonly version: Version | null;
  readonly choices: Readonly<Record<string, readonly Choice[]>>;
  readonly rows: number;
  readonly totals: Row;
  readonly by_zone?: readonly Row[];
  readonly by_period?: readonly Row[];
  readonly by_age?: readonly Row[];
  readonly by_risk?: readonly Row[];
};

export type Records = {
  readonly version: Version | null;
  readonly page: number;
  readonly page_rows: number;
  readonly total: number;
  readonly matches_mart: boolean;
  readonly records: readonly Row[];
};

/** A failed request; the message is for users. */
export class ApiError extends Error {}

// characters that turn the text after them around, so that a name could pretend to be another
const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;

export async function ask<Answer>(address: string, signal: AbortSignal): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(address, { signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("Le serveur des tableaux de bord ne répond pas.");
  }
  if (response.ok) return JSON.parse((await response.text()).replace(TURNING, "")) as Answer;
  const said = (await response.json().catch(() => ({}))) as { error?: string };
  if (response.status === 422) throw new ApiError(`Ce filtre n'est pas possible : ${said.error ?? ""}`);
  if (said.error?.endsWith("does not exist yet")) throw new ApiError("Ces données n'ont pas encore été construites.");
  throw new ApiError("L'entrepôt de données ne répond pas.");
}

export const UNKNOWN = "inconnu";
