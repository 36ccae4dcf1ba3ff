// The versions of the data as the server tells them, and whether it is heard at all.
import { useEffect, useState } from "react";
import type { Version } from "./api";

export type Live = {
  readonly versions: Readonly<Record<string, Version>>;
  readonly state: "connecting" | "live" | "away" | "lost";
};

const AGAIN_AFTER = 2000; // milliseconds

export function useLive(): Live {
  const [live, setLive] = useState<Live>({ versions: {}, state: "connecting" });

  useEffect(() => {
    let source: EventSource;
    let later: number | undefined;
    const listen = () => {
      source = new EventSource("/api/events");
      source.addEventListener("versions", (event) => {
        setLive({ versions: JSON.parse(event.data) as Live["versions"], state: "live" });
      });
      source.addEventListener("away", () => setLive((was) => ({ ...was, state: "away" })));
      source.onerror = () => {
        setLive((was) => ({ ...was, state: "lost" }));
        // the browser tries again by itself, but not after an answer that is no stream
        if (source.readyState === EventSource.CLOSED) later = window.setTimeout(listen, AGAIN_AFTER);
      };
    };
    listen();
    return () => {
      source.close();
      window.clearTimeout(later);
    };
  }, []);

  return live;
}
