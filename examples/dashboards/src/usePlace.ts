// Where the reader is: the dashboard and its filters, kept in the address, so that it can be sent to others and gone back from.
import { useCallback, useEffect, useState } from "react";

export type Place = Readonly<Record<string, string>>;
export type Go = (change: Readonly<Record<string, string | undefined>>) => void;

const read = (): Place => Object.fromEntries(new URLSearchParams(window.location.search));

export const addressOf = (place: Readonly<Record<string, string | undefined>>): string => {
  const kept = Object.entries(place).filter((pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== "");
  return `?${new URLSearchParams(kept)}`;
};

export function usePlace(): [Place, Go] {
  const [place, setPlace] = useState(read);

  useEffect(() => {
    const back = () => setPlace(read());
    window.addEventListener("popstate", back);
    return () => window.removeEventListener("popstate", back);
  }, []);

  const go = useCallback<Go>((change) => {
    window.history.pushState(null, "", addressOf({ ...read(), ...change }));
    setPlace(read());
  }, []);

  return [place, go];
}
