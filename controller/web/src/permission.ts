// What a person may do, as the API names it. The API decides; this only keeps buttons away that it would refuse.

export type Who = { permissions: readonly string[]; all_projects: boolean; projects: readonly number[] };

export function can(who: Who | null | undefined, ...needed: string[]): boolean {
  return !!who && needed.every((p) => who.permissions.includes(p));
}

const words: Record<string, string> = {
  "view-backups": "View backups and verify them",
  "create-backups": "Create backups",
  "restore-backups": "Restore backups",
  "delete-backups": "Delete and hold backups",
  "download-backups": "Download backups",
  "manage-projects": "Manage projects and settings",
  "manage-schedules": "Manage schedules",
  "manage-servers": "Manage servers",
  "manage-storages": "Manage storages",
  "manage-tokens": "Manage people and tokens",
  "view-audit-logs": "View the audit log",
  "export-audit-logs": "Export the audit log",
};

export const permissionWords = (name: string) => words[name] ?? name;
