export const Loading = () => <p className="state" role="status">Chargement…</p>;

export const Empty = () => <p className="state" id="empty">Aucune donnée pour ces filtres.</p>;

/** Shown where there is nothing else to show; it tries again by itself. */
export const Problem = ({ message }: { message: string }) => (
  <p className="state problem" role="alert">{message} Nouvel essai dans quelques secondes.</p>
);
