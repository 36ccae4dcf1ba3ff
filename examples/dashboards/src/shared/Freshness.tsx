import type { Version } from "../api";
import { time } from "../format";
import type { Live } from "../useLive";

type Props = { version: Version | null | undefined; state: Live["state"]; problem: string | undefined };

const STATES: Readonly<Record<Live["state"], string>> = {
  connecting: "connexion…",
  live: "en direct",
  away: "l'entrepôt ne répond pas ; les chiffres affichés restent valables",
  lost: "le serveur ne répond pas ; les chiffres affichés restent valables",
};

/** Of which data the figures are, and whether a newer version would be noticed. Read out when it changes. */
export function Freshness({ version, state, problem }: Props) {
  return (
    <p className={`freshness ${problem ? "lost" : state}`} role="status">
      {version && (
        <span id="version">
          Données du <time dateTime={version.published_at}>{time(version.published_at)}</time> · version {version.name}
        </span>
      )}
      {version === null && <span id="version">Données sans version : rien n'a encore été publié</span>}
      <span id="live">{problem ?? STATES[state]}</span>
    </p>
  );
}
