// Rate and remaining time of a running job, from what is seen of its progress.

export type Sample = { at: number; bytes: number };

/** How far back the rate looks: long enough to be steady, short enough to follow a change. */
const windowMillis = 20_000;

/** Adds what was seen now; a count that went back is a new attempt and starts over. */
export function observe(samples: Sample[], at: number, bytes: number): Sample[] {
  const last = samples.at(-1);
  if (last && bytes < last.bytes) return [{ at, bytes }];
  if (last && at <= last.at) return samples;
  return [...samples.filter((s) => at - s.at <= windowMillis), { at, bytes }];
}

/** Bytes a second over the window; null before there is anything to tell. */
export function rate(samples: Sample[]): number | null {
  const first = samples[0];
  const last = samples.at(-1);
  if (!first || !last || last.at - first.at < 500) return null;
  return ((last.bytes - first.bytes) * 1000) / (last.at - first.at);
}

/** Seconds that remain; null where total or rate is not known. The total is an estimate: a job beyond it has no remaining time to show. */
export function remaining(done: number, total: number, perSecond: number | null): number | null {
  if (!perSecond || perSecond <= 0 || total <= 0 || done >= total) return null;
  return (total - done) / perSecond;
}

/** Share of 100. Never 100 while it runs: the last steps come after the last byte. */
export function percent(done: number, total: number): number | null {
  if (total <= 0) return null;
  return Math.min(99, Math.floor((done / total) * 100));
}
