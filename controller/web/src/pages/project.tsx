import { ActionIcon, Badge, Group, Menu, MultiSelect, SimpleGrid, Stack, Switch, Table, Text, Tooltip } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { IconCalendarPlus, IconCalendarTime, IconDatabase, IconDatabaseExport, IconDatabasePlus, IconDots, IconHistory, IconPencil, IconPlayerPlay, IconStack2, IconTrash, IconUnlink, IconZoomCheck } from "../icons";
import { useState } from "react";
import { useLocation } from "wouter";
import { api, take } from "../api/client";
import { useSession } from "../api/session";
import { useAct, useDatabases, useProject, useSchedules, useServers, useStatistics, type Schedule } from "../api/queries";
import { bytes, count, databaseName, encryption, engine, keeping, plural, relative, sentence } from "../format";
import { CreateBackup } from "../ui/backupform";
import { Confirm } from "../ui/dialog";
import { History } from "../ui/history";
import { Act, Do, Empty, EngineBadge, PageHead, Rows, Section, Stat, Time, useNow } from "../ui/parts";
import { ProblemAlert } from "../ui/problem";
import { EditProject } from "../ui/projectform";
import { CreateSchedule, EditSchedule } from "../ui/scheduleform";
import { refused, toast } from "../ui/toast";
import { Retention } from "../ui/retention";
import { Trends } from "../ui/trends";
import { Modal } from "../ui/modal";

