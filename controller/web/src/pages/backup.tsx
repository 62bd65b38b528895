import { Anchor, Badge, Button, Code, Group, List, Stack, Table, Tabs, Text, Timeline } from "@mantine/core";
import { IconArrowBackUp, IconDownload, IconFileText, IconHistory, IconLifebuoy, IconLock, IconLockOpen, IconPlayerStop, IconRefresh, IconShieldCheck, IconTerminal2, IconTrash } from "../icons";
import { useState } from "react";
import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { useSession } from "../api/session";
import { open, useBackup, useBackupLog, useManifest, useVerifications, type Backup } from "../api/queries";
import { absolute, actor, backupType, between, bytes, databaseName, duration, encryption, engine, plural, sentence } from "../format";
import { recovery } from "../recovery";
import { useBackupActions } from "../ui/actions";
import { Copyable, Do, Empty, EngineBadge, Fact, Facts, Health, PageHead, Rows, Section, Shield, Status, Time, verifiedWords } from "../ui/parts";
import { ProblemAlert } from "../ui/problem";
import { JobProgress } from "../ui/progress";

export default function BackupPage({ id }: { id: number }) {
  const backup = useBackup(id);
  const b = backup.data;
  const log = useBackupLog(id, !!b && open(b.status));
  const actions = useBackupActions();
  if (!b) {
    return (
      <>
        <PageHead title={`Backup ${id}`} back={{ to: "/projects", label: "Projects" }} />
        {backup.error ? <ProblemAlert error={backup.error} again={() => void backup.refetch()} /> : <Section><Rows n={6} /></Section>}
      </>
    );
  }
  const gone = b.deleted_at !== null;
  const fine = b.status === "completed" && !gone;
  return (
    <>
      <PageHead back={{ to: `/projects/${encodeURIComponent(b.project)}`, label: b.project }} title={databaseName(b.database_name)}
        actions={
          <>
            {open(b.status) ? <Do icon={IconPlayerStop} color="red" needs={["create-backups"]} onClick={() => actions.ask("cancel", b)}>Cancel</Do> : null}
            {b.status === "failed" ? <Do icon={IconRefresh} variant="filled" needs={["create-backups"]} onClick={() => actions.retry(b)}>Try again</Do> : null}
            {fine ? (
              <>
                <Do icon={IconShieldCheck} needs={["view-backups"]} loading={actions.verifying.has(b.id)} onClick={() => actions.ask("verify", b)}>{b.verified_at ? "Verify again" : "Verify Integrity"}</Do>
                <Do icon={IconDownload} needs={["download-backups"]} onClick={() => void actions.download(b)}>Download</Do>
                <Do icon={IconArrowBackUp} variant="filled" needs={["restore-backups"]} disabled={b.health !== "ok"} why="Only a backup whose artifact is sound can be restored" onClick={() => actions.ask("restore", b)}>Restore</Do>
              </>
            ) : null}
          </>
        }>
        <Group gap={8}>
          <EngineBadge name={b.database_type} /><Status status={b.status} /><Health health={b.health} reason={b.health_reason} />
          {fine ? <Group gap={4} wrap="nowrap"><Shield backup={b} /><Text size="sm">{b.verified_at ? verifiedWords(b).replace(". Verify again", "") : "Not verified yet"}</Text></Group> : null}
        </Group>
      </PageHead>
      {open(b.status) ? <Section padded><JobProgress progress={b.progress} status={b.status} waiting={b.waiting} /></Section> : null}
      {b.status === "failed" ? (
        <Section padded>
          <Stack gap={6}>
            <Text fw={600} c="red" className="wrap">{sentence(b.error_message)}</Text>
            {b.error_hint ? <Text size="sm">{sentence(b.error_hint)}</Text> : null}
            <Text size="xs" c="dimmed">Code <Code>{b.error_code}</Code></Text>
          </Stack>
        </Section>
      ) : null}
      {gone ? (
        <Section padded>
          <Group justify="space-between">
            <Text size="sm">{b.purged_at ? <>Removed from its storage <Time at={b.purged_at} />.</> : <>Deleted <Time at={b.deleted_at} />{b.delete_reason ? `: ${b.delete_reason}` : ""}. Removed from its storage <Time at={b.delete_after} />.{b.waiting ? ` ${b.waiting}` : ""}</>}</Text>
            {b.purged_at ? null : <Do icon={IconRefresh} needs={["delete-backups"]} onClick={() => actions.ask("undelete", b)}>Take the deletion back</Do>}
          </Group>
        </Section>
      ) : null}
      {b.health_reason && b.health !== "ok" ? <Section padded><Text size="sm" c="red">{b.health_reason}</Text></Section> : null}
      <Section title="Backup" actions={
        gone ? null : (
          <Group gap="xs">
            {b.held_at ? <Do size="xs" icon={IconLockOpen} needs={["delete-backups"]} onClick={() => actions.ask("release", b)}>Release</Do> : fine ? <Do size="xs" icon={IconLock} needs={["delete-backups"]} onClick={() => actions.ask("hold", b)}>Hold</Do> : null}
            {open(b.status) ? null : <Do size="xs" color="red" icon={IconTrash} needs={["delete-backups"]} disabled={b.held_at !== null} why="Someone holds it" onClick={() => actions.ask("delete", b)}>Delete</Do>}
          </Group>
        )
      }>
        <Overview b={b} />
      </Section>
      <Tabs defaultValue="timeline" keepMounted={false} variant="outline">
        <Tabs.List mb="md">
          <Tabs.Tab value="timeline" leftSection={<IconHistory size={16} />}>Timeline</Tabs.Tab>
          <Tabs.Tab value="log" leftSection={<IconTerminal2 size={16} />}>Log</Tabs.Tab>
          {b.status === "completed" ? <Tabs.Tab value="verifications" leftSection={<IconShieldCheck size={16} />}>Verifications</Tabs.Tab> : null}
          {b.status === "completed" ? <Tabs.Tab value="manifest" leftSection={<IconFileText size={16} />}>Manifest</Tabs.Tab> : null}
          {b.status === "completed" ? <Tabs.Tab value="recover" leftSection={<IconLifebuoy size={16} />}>Recover without us</Tabs.Tab> : null}
        </Tabs.List>
        <Tabs.Panel value="timeline"><Section padded><Steps b={b} job={log.data} /></Section></Tabs.Panel>
        <Tabs.Panel value="log"><Log job={log.data} error={log.error} loading={log.isPending} /></Tabs.Panel>
        <Tabs.Panel value="verifications"><Verifications b={b} ask={fine ? () => actions.ask("verify", b) : undefined} /></Tabs.Panel>
        <Tabs.Panel value="manifest"><Manifest b={b} download={() => void actions.download(b, "manifest")} /></Tabs.Panel>
        <Tabs.Panel value="recover"><Recover b={b} /></Tabs.Panel>
      </Tabs>
      {actions.dialogs}
    </>
  );
}

