// What to ask the API, and when to ask it again.
import type { Live } from "../useLive";
import { addressOf, type Place } from "../usePlace";

export const questionOf = (dashboard: string, names: readonly string[], place: Place): string =>
  `/api/${dashboard}${addressOf(Object.fromEntries(names.map((name) => [name, place[name]])))}`;

/** Changes when the mart has a new version, and when the server is back. */
export const turnOf = (live: Live, mart: string): string => `${live.versions[mart]?.name ?? ""}@${live.versions[mart]?.published_at ?? ""}`;
