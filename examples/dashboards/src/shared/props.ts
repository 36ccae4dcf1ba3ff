import type { Live } from "../useLive";
import type { Go, Place } from "../usePlace";

/** What every dashboard is given. */
export type DashboardProps = { readonly place: Place; readonly go: Go; readonly live: Live };
