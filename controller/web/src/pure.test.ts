import { expect, test } from "vitest";
import { parseEvents } from "./api/events";
import { actor, backupType, browser, bytes, databaseName, duration, keeping, relative, sentence } from "./format";
import { can } from "./permission";
import { recovery } from "./recovery";
import { observe, percent, rate, remaining, type Sample } from "./progress";

test("sizes and spans read as the panel's", () => {
  expect([0, 1023, 1024, 1.2 * 2 ** 30, 150 * 2 ** 20, null].map(bytes)).toEqual(["0 B", "1023 B", "1.0 KB", "1.2 GB", "150 MB", "–"]);
  expect([0.2, 42, 59.6, 210, 4320, 90_000, null].map(duration)).toEqual(["<1s", "42s", "1m", "3.5m", "1.2h", "1d", "–"]);
});

test("times are told from now", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  expect(relative(null, now)).toBe("Never");
  expect(relative("2026-03-01T11:59:58Z", now)).toBe("just now");
  expect(relative("2026-03-01T11:55:00Z", now)).toBe("5 minutes ago");
  expect(relative("2026-03-01T15:00:00Z", now)).toBe("in 3 hours");
  expect(relative("2026-02-28T12:00:00Z", now)).toBe("yesterday");
});

test("names", () => {
  expect(databaseName("/var/lib/app/shop.db")).toBe("shop.db");
  expect(databaseName("shop")).toBe("shop");
  expect(backupType("pre_deploy")).toBe("Pre-deploy");
});

test("the rate follows the last seconds, and a new attempt starts over", () => {
  let s: Sample[] = [];
  expect(rate(s)).toBeNull();
  for (const [at, n] of [[0, 0], [1000, 100], [2000, 200]] as const) s = observe(s, at, n);
  expect(rate(s)).toBe(100);
  expect(remaining(200, 1200, rate(s))).toBe(10);
  expect(observe(s, 2000, 300)).toBe(s);
  s = observe(s, 30_000, 300);
  expect(s).toEqual([{ at: 30_000, bytes: 300 }]);
  expect(observe(s, 31_000, 10)).toEqual([{ at: 31_000, bytes: 10 }]);
});

test("an estimate that is passed gives no remaining time and never the whole", () => {
  expect(percent(100, 100)).toBe(99);
  expect(percent(150, 100)).toBe(99);
  expect(percent(5, 0)).toBeNull();
  expect(remaining(150, 100, 10)).toBeNull();
});

test("permissions: all that are needed, and none without a session", () => {
  const who = { permissions: ["view-backups", "create-backups"], all_projects: true, projects: [] };
  expect(can(who, "view-backups", "create-backups")).toBe(true);
  expect(can(who, "view-backups", "delete-backups")).toBe(false);
  expect(can(null, "view-backups")).toBe(false);
  expect(can(who)).toBe(true);
});

test("events are taken whole; what has not ended waits", () => {
  const { events, rest } = parseEvents(': beat\n\nretry: 2000\nevent: hello\ndata: {"head":7}\n\nid: 8\nevent: backup\ndata: {"a":\ndata: 1}\n\nid: 9\nev');
  expect(events).toEqual([{ id: "", name: "hello", data: '{"head":7}' }, { id: "8", name: "backup", data: '{"a":\n1}' }]);
  expect(rest).toBe("id: 9\nev");
});

test("a backup is opened without us, whatever its names hold", () => {
  const b = { database_type: "postgresql", database_name: "shop", compression: "zstd", encryption: "age", file_name: "shop_x.dump.zst.age", checksum: "ab", project: "shop" };
  expect(recovery(b)).toBe("echo 'ab  shop_x.dump.zst.age' | sha256sum -c\nage -d -i shop.key shop_x.dump.zst.age | zstd -d > recovered.dump\ncreatedb shop_recovered\npg_restore --no-owner --exit-on-error -d shop_recovered recovered.dump");
  expect(recovery({ ...b, database_name: "a'b; rm -rf x" })).toContain("createdb 'a'\\''b; rm -rf x_recovered'");
  expect(recovery({ ...b, encryption: "none", compression: "gzip", database_type: "sqlite", database_name: "/srv/app.db" })).toContain("gunzip < shop_x.dump.zst.age > recovered.sqlite");
  expect(recovery({ ...b, encryption: "aes-256-cbc", database_type: "mysql" })).toContain("devflowctl key derive");
});

test("what a schedule keeps, in few words", () => {
  const s = { retention_days: 30, retention_hourly: 0, retention_daily: 7, retention_weekly: 4, retention_monthly: 3 };
  expect(keeping(s)).toBe("7 daily, 4 weekly, 3 monthly, all of 30 days");
  expect(keeping({ ...s, retention_days: 1, retention_daily: 0, retention_weekly: 0, retention_monthly: 0 })).toBe("all of 1 day");
});

test("who did it, and where from", () => {
  expect(["user:anna", "token:deploy", "schedule:3", "admin", null].map(actor)).toEqual(["anna", "token deploy", "its schedule", "admin", "the controller"]);
  expect(browser("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36")).toBe("Chrome on Linux");
  expect(browser("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/604.1")).toBe("Safari on iOS");
  expect(browser("devflowctl/1.0")).toBe("devflowctl/1.0");
});

test("the API's words as sentences", () => {
  expect(["the name is taken", "Is it?", ""].map(sentence)).toEqual(["The name is taken.", "Is it?", ""]);
});
