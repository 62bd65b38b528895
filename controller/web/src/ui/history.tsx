// The backup history: ten a page, with what can be done with each backup.
import { Group, Pagination, Select, Table, Text, Tooltip } from "@mantine/core";
import { IconArrowBackUp, IconDatabaseOff, IconDownload, IconFilterOff, IconLock, IconPlayerStop, IconRefresh, IconTrash } from "../icons";
import { useState, type ReactNode } from "react";
import { Link } from "wouter";
import { open, useBackups, useDatabases, useStorages, type Backup, type BackupFilter } from "../api/queries";
import { backupType, between, bytes, databaseName, duration, plural, sentence } from "../format";
import { useBackupActions } from "./actions";
import { Act, Do, Empty, EngineBadge, Health, Rows, Section, Shield, Status, Time, verifiedWords } from "./parts";
import { ProblemAlert } from "./problem";
import { JobProgress } from "./progress";

const perPage = 10;

export function History({ project, empty }: { project?: string; empty?: ReactNode }) {
  const [page, setPage] = useState(1);
  const [filter, setFilter] = useState<BackupFilter>({});
  const narrowed = Object.values(filter).some(Boolean);
  const list = useBackups({ project, ...filter, page, per_page: perPage });
  const databases = useDatabases({ project });
  const storages = useStorages();
  const actions = useBackupActions();
  const set = (change: BackupFilter) => {
    setFilter({ ...filter, ...change });
    setPage(1);
  };
  const total = list.data?.total ?? list.data?.items.length ?? 0;
  const names = [...new Set((databases.data?.items ?? []).map((d) => d.name))];
  return (
    <Section title="Backup History" note={list.data ? `${plural(total, "backup")}${list.data.total_more ? " or more" : ""}, newest first` : undefined}>
      {list.data && !list.data.items.length && !narrowed ? null : <Group px="md" py="sm" gap="xs" role="search" aria-label="Filter backups">
        <Select aria-label="Database" placeholder="Any database" size="xs" w={170} clearable searchable data={names.map((n) => ({ value: n, label: databaseName(n) }))} value={filter.database ?? null} onChange={(v) => set({ database: v ?? undefined })} />
        <Select aria-label="Status" placeholder="Any status" size="xs" w={130} clearable data={["completed", "running", "pending", "failed"].map((v) => ({ value: v, label: v[0]!.toUpperCase() + v.slice(1) }))} value={filter.status ?? null} onChange={(v) => set({ status: v ?? undefined })} />
        <Select aria-label="Type" placeholder="Any type" size="xs" w={140} clearable data={["manual", "scheduled", "pre_deploy", "pre_restore"].map((v) => ({ value: v, label: backupType(v) }))} value={filter.type ?? null} onChange={(v) => set({ type: v ?? undefined })} />
        <Select aria-label="Verified" placeholder="Verified or not" size="xs" w={140} clearable data={[{ value: "true", label: "Verified" }, { value: "false", label: "Not verified" }]} value={filter.verified ?? null} onChange={(v) => set({ verified: (v as "true") ?? undefined })} />
        <Select aria-label="Storage" placeholder="Any storage" size="xs" w={140} clearable data={[...new Set((storages.data?.items ?? []).map((s) => s.name))]} value={filter.storage ?? null} onChange={(v) => set({ storage: v ?? undefined })} />
        {narrowed ? <Do size="xs" variant="subtle" icon={IconFilterOff} onClick={() => { setFilter({}); setPage(1); }}>All</Do> : null}
      </Group>}
      {list.isPending ? <Rows n={6} /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : list.data!.items.length === 0 ? (
        narrowed ? <Empty icon={IconFilterOff} title="No backup matches">Change the filters above, or show all.</Empty> : (empty ?? <Empty icon={IconDatabaseOff} title="No backups yet" />)
      ) : (
        <Table highlightOnHover className="stacked" horizontalSpacing="sm">
          <Table.Thead>
            <Table.Tr><Table.Th>Database</Table.Th><Table.Th>Type</Table.Th><Table.Th>Created</Table.Th><Table.Th>Size</Table.Th><Table.Th>Duration</Table.Th><Table.Th>Storage</Table.Th><Table.Th>Status</Table.Th><Table.Th ta="right">Actions</Table.Th></Table.Tr>
          </Table.Thead>
          <Table.Tbody>{list.data!.items.map((b) => <Row key={b.id} b={b} actions={actions} />)}</Table.Tbody>
        </Table>
      )}
      {total > perPage ? (
        <Group justify="space-between" p="md">
          <Text size="sm" c="dimmed">Page {page} of {Math.ceil(total / perPage)}</Text>
          <Pagination value={page} onChange={setPage} total={Math.ceil(total / perPage)} size="sm" getControlProps={(c) => ({ "aria-label": `${c} page` })} getItemProps={(n) => ({ "aria-label": `Page ${n}` })} />
        </Group>
      ) : null}
      {actions.dialogs}
    </Section>
  );
}

