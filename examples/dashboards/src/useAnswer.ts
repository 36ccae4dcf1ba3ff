// An answer of the API that is renewed when the data change, and stays in sight until the next one is there.
import { useEffect, useState } from "react";
import { ApiError, ask } from "./api";

export type Answered<Answer> = {
  /** The last answer to this question; undefined before the first one. */
  readonly answer: Answer | undefined;
  /** What is wrong now; an earlier answer may be in sight all the same. */
  readonly problem: string | undefined;
};

const AGAIN_AFTER = 3000; // milliseconds

/** `turn` changes when there is something new to be had. */
export function useAnswer<Answer>(address: string, turn: string): Answered<Answer> {
  const [kept, keep] = useState<{ address: string; answer: Answer }>();
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    const asking = new AbortController();
    let later: number | undefined;
    const tryIt = async () => {
      try {
        const answer = await ask<Answer>(address, asking.signal);
        keep({ address, answer });
        setProblem(undefined);
      } catch (error) {
        if (asking.signal.aborted) return;
        setProblem(error instanceof ApiError ? error.message : String(error));
        later = window.setTimeout(tryIt, AGAIN_AFTER);
      }
    };
    void tryIt();
    return () => {
      asking.abort();
      window.clearTimeout(later);
    };
  }, [address, turn]);

  return { answer: kept?.address === address ? kept.answer : undefined, problem };
}