export default function ProjectPage({ id }: { id: string }) {
  const project = useProject(id);
  const [dialog, setDialog] = useState<"backup" | "schedule" | "edit" | "delete" | "assign" | "retention" | null>(null);
  const [, go] = useLocation();
  const client = useQueryClient();
  const { can } = useSession();
  if (project.error && !project.data) {
    return (
      <>
        <PageHead title="Project" back={{ to: "/projects", label: "Projects" }} />
        <ProblemAlert error={project.error} again={() => void project.refetch()} />
      </>
    );
  }
  const p = project.data;
  const slug = p?.slug ?? id;
  return (
    <>
      <PageHead back={{ to: "/projects", label: "Projects" }} title={p ? p.name || p.slug : id}
        actions={
          <>
            <Do icon={IconCalendarPlus} needs={["manage-schedules"]} onClick={() => setDialog("schedule")}>Create Schedule</Do>
            <Do icon={IconDatabaseExport} variant="filled" needs={["create-backups"]} onClick={() => setDialog("backup")}>Create Backup Now</Do>
            <Menu position="bottom-end">
              <Menu.Target><ActionIcon variant="default" size={36} aria-label="More"><IconDots size={18} /></ActionIcon></Menu.Target>
              <Menu.Dropdown>
                <Menu.Item leftSection={<IconZoomCheck size={16} />} onClick={() => take(api.POST("/backups/verify", { body: { project: slug } })).then((j) => toast(`${plural(j.items.length, "backup")} being verified`), refused)}>Verify all backups</Menu.Item>
                <Menu.Item leftSection={<IconHistory size={16} />} onClick={() => setDialog("retention")}>Preview retention</Menu.Item>
                {can("manage-projects") ? (
                  <>
                    <Menu.Item leftSection={<IconPencil size={16} />} onClick={() => setDialog("edit")}>Edit project</Menu.Item>
                    <Menu.Item leftSection={<IconTrash size={16} />} color="red" onClick={() => setDialog("delete")}>Delete project</Menu.Item>
                  </>
                ) : null}
              </Menu.Dropdown>
            </Menu>
          </>
        }>
        {p ? <Group gap={6}><span className="mono">{p.slug}</span>·<span>{encryption(p.default_encryption)}</span>{p.external_id ? <>· <span>panel's id {p.external_id}</span></> : null}</Group> : null}
      </PageHead>
      <Cards project={slug} />
      <Schedules project={slug} create={() => setDialog("schedule")} />
      <History project={slug} empty={
        <Empty icon={IconDatabase} title="No backups yet" action={<Do icon={IconDatabaseExport} variant="filled" needs={["create-backups"]} onClick={() => setDialog("backup")}>Create Backup Now</Do>}>
          Make the first one now, or create a schedule that makes them.
        </Empty>
      } />
      <Trends project={slug} />
      <Databases project={slug} assign={() => setDialog("assign")} />
      {dialog === "backup" ? <CreateBackup project={slug} onClose={() => setDialog(null)} /> : null}
      {dialog === "schedule" ? <CreateSchedule project={slug} onClose={() => setDialog(null)} /> : null}
      {dialog === "edit" ? <EditProject slug={slug} onClose={() => setDialog(null)} /> : null}
      {dialog === "assign" ? <Assign project={slug} onClose={() => setDialog(null)} /> : null}
      {dialog === "retention" ? <Retention project={slug} onClose={() => setDialog(null)} /> : null}
      <Confirm opened={dialog === "delete"} onClose={() => setDialog(null)} title="Delete this project?" action="Delete project" color="red" typed={slug}
        run={async () => { await take(api.DELETE("/projects/{ref}", { params: { path: { ref: slug } } })); await client.invalidateQueries({ queryKey: ["projects"] }); go("/projects"); }}>
        Its schedules end with it. No backup is deleted: they stay on their storages until they are deleted one by one.
      </Confirm>
    </>
  );
}

function Cards({ project }: { project: string }) {
  const { data: s, isPending } = useStatistics(project);
  const now = useNow();
  return (
    <SimpleGrid cols={{ base: 2, lg: 4 }} spacing={{ base: "sm", xs: "md" }} mb="lg">
      <Stat label="Total Backups" icon={IconDatabase} loading={isPending} value={count(s?.total_backups)} note={s ? `${count(s.verified)} verified${s.failed ? `, ${count(s.failed)} failed` : ""}` : null} />
      <Stat label="Scheduled" icon={IconCalendarTime} color="grape" loading={isPending} value={s && s.active_schedules === 0 ? "Not scheduled" : count(s?.active_schedules)} note={s?.next_run_at ? <>next <Time at={s.next_run_at} /></> : null} />
      <Stat label="Storage Used" icon={IconStack2} color="teal" loading={isPending} value={bytes(s?.storage_used)} note="of completed backups" />
      <Stat label="Last Backup" icon={IconHistory} color="orange" loading={isPending} value={relative(s?.last_backup?.completed_at, now)} note={s?.last_backup ? databaseName(s.last_backup.database_name) : "No backup has completed"} />
    </SimpleGrid>
  );
}

function covers(s: Schedule): string {
  if (s.scope === "database") return databaseName(s.database_name);
  if (s.scope === "pattern") return s.pattern;
  return s.scope === "default" ? "Without another schedule" : "All databases";
}

function Schedules({ project, create }: { project: string; create: () => void }) {
  const list = useSchedules(project);
  const [edited, setEdited] = useState<Schedule | null>(null);
  const [removed, setRemoved] = useState<Schedule | null>(null);
  const { can } = useSession();
  const activate = useAct((s: Schedule) => take(api.PATCH("/schedules/{id}", { params: { path: { id: s.id } }, body: { is_active: !s.is_active } })), "schedules", "statistics", "overview");
  const run = useAct((s: Schedule) => take(api.POST("/schedules/{id}/run", { params: { path: { id: s.id } } })), "backups", "statistics");
  const remove = useAct((s: Schedule) => take(api.DELETE("/schedules/{id}", { params: { path: { id: s.id } } })), "schedules", "statistics", "overview");
  return (
    <Section title="Backup Schedules">
      {list.isPending ? <Rows n={2} /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : list.data!.items.length === 0 ? (
        <Empty icon={IconCalendarTime} title="Not scheduled" action={<Do icon={IconCalendarPlus} needs={["manage-schedules"]} onClick={create}>Create Schedule</Do>}>
          Nothing is backed up by itself. A schedule makes backups at its times and keeps as many as you say.
        </Empty>
      ) : (
        <Table highlightOnHover className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Database</Table.Th><Table.Th>Frequency</Table.Th><Table.Th>Next run</Table.Th><Table.Th>Last run</Table.Th><Table.Th>Retention</Table.Th><Table.Th>Storage</Table.Th><Table.Th>Active</Table.Th><Table.Th ta="right">Actions</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {list.data!.items.map((s) => (
              <Table.Tr key={s.id}>
                <Table.Td className="wide"><Group gap={8}><Text size="sm" fw={600} className="wrap">{covers(s)}</Text>{s.database_type ? <EngineBadge name={s.database_type} /> : null}</Group></Table.Td>
                <Table.Td data-label="Frequency">{s.label}<Text size="xs" c="dimmed">{s.timezone}</Text></Table.Td>
                <Table.Td data-label="Next run">
                  {s.problem ? <Text size="sm" c="red">{s.problem}</Text> : s.paused_reason ? <Badge color="yellow" variant="light" className="badge">Paused: {s.paused_reason}</Badge> : s.is_active ? <Time at={s.next_run_at} both never="–" /> : <Text size="sm" c="dimmed">Not active</Text>}
                </Table.Td>
                <Table.Td data-label="Last run"><Time at={s.last_run_at} /></Table.Td>
                <Table.Td data-label="Retention" maw={240}><Tooltip label={sentence(s.keeps)} multiline maw={320}><span tabIndex={0}>{keeping(s)}</span></Tooltip></Table.Td>
                <Table.Td data-label="Storage">{s.storage || s.storage_disk || "Default"}</Table.Td>
                <Table.Td data-label="Active">
                  {can("manage-schedules") ? <Switch checked={s.is_active} onChange={() => activate.mutate(s, { onError: refused })} aria-label={`${s.label}: active`} /> : s.is_active ? "Yes" : "No"}
                </Table.Td>
                <Table.Td className="wide">
                  <div className="actions">
                    <Act label="Run now" icon={IconPlayerPlay} color="blue" needs={["manage-schedules", "create-backups"]} onClick={() => run.mutate(s, { onSuccess: (o) => toast(`${plural(o.items.length, "backup")} ordered`), onError: refused })} />
                    <Act label="Edit" icon={IconPencil} needs={["manage-schedules"]} onClick={() => setEdited(s)} />
                    <Act label="Delete" icon={IconTrash} color="red" needs={["manage-schedules"]} onClick={() => setRemoved(s)} />
                  </div>
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {edited ? <EditSchedule project={project} id={edited.id} onClose={() => setEdited(null)} /> : null}
      <Confirm opened={removed !== null} onClose={() => setRemoved(null)} title="Delete this schedule?" action="Delete schedule" color="red" run={() => remove.mutateAsync(removed!)}>
        <b>{removed?.label}</b> makes no more backups. Those that it made stay, and are kept by the rule for backups without a schedule.
      </Confirm>
    </Section>
  );
}

function Databases({ project, assign }: { project: string; assign: () => void }) {
  const list = useDatabases({ project });
  const [out, setOut] = useState<number | null>(null);
  const remove = useAct((id: number) => take(api.POST("/databases/unassign", { body: { id } })), "databases", "statistics", "overview");
  const chosen = list.data?.items.find((d) => d.id === out);
  const add = <Do size="xs" icon={IconDatabasePlus} needs={["manage-projects"]} onClick={assign}>Assign databases</Do>;
  return (
    <Section title="Databases" actions={add}>
      {list.isPending ? <Rows n={3} /> : list.error && !list.data ? <ProblemAlert error={list.error} /> : list.data!.items.length === 0 ? (
        <Empty icon={IconDatabase} title="No databases yet" action={add}>Assign databases that an agent found. The agent's server has to be granted to the project.</Empty>
      ) : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Database</Table.Th><Table.Th>Server</Table.Th><Table.Th>Size</Table.Th><Table.Th>Version</Table.Th><Table.Th>Last seen</Table.Th><Table.Th /></Table.Tr></Table.Thead>
          <Table.Tbody>
            {list.data!.items.map((d) => (
              <Table.Tr key={d.id}>
                <Table.Td className="wide"><Group gap={8}><Text size="sm" fw={600} title={d.name}>{databaseName(d.name)}</Text><EngineBadge name={d.engine} />{d.missing_since ? <Badge color="red" variant="light" className="badge">Not found since {relative(d.missing_since)}</Badge> : null}</Group></Table.Td>
                <Table.Td data-label="Server">{d.server} / {d.instance}</Table.Td>
                <Table.Td data-label="Size" className="figure">{bytes(d.size_bytes)}</Table.Td>
                <Table.Td data-label="Version">{engine(d.engine)} {d.server_version}</Table.Td>
                <Table.Td data-label="Last seen"><Time at={d.last_seen_at} /></Table.Td>
                <Table.Td className="wide"><div className="actions"><Act label="Take out of the project" icon={IconUnlink} needs={["manage-projects"]} onClick={() => setOut(d.id)} /></div></Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      <Confirm opened={out !== null} onClose={() => setOut(null)} title="Take this database out of the project?" action="Take out" run={() => remove.mutateAsync(out!)}>
        <b>{chosen?.name}</b> is no longer backed up by the project's schedules. Its backups stay with the project.
      </Confirm>
    </Section>
  );
}

function Assign({ project, onClose }: { project: string; onClose: () => void }) {
  const found = useDatabases({ unassigned: true });
  const servers = useServers();
  const client = useQueryClient();
  const [ids, setIds] = useState<string[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      const granted = new Set<number>();
      for (const id of ids) {
        const d = found.data!.items.find((x) => String(x.id) === id)!;
        const server = servers.data?.items.find((s) => s.id === d.server_id);
        if (!granted.has(d.server_id) && server) {
          await take(api.PUT("/projects/{ref}/servers/{server}", { params: { path: { ref: project, server: String(server.id) } } }));
          granted.add(d.server_id);
        }
        await take(api.POST("/databases/assign", { body: { id: d.id, project } }));
      }
      onClose();
    } catch (err) {
      setError(err);
    }
    setBusy(false);
    await Promise.all(["databases", "servers", "statistics", "overview"].map((k) => client.invalidateQueries({ queryKey: [k] })));
  };
  return (
    <Modal opened onClose={onClose} title="Assign databases" centered>
      <Stack>
        {found.data && !found.data.items.length ? <Empty icon={IconDatabase} title="Every database that was found is assigned">Add a server, or let its agent see more databases.</Empty> : (
          <MultiSelect label="Databases" description="Found by agents and not assigned to a project. Their servers are granted to this project." searchable data-autofocus value={ids} onChange={setIds}
            data={(found.data?.items ?? []).map((d) => ({ value: String(d.id), label: `${databaseName(d.name)} · ${engine(d.engine)} · ${d.server}` }))} />
        )}
        <ProblemAlert error={error ?? found.error} />
        <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do variant="filled" loading={busy} disabled={!ids.length} onClick={() => void go()}>Assign</Do></Group>
      </Stack>
    </Modal>
  );
}