function Overview({ b }: { b: Backup }) {
  const meta = (b.metadata ?? {}) as { tables_count?: number; database_size?: number; tool?: string; tool_version?: string; server_version?: string };
  return (
    <Facts>
      <Fact label="Database">{b.database_name}<Text size="xs" c="dimmed">{b.server} / {b.instance}{meta.server_version ? `, ${engine(b.database_type)} ${meta.server_version}` : ""}</Text></Fact>
      <Fact label="Type">{backupType(b.type)}{b.retry_of ? <> · again, after <Anchor component={Link} href={`/backups/${b.retry_of}`}>{b.retry_of}</Anchor></> : null}</Fact>
      <Fact label="Created"><Time at={b.created_at} both /></Fact>
      <Fact label="Duration">{duration(between(b.started_at, b.completed_at))}</Fact>
      <Fact label="Size">{bytes(b.file_size)}{b.raw_size ? <Text size="xs" c="dimmed">of a dump of {bytes(b.raw_size)}</Text> : null}</Fact>
      <Fact label="Content">{meta.tables_count !== undefined ? plural(meta.tables_count, "table") : "–"}{meta.tool ? <Text size="xs" c="dimmed">{meta.tool} {meta.tool_version}</Text> : null}</Fact>
      <Fact label="Storage">{b.storage}{b.same_host ? <Text size="xs" c="var(--caution)">same host as the database: lost with it</Text> : null}</Fact>
      <Fact label="Codecs">{b.compression}, {encryption(b.encryption)}</Fact>
      {b.held_at ? <Fact label="Held">by {b.held_by}: {b.hold_reason}</Fact> : null}
      {b.locked_until ? <Fact label="Locked until">{absolute(b.locked_until)}</Fact> : null}
      {b.file_path ? <Fact label="File"><span className="mono long">{b.file_path}</span></Fact> : null}
      {b.checksum ? <Fact label="SHA-256 of the stored bytes"><span className="mono long">{b.checksum}</span></Fact> : null}
      {b.raw_checksum ? <Fact label="SHA-256 of the dump"><span className="mono long">{b.raw_checksum}</span></Fact> : null}
    </Facts>
  );
}

