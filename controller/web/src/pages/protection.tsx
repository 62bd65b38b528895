import { Chip, Group, Pagination, Stack, Table, Text, TextInput, Button } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconCircleMinus, IconDatabase, IconFilterOff, IconRefresh } from "../icons";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { api, take } from "../api/client";
import { useAct, useProtection, useProtectionSummary } from "../api/queries";
import { bytes, count, databaseName, duration, plural, sentence } from "../format";
import { Act, Empty, EngineBadge, PageHead, Rows, Section, Shield, Time } from "../ui/parts";
import { Modal } from "../ui/modal";
import { fieldError, ProblemAlert } from "../ui/problem";
import { Age, ProtectionBadge, protectionStates, Spark, type Protection } from "../ui/protection";
import { refused, toast } from "../ui/toast";

const perPage = 50;

export default function ProtectionPage() {
  const [query, setQuery] = useSearchParams();
  const state = query.get("state") ?? "";
  const [search, setSearch] = useState("");
  const [asked] = useDebouncedValue(search.trim(), 300);
  const [page, setPage] = useState(1);
  const [ignoring, setIgnoring] = useState<Protection | null>(null);
  const summary = useProtectionSummary();
  const list = useProtection({ state: state || undefined, search: asked || undefined, page, per_page: perPage });
  const unignore = useAct((p: Protection) => take(api.DELETE("/databases/{id}/ignored", { params: { path: { id: p.database_id } } })), "protection", "overview");
  const rows = list.data?.items ?? [];
  const choose = (next: string) => { setPage(1); setQuery(next ? { state: next } : {}, { replace: true }); };
  const filtered = !!state || !!asked;
  return (
    <>
      <PageHead title="Protection">Every database that agents found: whether it is backed up, and how long ago that went well.</PageHead>
      <Section>
        <Group p="md" gap="sm" justify="space-between" className="section-head">
          <Chip.Group value={state} onChange={(v) => choose(String(v))}>
            <Group gap={6}>
              <Chip value="" size="xs" variant="outline">All {count(summary.data?.databases)}</Chip>
              {Object.entries(protectionStates).filter(([s]) => summary.data?.states[s] || s === state).map(([s, of]) => <Chip key={s} value={s} size="xs" variant="outline">{of.label} {count(summary.data?.states[s] ?? 0)}</Chip>)}
            </Group>
          </Chip.Group>
          <TextInput size="xs" aria-label="Search databases" placeholder="Search databases" value={search} onChange={(e) => { setPage(1); setSearch(e.currentTarget.value); }} w={200} />
        </Group>
        {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : rows.length === 0 ? (
          filtered ? <Empty icon={IconFilterOff} title="No database is like that" action={<Button variant="default" size="xs" onClick={() => { setSearch(""); choose(""); }}>Show all</Button>} />
            : <Empty icon={IconDatabase} title="No databases yet">Agents find them: add a server.</Empty>
        ) : (
          <Table className="stacked">
            <Table.Thead><Table.Tr><Table.Th>Database</Table.Th><Table.Th>State</Table.Th><Table.Th>Last good backup</Table.Th><Table.Th>Verified</Table.Th><Table.Th>Size</Table.Th><Table.Th>Duration</Table.Th><Table.Th><span className="visually-hidden">Actions</span></Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>{rows.map((p) => <Row key={p.database_id} p={p} ignore={() => setIgnoring(p)} unignore={() => unignore.mutate(p, { onError: refused, onSuccess: () => toast(`${databaseName(p.database)} is watched again`) })} />)}</Table.Tbody>
          </Table>
        )}
        {(list.data?.last_page ?? 0) > 1 ? <Group justify="space-between" p="md"><Text size="sm" c="dimmed">{plural(list.data?.total ?? 0, "database")}</Text><Pagination size="sm" total={list.data!.last_page!} value={page} onChange={setPage} getControlProps={(control) => ({ "aria-label": `${control} page` })} /></Group> : null}
      </Section>
      {ignoring ? <Ignore p={ignoring} onClose={() => setIgnoring(null)} /> : null}
    </>
  );
}

function Row({ p, ignore, unignore }: { p: Protection; ignore: () => void; unignore: () => void }) {
  return (
    <Table.Tr>
      <Table.Td className="wide">
        <Group gap={8}>
          {p.project ? <Link href={`/projects/${encodeURIComponent(p.project)}`} className="row-link" title={p.database}>{databaseName(p.database)}</Link> : <Text size="sm" fw={600} className="wrap" title={p.database}>{databaseName(p.database)}</Text>}
          <EngineBadge name={p.engine} />
        </Group>
        <Text size="xs" c="dimmed">{p.server}{p.online ? "" : " (offline)"} · {p.project || "in no project"}</Text>
      </Table.Td>
      <Table.Td data-label="State" maw={320}>
        <ProtectionBadge state={p.state} />
        <Text size="xs" c="dimmed" mt={4} className="wrap">{sentence(p.reason)}</Text>
        {p.last_status === "failed" && p.last_error ? <Text size="xs" c="red" className="wrap" lineClamp={2} title={p.last_error}>{sentence(p.last_error)}</Text> : null}
      </Table.Td>
      <Table.Td data-label="Last good backup"><Age of={p} /></Table.Td>
      <Table.Td data-label="Verified">{p.last_good_at ? <Group gap={6} wrap="nowrap"><Shield backup={{ verified_at: p.verified_at, health: "ok" }} />{p.verified_at ? <Text span size="xs" c="dimmed"><Time at={p.verified_at} /></Text> : null}</Group> : "–"}</Table.Td>
      <Table.Td data-label="Size"><Spark label="Size" values={p.sizes ?? []} trend={p.size_trend} format={bytes} /></Table.Td>
      <Table.Td data-label="Duration"><Spark label="Duration" values={p.seconds ?? []} trend={p.seconds_trend} format={duration} /></Table.Td>
      <Table.Td className="actions">
        {p.ignored_at ? <Act label={`Watch ${databaseName(p.database)} again`} icon={IconRefresh} needs={["manage-schedules"]} onClick={unignore} />
          : p.state === "unprotected" ? <Act label={`Ignore ${databaseName(p.database)}`} icon={IconCircleMinus} needs={["manage-schedules"]} onClick={ignore} /> : null}
      </Table.Td>
    </Table.Tr>
  );
}

function Ignore({ p, onClose }: { p: Protection; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const save = useAct(() => take(api.PUT("/databases/{id}/ignored", { params: { path: { id: p.database_id } }, body: { reason: reason.trim() } })), "protection", "overview");
  return (
    <Modal opened onClose={onClose} title={`Ignore ${databaseName(p.database)}?`} centered>
      <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => { toast(`${databaseName(p.database)} is ignored`); onClose(); } }); }}>
        <Stack>
          <Text size="sm">It is no longer told to be unprotected. If a schedule covers it one day, it is watched all the same. The choice is in the audit log.</Text>
          <TextInput label="Reason" description="For those who wonder why it is not backed up" required maxLength={500} value={reason} onChange={(e) => setReason(e.currentTarget.value)} error={fieldError(save.error, "reason")} data-autofocus />
          <ProblemAlert error={save.error} fields={["reason"]} />
          <Group justify="flex-end"><Button variant="default" onClick={onClose} type="button">Cancel</Button><Button type="submit" loading={save.isPending}>Ignore</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}
