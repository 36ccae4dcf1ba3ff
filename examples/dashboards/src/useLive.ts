// The versions of the data as the server tells them, and whether it is heard at all.
import { useEffect, useState } from "react";
import type { Version } from "./api";

export type Live = {
  readonly versions: Readonly<Record<string, Version>>;
  readonly state: "connecting" | "live" | "away" | "lost";
};

const AGAIN_AFTER = 2000; // milliseconds

/** Listens while the page is in sight: browsers have six connections to a server for all their tabs, and would not let the seventh tab ask. */
export function useLive(): Live {
  const [live, setLive] = useState<Live>({ versions: {}, state: "connecting" });

  useEffect(() => {
    let source: EventSource | undefined;
    let later: number | undefined;
    const rest = () => {
      source?.close();
      window.clearTimeout(later);
    };
    const listen = () => {
      rest();
      source = new EventSource("/api/events");
      source.addEventListener("versions", (event) => {
        setLive({ versions: JSON.parse(event.data) as Live["versions"], state: "live" });
      });
      source.addEventListener("away", () => setLive((was) => ({ ...was, state: "away" })));
      source.onerror = () => {
        setLive((was) => ({ ...was, state: "lost" }));
        // the browser tries again by itself, but not after an answer that is no stream
        if (source?.readyState === EventSource.CLOSED) later = window.setTimeout(listen, AGAIN_AFTER);
      };
    };
    const seen = () => (document.visibilityState === "visible" ? listen() : rest());
    seen();
    document.addEventListener("visibilitychange", seen);
    window.addEventListener("pageshow", seen);
    window.addEventListener("pagehide", rest);
    return () => {
      rest();
      document.removeEventListener("visibilitychange", seen);
      window.removeEventListener("pageshow", seen);
      window.removeEventListener("pagehide", rest);
    };
  }, []);

  return live;
}