function Steps({ b, job }: { b: Backup; job?: Schemas["Job"] }) {
  const steps: { at: string; title: string; text?: string; color?: string }[] = [{ at: b.created_at, title: "Ordered", text: job?.created_by ? `by ${actor(job.created_by)}` : backupType(b.type) }];
  for (const a of job?.attempts ?? []) {
    if (a.accepted_at) steps.push({ at: a.accepted_at, title: `Attempt ${a.no} began`, text: b.server });
    if (a.ended_at && a.status !== "completed") steps.push({ at: a.ended_at, title: `Attempt ${a.no} ${a.status.replaceAll("_", " ")}`, text: a.failure?.message, color: "red" });
  }
  if (b.completed_at && b.status === "completed") steps.push({ at: b.completed_at, title: "Completed", text: `${bytes(b.file_size)} on ${b.storage}`, color: "green" });
  if (b.verified_at) steps.push({ at: b.verified_at, title: "Verified", text: `${b.verified_level === "content" ? "content, to the end of the dump" : "checksum of the stored bytes"}${b.verified_by_host ? ", by its own host" : ""}`, color: "green" });
  if (b.health_at && b.health !== "ok") steps.push({ at: b.health_at, title: `Found ${b.health}`, text: b.health_reason, color: "red" });
  if (b.held_at) steps.push({ at: b.held_at, title: "Held", text: `by ${b.held_by}: ${b.hold_reason}` });
  if (b.deleted_at) steps.push({ at: b.deleted_at, title: "Deleted", text: b.delete_reason ?? "", color: "red" });
  if (b.purged_at) steps.push({ at: b.purged_at, title: "Gone from its storage" });
  steps.sort((x, y) => Date.parse(x.at) - Date.parse(y.at));
  return (
    <Timeline active={steps.length} bulletSize={16} lineWidth={2}>
      {steps.map((s) => (
        <Timeline.Item key={s.at + s.title} title={s.title} color={s.color}>
          {s.text ? <Text size="sm" c="dimmed">{s.text}</Text> : null}
          <Text size="xs" c="dimmed">{absolute(s.at)} · <Time at={s.at} /></Text>
        </Timeline.Item>
      ))}
    </Timeline>
  );
}

export function Log({ job, error, loading }: { job?: Schemas["Job"]; error: unknown; loading: boolean }) {
  if (loading) return <Section><Rows /></Section>;
  if (!job) return <ProblemAlert error={error} />;
  const attempts = job.attempts ?? [];
  if (!attempts.length) return <Section padded><Text size="sm" c="dimmed">No agent has begun it yet.{job.waiting ? ` ${job.waiting}` : ""}</Text></Section>;
  return (
    <>
      {[...attempts].reverse().map((a) => (
        <Section key={a.no} title={<Group gap={8}>Attempt {a.no}<Badge variant="light" className="badge" color={a.status === "completed" ? "green" : a.status === "failed" || a.status === "lost" ? "red" : "blue"}>{a.status}</Badge></Group>}
          note={Object.entries((a.millis ?? {}) as Record<string, number>).map(([k, v]) => `${k} ${duration(v / 1000)}`).join(" · ") || undefined} padded>
          <Stack gap="xs">
            {a.failure?.message ? <Text size="sm" c="red">{sentence(a.failure.message)}{a.failure.hint ? <Text span c="dimmed" size="sm"> {sentence(a.failure.hint)}</Text> : null}</Text> : null}
            {a.log ? <Code block className="log" tabIndex={0} aria-label={`Log of attempt ${a.no}`}>{a.log}</Code> : <Text size="sm" c="dimmed">The tool said nothing.</Text>}
          </Stack>
        </Section>
      ))}
    </>
  );
}

