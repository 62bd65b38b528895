// What happens, as it happens: the API's event stream, with polling where there is none.
//
// Read by fetch rather than EventSource, so that an API token can be sent. After a break it goes on from the last event that was seen.
import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { base, identify, type Schemas } from "./client";

let connected = false;
const listeners = new Set<() => void>();

function say(now: boolean) {
  if (connected === now) return;
  connected = now;
  listeners.forEach((l) => l());
}

/** Whether events arrive at this moment. */
export function useLive(): boolean {
  return useSyncExternalStore((l) => (listeners.add(l), () => listeners.delete(l)), () => connected);
}

/** How often to ask, in milliseconds: seldom while events arrive, often while something runs and none do, else now and then. */
export function askEvery(busy: boolean): number {
  if (connected) return busy ? 10_000 : 60_000;
  return busy ? 2_000 : 20_000;
}

/** Which lists follow from what kind of event. */
const follows: Record<string, string[]> = {
  backup: ["backups", "backup", "statistics", "overview", "protection"],
  restore: ["restores", "restore", "overview"],
  job: ["job", "backups", "backup", "restores", "restore"],
  schedule: ["schedules", "schedule", "overview", "statistics", "protection"],
  agent: ["servers", "databases", "overview", "protection"],
  alarm: ["alarms", "channels", "protection"],
  storage: ["storages", "overview"],
};

export type ServerEvent = { id: string; name: string; data: string };

/** Takes whole events off the text, and leaves the rest of it. */
export function parseEvents(text: string): { events: ServerEvent[]; rest: string } {
  const parts = text.replaceAll("\r\n", "\n").split("\n\n");
  const rest = parts.pop() ?? "";
  const events: ServerEvent[] = [];
  for (const part of parts) {
    const e: ServerEvent = { id: "", name: "message", data: "" };
    for (const line of part.split("\n")) {
      if (line.startsWith(":")) continue;
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "id") e.id = value;
      else if (field === "event") e.name = value;
      else if (field === "data") e.data += (e.data ? "\n" : "") + value;
    }
    if (e.data || e.id) events.push(e);
  }
  return { events, rest };
}

type Row = { job_id?: number; progress?: Schemas["Progress"] };

/** Puts progress where its job is shown, without asking again. */
function applyProgress(client: QueryClient, job: number, progress: Schemas["Progress"]) {
  const one = <T>(row: T): T => ((row as Row)?.job_id === job ? { ...row, progress } : row);
  for (const key of ["backups", "restores"]) {
    client.setQueriesData<{ items: Row[] }>({ queryKey: [key] }, (list) => (list?.items?.some((r) => r.job_id === job) ? { ...list, items: list.items.map(one) } : list));
  }
  for (const key of ["backup", "restore"]) client.setQueriesData<Row>({ queryKey: [key] }, (row) => (row ? one(row) : row));
}

function handle(client: QueryClient, e: ServerEvent, due: Set<string>) {
  let data: { job_id?: number; progress?: Schemas["Progress"]; kind?: string } = {};
  try {
    data = JSON.parse(e.data);
  } catch {
    return; // a ping
  }
  const kind = e.name === "message" ? (data.kind ?? "") : e.name;
  if (kind === "progress") {
    if (data.progress && data.job_id) applyProgress(client, data.job_id, data.progress);
    return;
  }
  // What was missed is no longer known: everything is asked for again.
  if (kind === "reset") for (const key of Object.values(follows).flat()) due.add(key);
  for (const key of follows[kind] ?? []) due.add(key);
}

/** Where the stream begins, so that a break before the first event loses none. */
function headOf(data: string): string {
  const found = /"head":\s*(\d+)/.exec(data);
  return found ? found[1]! : "";
}

const pause = (millis: number, signal: AbortSignal) =>
  new Promise<void>((done) => {
    const t = setTimeout(done, millis);
    signal.addEventListener("abort", () => (clearTimeout(t), done()), { once: true });
  });

/** Follows the events until it is told to stop. */
export function follow(client: QueryClient): () => void {
  const stop = new AbortController();
  void (async () => {
    let last = "";
    let wait = 1_000;
    const due = new Set<string>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const flush = () => {
      timer = undefined;
      for (const key of due) void client.invalidateQueries({ queryKey: [key] });
      due.clear();
    };
    while (!stop.signal.aborted) {
      try {
        const headers = new Headers({ Accept: "text/event-stream" });
        if (last) headers.set("Last-Event-ID", last);
        identify(headers, false);
        const response = await fetch(`${base}/events`, { headers, signal: stop.signal, cache: "no-store" });
        if (response.status === 404 || response.status === 401 || response.status === 403) break; // polling does
        if (!response.ok || !response.body) throw new Error(`events: ${response.status}`);
        say(true);
        wait = 1_000;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const found = parseEvents(text + value);
          text = found.rest;
          for (const e of found.events) {
            if (e.id) last = e.id;
            else if (e.name === "hello" && !last) last = headOf(e.data);
            handle(client, e, due);
          }
          if (due.size && !timer) timer = setTimeout(flush, 300);
        }
      } catch {
        /* tried again below */
      }
      say(false);
      if (stop.signal.aborted) break;
      await pause(wait, stop.signal);
      wait = Math.min(wait * 2, 30_000);
    }
    say(false);
    clearTimeout(timer);
  })();
  return () => stop.abort();
}
