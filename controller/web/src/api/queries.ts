// What the pages ask for. The first part of a key is the list's name, which events refer to.
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, take, type Schemas } from "./client";
import { askEvery } from "./events";

export type Backup = Schemas["Backup"];
export type Restore = Schemas["Restore"];
export type Schedule = Schemas["Schedule"];
export type Server = Schemas["Server"];
export type Storage = Schemas["Storage"];
export type Project = Schemas["Project"];
export type Database = Schemas["Database"];

export const open = (status: string) => status === "pending" || status === "running";

export type BackupFilter = {
  project?: string; database?: string; server?: string; status?: Backup["status"]; type?: Backup["type"]; health?: string; verified?: "true" | "false"; storage?: string; engine?: string; sort?: string; order?: "asc" | "desc"; page?: number; per_page?: number; since?: string; before_id?: number; limit?: number; deleted?: boolean;
};

export function useBackups(filter: BackupFilter) {
  return useQuery({
    queryKey: ["backups", filter],
    queryFn: ({ signal }) => take(api.GET("/backups", { params: { query: filter as never }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: (q) => askEvery(!!q.state.data?.items.some((b) => open(b.status))),
  });
}

export function useBackup(id: number) {
  return useQuery({
    queryKey: ["backup", id],
    queryFn: ({ signal }) => take(api.GET("/backups/{id}", { params: { path: { id } }, signal })),
    refetchInterval: (q) => askEvery(!!q.state.data && open(q.state.data.status)),
  });
}

export function useBackupLog(id: number, busy: boolean) {
  return useQuery({
    queryKey: ["job", "backup", id],
    queryFn: ({ signal }) => take(api.GET("/backups/{id}/log", { params: { path: { id } }, signal })),
    refetchInterval: () => (busy ? askEvery(true) : false),
  });
}

/** The verifications of a backup, the newest first. */
export const useVerifications = (backup: number) =>
  useQuery({
    queryKey: ["job", "verifications", backup],
    queryFn: ({ signal }) => take(api.GET("/jobs", { params: { query: { backup_id: backup, kind: "verify", limit: 50 } }, signal })),
    refetchInterval: (q) => askEvery(!!q.state.data?.items.some((j) => !j.ended_at)),
  });

export function useManifest(id: number, wanted: boolean) {
  return useQuery({
    queryKey: ["manifest", id],
    queryFn: ({ signal }) => take(api.GET("/backups/{id}/manifest", { params: { path: { id } }, signal })),
    enabled: wanted, staleTime: Infinity, retry: false,
  });
}

// whole reads a list to its end; nearly always that is one request.
async function whole<T>(ask: (query: { after_id?: number; limit: number }) => Promise<{ items: T[]; next_after_id: number | null }>) {
  const items: T[] = [];
  for (let query: { after_id?: number; limit: number } = { limit: 500 }; ; ) {
    const part = await ask(query);
    items.push(...part.items);
    if (part.next_after_id === null) return { items };
    query = { ...query, after_id: part.next_after_id };
  }
}

export const useProjects = () =>
  useQuery({ queryKey: ["projects"], queryFn: ({ signal }) => whole((query) => take(api.GET("/projects", { params: { query }, signal }))) });

export const useProject = (ref: string) =>
  useQuery({ queryKey: ["project", ref], queryFn: ({ signal }) => take(api.GET("/projects/{ref}", { params: { path: { ref } }, signal })) });

export const useDatabases = (query: { project?: string; server?: string; unassigned?: boolean }, wanted = true) =>
  useQuery({
    queryKey: ["databases", query], enabled: wanted, refetchInterval: () => askEvery(false),
    queryFn: ({ signal }) => whole((part) => take(api.GET("/databases", { params: { query: { ...query, ...part } }, signal }))),
  });

export const useSchedules = (project: string | undefined) =>
  useQuery({
    queryKey: ["schedules", project], refetchInterval: () => askEvery(false),
    queryFn: ({ signal }) => take(api.GET("/schedules", { params: { query: { project, limit: 200 } }, signal })),
  });

export const useServers = (fast = false) =>
  useQuery({ queryKey: ["servers"], refetchInterval: () => (fast ? 2_000 : askEvery(false)), queryFn: ({ signal }) => whole((query) => take(api.GET("/servers", { params: { query }, signal }))) });

export const useStorages = () => useQuery({ queryKey: ["storages"], queryFn: ({ signal }) => whole((query) => take(api.GET("/storages", { params: { query }, signal }))) });

export const useRestores = (query: { project?: string; page?: number; per_page?: number; before_id?: number; limit?: number }) =>
  useQuery({
    queryKey: ["restores", query], placeholderData: keepPreviousData,
    queryFn: ({ signal }) => take(api.GET("/restores", { params: { query }, signal })),
    refetchInterval: (q) => askEvery(!!q.state.data?.items.some((r) => open(r.status))),
  });

export const useRestore = (id: number) =>
  useQuery({
    queryKey: ["restore", id],
    queryFn: ({ signal }) => take(api.GET("/restores/{id}", { params: { path: { id } }, signal })),
    refetchInterval: (q) => askEvery(!!q.state.data && open(q.state.data.status)),
  });

export const useJob = (id: number, busy: boolean) =>
  useQuery({
    queryKey: ["job", id], enabled: id > 0,
    queryFn: ({ signal }) => take(api.GET("/jobs/{id}", { params: { path: { id } }, signal })),
    refetchInterval: () => (busy ? askEvery(true) : false),
  });

/** Follows a job until it ends, and tells how it ended. */
export async function settled(id: number): Promise<Schemas["Job"]> {
  for (;;) {
    const job = await take(api.GET("/jobs/{id}", { params: { path: { id } } }));
    if (job.ended_at) return job;
    await new Promise((done) => setTimeout(done, 1_000));
  }
}

/** Does something, and then asks again for the lists that it changes. */
export function useAct<In, Out>(run: (input: In) => Promise<Out>, ...lists: string[]) {
  const client = useQueryClient();
  return useMutation({ mutationFn: run, onSuccess: () => Promise.all(lists.map((key) => client.invalidateQueries({ queryKey: [key] }))) });
}

export const useStatistics = (project: string) =>
  useQuery({
    queryKey: ["statistics", project], refetchInterval: () => askEvery(false),
    queryFn: ({ signal }) => take(api.GET("/projects/{ref}/statistics", { params: { path: { ref: project } }, signal })),
  });

export const useOverview = () =>
  useQuery({ queryKey: ["overview"], refetchInterval: () => askEvery(false), queryFn: ({ signal }) => take(api.GET("/overview", { signal })) });

export const useProtection = (query: { project?: string; state?: string; search?: string; page?: number; per_page?: number }) =>
  useQuery({
    queryKey: ["protection", query], placeholderData: keepPreviousData, refetchInterval: () => askEvery(false),
    queryFn: ({ signal }) => take(api.GET("/protection", { params: { query: query as never }, signal })),
  });

export const useProtectionSummary = () =>
  useQuery({ queryKey: ["protection", "summary"], refetchInterval: () => askEvery(false), queryFn: ({ signal }) => take(api.GET("/protection/summary", { signal })) });

export const useTrends = (query: { project?: string; database?: string; days?: number }) =>
  useQuery({ queryKey: ["statistics", "trends", query], placeholderData: keepPreviousData, staleTime: 60_000, queryFn: ({ signal }) => take(api.GET("/trends", { params: { query }, signal })) });

export const useAlarmSummary = () =>
  useQuery({ queryKey: ["alarms", "summary"], refetchInterval: () => askEvery(false), queryFn: ({ signal }) => take(api.GET("/alarms/summary", { signal })) });