const levels: Record<string, string> = { checksum: "Checksum of the stored bytes", content: "Content, to the end of the dump" };

/** Every time it was verified, or could not be, the newest first. */
function Verifications({ b, ask }: { b: Backup; ask?: () => void }) {
  const list = useVerifications(b.id);
  return (
    <Section title="Verifications" note="Each time it was read back, and what came of it">
      {list.isPending ? <Rows n={2} /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : list.data!.items.length === 0 ? (
        <Empty icon={IconShieldCheck} title="Not verified yet" action={ask ? <Do icon={IconShieldCheck} needs={["view-backups"]} onClick={ask}>Verify Integrity</Do> : null}>Nobody knows yet whether it can be read back.</Empty>
      ) : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>When</Table.Th><Table.Th>What was read</Table.Th><Table.Th>By</Table.Th><Table.Th>Duration</Table.Th><Table.Th>Result</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {list.data!.items.map((j) => (
              <Table.Tr key={j.id}>
                <Table.Td data-label="When"><Time at={j.ended_at ?? j.created_at} both /></Table.Td>
                <Table.Td data-label="What was read">{levels[j.level ?? ""] ?? j.level}</Table.Td>
                <Table.Td data-label="By">{actor(j.created_by)}<Text size="xs" c="dimmed">{j.server}</Text></Table.Td>
                <Table.Td data-label="Duration" className="figure">{duration(between(j.started_at, j.ended_at))}</Table.Td>
                <Table.Td className="wide" maw={360}>
                  {j.ended_at ? <Status status={j.status} /> : <JobProgress progress={j.progress} status={j.status === "pending" ? "pending" : "running"} waiting={j.waiting} compact />}
                  {j.failure ? <Text size="xs" c="red" mt={4} className="wrap">{j.failure.message} <Text span inherit c="dimmed">{j.failure.hint}</Text></Text> : null}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

function Manifest({ b, download }: { b: Backup; download: () => void }) {
  const m = useManifest(b.id, true);
  return (
    <Section title="Manifest" note="The agent's signed statement and the controller's countersigned facts, as they lie beside the artifact" padded actions={<Do size="xs" icon={IconDownload} needs={["download-backups"]} onClick={download}>Download</Do>}>
      {m.isPending ? <Rows /> : m.error ? <ProblemAlert error={m.error} /> : <Code block className="log" tabIndex={0} aria-label="Manifest">{JSON.stringify(m.data, null, 2)}</Code>}
    </Section>
  );
}

function Recover({ b }: { b: Backup }) {
  const { can } = useSession();
  const [all] = useState(() => recovery(b));
  return (
    <Section title="Recover it without us" note="The bucket, the project's key and the tools of any distribution are enough" padded>
      <Stack>
        <List type="ordered" size="sm" spacing={6}>
          <List.Item>Export the project's key once and keep it apart from bucket and catalog: <Code>devflowctl project key {b.project} --out {b.project}.key</Code>{can("download-backups", "manage-projects") ? null : " (asks for download-backups and manage-projects)"}</List.Item>
          <List.Item>Fetch <Code>{b.file_path}</Code> from {b.storage}.</List.Item>
          <List.Item>Check, open and load it:</List.Item>
        </List>
        <Copyable text={all} label="Copy the commands" />
        {b.encryption === "none" ? <Text size="sm" c="var(--caution)">This backup is not encrypted: whoever can read the storage can read the data.</Text> : null}
        <Group><Button size="xs" variant="default" component={Link} href={`/projects/${encodeURIComponent(b.project)}`}>Back to the project</Button></Group>
      </Stack>
    </Section>
  );
}