function Row({ b, actions }: { b: Backup; actions: ReturnType<typeof useBackupActions> }) {
  const gone = b.deleted_at !== null;
  const fine = b.status === "completed" && !gone;
  return (
    <Table.Tr>
      <Table.Td className="wide" maw={340}>
        <Group gap={8} wrap="nowrap">
          <Link href={`/backups/${b.id}`} className="row-link">{databaseName(b.database_name)}</Link>
          <EngineBadge name={b.database_type} />
          {b.held_at ? <Tooltip label={`Held: ${b.hold_reason}`}><IconLock size={14} aria-label="Held" /></Tooltip> : null}
        </Group>
        <Text size="xs" c="dimmed" className="file mono" title={b.file_name}>{b.file_name || `Backup ${b.id}`}</Text>
      </Table.Td>
      <Table.Td data-label="Type">{backupType(b.type)}</Table.Td>
      <Table.Td data-label="Created" className="nowrap"><Time at={b.created_at} both /></Table.Td>
      <Table.Td data-label="Size" className="figure">{bytes(b.file_size)}</Table.Td>
      <Table.Td data-label="Duration" className="figure">{duration(between(b.started_at, b.completed_at))}</Table.Td>
      <Table.Td data-label="Storage" className="nowrap">
        {b.storage}
        {b.same_host ? <Text size="xs" c="var(--caution)" title="Same host as the database: lost with it">same host</Text> : null}
      </Table.Td>
      <Table.Td className="wide" miw={120} maw={280}>
        {open(b.status) ? <JobProgress progress={b.progress} status={b.status} waiting={b.waiting} compact /> : <Group gap={6}><Status status={b.status} /><Health health={b.health} reason={b.health_reason} /></Group>}
        {b.status === "failed" && b.error_message ? <Text size="xs" c="red" mt={4} lineClamp={2} title={b.error_message}>{sentence(b.error_message)}</Text> : null}
      </Table.Td>
      <Table.Td className="wide">
        <div className="actions">
          {open(b.status) ? <Act label="Cancel" icon={IconPlayerStop} color="red" needs={["create-backups"]} onClick={() => actions.ask("cancel", b)} /> : null}
          {b.status === "failed" ? <Act label="Try again" icon={IconRefresh} color="blue" needs={["create-backups"]} onClick={() => actions.retry(b)} /> : null}
          {fine ? (
            <>
              <Act label={actions.verifying.has(b.id) ? "Verifying" : verifiedWords(b)} icon={() => <Shield backup={b} />} needs={["view-backups"]} disabled={actions.verifying.has(b.id)} why="It is being verified" onClick={() => actions.ask("verify", b)} />
              <Act label="Download" icon={IconDownload} needs={["download-backups"]} disabled={b.health === "missing"} why="It is missing from its storage" onClick={() => void actions.download(b)} />
              <Act label="Restore" icon={IconArrowBackUp} color="orange" needs={["restore-backups"]} disabled={b.health !== "ok"} why="Only a backup whose artifact is sound can be restored" onClick={() => actions.ask("restore", b)} />
            </>
          ) : null}
          {!gone && !open(b.status) ? <Act label="Delete" icon={IconTrash} color="red" needs={["delete-backups"]} disabled={b.held_at !== null} why="Someone holds it" onClick={() => actions.ask("delete", b)} /> : null}
        </div>
      </Table.Td>
    </Table.Tr>
  );
}
