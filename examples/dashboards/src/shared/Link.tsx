import type { MouseEvent, ReactNode } from "react";
import { addressOf, type Go } from "../usePlace";

type Props = { to: Readonly<Record<string, string>>; go: Go; current?: boolean; children: ReactNode };

const FORGOTTEN = { tableau: undefined, zone: undefined, annee: undefined, mois: undefined, tranche: undefined, risque: undefined, page: undefined };

/** A link to a place here: followed without loading the page, opened in another window as any other link. */
export function Link({ to, go, current = false, children }: Props) {
  const follow = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go({ ...FORGOTTEN, ...to });
  };
  return <a href={addressOf(to)} onClick={follow} aria-current={current ? "page" : undefined}>{children}</a>;
}
