// Values as people read them, in the panel's words.

const units = ["B", "KB", "MB", "GB", "TB", "PB"];

/** A size in powers of 1,024, as the panel shows it: 1.2 GB. */
export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return "–";
  let i = 0;
  let v = Math.max(0, n);
  while (v >= 1024 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  const text = i === 0 || v >= 100 ? Math.round(v).toString() : v.toFixed(1);
  return `${text} ${units[i]}`;
}

/** A span as the panel shows it: 42s, 3.5m, 1.2h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 1) return "<1s";
  if (Math.round(s) < 60) return `${Math.round(s)}s`;
  const [v, unit] = s < 3600 ? [s / 60, "m"] : s < 86_400 ? [s / 3600, "h"] : [s / 86_400, "d"];
  return `${(v as number).toFixed(1).replace(/\.0$/, "")}${unit}`;
}

/** Seconds between two times; null while one is not known. */
export function between(from: string | null | undefined, to: string | null | undefined): number | null {
  if (!from || !to) return null;
  return (Date.parse(to) - Date.parse(from)) / 1000;
}

const relativeWords = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** How long ago, or in how long: 5 minutes ago, in 3 hours. */
export function relative(time: string | null | undefined, now = Date.now()): string {
  if (!time) return "Never";
  const s = (Date.parse(time) - now) / 1000;
  const a = Math.abs(s);
  if (a < 10) return "just now";
  if (a < 60) return relativeWords.format(Math.round(s), "second");
  if (a < 3600) return relativeWords.format(Math.round(s / 60), "minute");
  if (a < 86_400) return relativeWords.format(Math.round(s / 3600), "hour");
  if (a < 30 * 86_400) return relativeWords.format(Math.round(s / 86_400), "day");
  if (a < 365 * 86_400) return relativeWords.format(Math.round(s / (30 * 86_400)), "month");
  return relativeWords.format(Math.round(s / (365 * 86_400)), "year");
}

const absoluteFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exactFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

const thisYear = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

/** Day and time; the year only where it is another one. */
export function absolute(time: string | null | undefined): string {
  if (!time) return "Never";
  const at = new Date(time);
  return (at.getFullYear() === new Date().getFullYear() ? thisYear : absoluteFormat).format(at);
}

export function exact(time: string | null | undefined): string {
  return time ? exactFormat.format(new Date(time)) : "Never";
}

export function count(n: number | null | undefined): string {
  return n === null || n === undefined ? "–" : n.toLocaleString("en");
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Who did it, as the catalog names them: user:anna, token:deploy. */
export function actor(name: string | null | undefined): string {
  if (!name) return "the controller";
  const [kind, rest] = [name.slice(0, name.indexOf(":")), name.slice(name.indexOf(":") + 1)];
  return kind === "user" ? rest : kind === "token" ? `token ${rest}` : kind === "schedule" ? "its schedule" : name;
}

type Keeping = { retention_days: number; retention_hourly: number; retention_daily: number; retention_weekly: number; retention_monthly: number };

/** What a schedule keeps, in few words: 7 daily, 4 weekly, all of 30 days. */
export function keeping(s: Keeping): string {
  const parts = [[s.retention_hourly, "hourly"], [s.retention_daily, "daily"], [s.retention_weekly, "weekly"], [s.retention_monthly, "monthly"]].filter(([n]) => n).map(([n, what]) => `${n} ${what}`);
  if (s.retention_days) parts.push(`all of ${plural(s.retention_days, "day")}`);
  return parts.join(", ") || "–";
}

/** A name of the API as words: backup_failing is Backup failing. */
export const words = (name: string) => name && name[0]!.toUpperCase() + name.slice(1).replaceAll("_", " ");

const engines: Record<string, string> = { postgresql: "PostgreSQL", mysql: "MySQL", sqlite: "SQLite" };
export const engine = (name: string) => engines[name] ?? name;

const types: Record<string, string> = { manual: "Manual", scheduled: "Scheduled", pre_deploy: "Pre-deploy", pre_restore: "Before a restore" };
export const backupType = (name: string) => types[name] ?? name;

const encryptions: Record<string, string> = { age: "age", "aes-256-cbc": "AES-256-CBC", none: "Unencrypted" };
export const encryption = (name: string) => encryptions[name] ?? name;

/** The last part of an SQLite file's path; the name of any other database. */
export function databaseName(name: string): string {
  return name.startsWith("/") ? name.slice(name.lastIndexOf("/") + 1) : name;
}

/** The API's messages begin small, as parts of other sentences; alone they are sentences. */
export const sentence = (text: string | null | undefined) => !text ? "" : text[0]!.toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** A browser in words, as far as it says what it is. */
export function browser(agent: string): string {
  const name = /Firefox/.test(agent) ? "Firefox" : /Edg\//.test(agent) ? "Edge" : /Chrome/.test(agent) ? "Chrome" : /Safari/.test(agent) ? "Safari" : "";
  const system = /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Windows/.test(agent) ? "Windows" : /Mac OS/.test(agent) ? "macOS" : /Linux/.test(agent) ? "Linux" : "";
  return name ? `${name}${system ? ` on ${system}` : ""}` : agent.slice(0, 80) || "A program";
}
