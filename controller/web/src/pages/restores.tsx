import { Group, Pagination, Table, Text } from "@mantine/core";
import { IconArrowBackUp } from "../icons";
import { useState } from "react";
import { Link } from "wouter";
import { open, useRestores, type Restore } from "../api/queries";
import { between, databaseName, duration, plural } from "../format";
import { Empty, EngineBadge, PageHead, Rows, Section, Status, Time } from "../ui/parts";
import { ProblemAlert } from "../ui/problem";
import { JobProgress } from "../ui/progress";

const perPage = 20;

export default function Restores() {
  const [page, setPage] = useState(1);
  const list = useRestores({ page, per_page: perPage });
  const total = list.data?.total ?? 0;
  return (
    <>
      <PageHead title="Restores">Into a new database, or in place with a way back. Begun from a backup of a project.</PageHead>
      <Section>
        {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : list.data!.items.length === 0 ? (
          <Empty icon={IconArrowBackUp} title="Nothing was restored yet">A backup is worth what its restore is worth: open a project, choose a backup, and restore it into a new database once.</Empty>
        ) : (
          <Table highlightOnHover className="stacked">
            <Table.Thead><Table.Tr><Table.Th>Target</Table.Th><Table.Th>Project</Table.Th><Table.Th>Backup</Table.Th><Table.Th>Created</Table.Th><Table.Th>Duration</Table.Th><Table.Th>Status</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>{list.data!.items.map((r) => <Row key={r.id} r={r} />)}</Table.Tbody>
          </Table>
        )}
        {total > perPage ? <Group p="md" justify="flex-end"><Pagination value={page} onChange={setPage} total={Math.ceil(total / perPage)} size="sm" getItemProps={(n) => ({ "aria-label": `Page ${n}` })} getControlProps={(c) => ({ "aria-label": `${c} page` })} /></Group> : null}
        {total ? <Text size="xs" c="dimmed" px="md" pb="sm">{plural(total, "restore")}</Text> : null}
      </Section>
    </>
  );
}

function Row({ r }: { r: Restore }) {
  return (
    <Table.Tr>
      <Table.Td className="wide">
        <Group gap={8}><Link href={`/restores/${r.id}`} className="row-link">{databaseName(r.database_name)}</Link><EngineBadge name={r.engine} /></Group>
        <Text size="xs" c="dimmed">{r.kind === "undo" ? "Undo" : r.in_place ? "In place" : "New database"} on {r.server} / {r.instance}</Text>
      </Table.Td>
      <Table.Td data-label="Project">{r.project}</Table.Td>
      <Table.Td data-label="Backup"><Link href={`/backups/${r.backup_id}`} className="row-link">{r.backup_id}</Link></Table.Td>
      <Table.Td data-label="Created"><Time at={r.created_at} both /></Table.Td>
      <Table.Td data-label="Duration" className="figure">{duration(between(r.started_at, r.completed_at))}</Table.Td>
      <Table.Td className="wide" maw={320}>
        {open(r.status) ? <JobProgress progress={r.progress} status={r.status} waiting={r.waiting} compact /> : <Status status={r.status} />}
        {r.error_message ? <Text size="xs" c="red" lineClamp={2}>{r.error_message}</Text> : null}
      </Table.Td>
    </Table.Tr>
  );
}
