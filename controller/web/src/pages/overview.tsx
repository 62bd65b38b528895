import { Badge, Box, Button, Group, Progress, SimpleGrid, Stack, Table, Text, ThemeIcon } from "@mantine/core";
import { IconAlertTriangle, IconArrowBackUp, IconCalendarOff, IconCircleCheck, IconCircleX, IconDatabase, IconDatabaseX, IconHistory, IconInfoCircle, IconServer2, IconServerOff, IconShield, IconStack2, type Icon } from "../icons";
import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { useSession } from "../api/session";
import { useOverview } from "../api/queries";
import { bytes, count, databaseName, plural, relative, sentence } from "../format";
import { Empty, EngineBadge, PageHead, Rows, Section, Stat, Time, useNow } from "../ui/parts";
import { ProblemAlert } from "../ui/problem";
import { ProtectionCounts } from "../ui/protection";
import { Trends } from "../ui/trends";

type Attention = Schemas["Attention"];

const kinds: Record<string, Icon> = {
  corrupt: IconDatabaseX, missing: IconDatabaseX, restore_unknown: IconArrowBackUp, failed: IconCircleX, storage_failed: IconStack2, schedule_problem: IconCalendarOff,
  agent_offline: IconServerOff, missed: IconHistory, unscheduled: IconCalendarOff, unverified: IconShield,
};
const severities: Record<string, { color: string; words: string }> = {
  critical: { color: "red", words: "Critical" }, warning: { color: "orange", words: "Warning" }, notice: { color: "gray", words: "Notice" },
};

/** Where one goes to do something about it. */
function place(a: Attention): string {
  if (a.restore_id) return `/restores/${a.restore_id}`;
  if (a.backup_id) return `/backups/${a.backup_id}`;
  if (a.kind === "agent_offline") return "/servers";
  if (a.kind === "storage_failed") return "/storages";
  if (a.project) return `/projects/${encodeURIComponent(a.project)}`;
  return a.server ? "/servers" : "/projects";
}

export default function Overview() {
  const { who } = useSession();
  const o = useOverview();
  const s = o.data?.statistics;
  const agents = o.data?.agents;
  if (o.error && !o.data) return <><PageHead title="Overview" /><ProblemAlert error={o.error} again={() => void o.refetch()} /></>;
  const fresh = !!s && s.total_backups === 0 && s.databases === 0 && agents?.online === 0 && agents.offline === 0;
  return (
    <>
      <PageHead title="Overview">{who.all_projects ? "All projects" : plural(who.projects.length, "project")}</PageHead>
      {fresh ? <Begin /> : <Figures o={o} />}
    </>
  );
}

function Figures({ o }: { o: ReturnType<typeof useOverview> }) {
  const now = useNow();
  const s = o.data?.statistics;
  const attention = o.data?.attention ?? [];
  const unscheduled = o.data?.databases_without_schedule ?? [];
  const agents = o.data?.agents;
  return (
    <>
      <ProtectionCounts />
      <SimpleGrid cols={{ base: 2, lg: 4 }} spacing={{ base: "sm", xs: "md" }} mb="lg">
        <Stat label="Total Backups" icon={IconDatabase} loading={!s} value={count(s?.total_backups)} note={s ? `${count(s.verified)} verified${s.running ? `, ${count(s.running)} running` : ""}` : null} />
        <Stat label="Last Backup" icon={IconHistory} color="orange" loading={!s} value={relative(s?.last_backup?.completed_at, now)} note={s?.last_backup ? `${s.last_backup.project} / ${databaseName(s.last_backup.database_name)}` : "No backup has completed"} />
        <Stat label="Storage Used" icon={IconStack2} color="teal" loading={!s} value={bytes(s?.storage_used)} note={s ? `${plural(s.databases, "database")}, ${plural(s.active_schedules, "active schedule")}` : null} />
        <Stat label="Agents" icon={IconServer2} color="grape" loading={!agents} value={agents ? `${agents.online} online` : ""} note={agents?.offline ? <Text span inherit c="red">{agents.offline} offline</Text> : "None is offline"} />
      </SimpleGrid>
      <Section title="Needs attention" note={o.data?.more ? "The first of each kind" : undefined}>
        {o.isPending ? <Rows /> : attention.length === 0 ? (
          <Empty icon={IconCircleCheck} title="Nothing needs attention">Backups complete, agents answer, storages pass their probe.</Empty>
        ) : (
          <Stack gap={0} component="ul" m={0} p={0} style={{ listStyle: "none" }}>
            {attention.slice(0, 12).map((a, i) => {
              const severity = severities[a.severity] ?? severities.notice!;
              const I = kinds[a.kind] ?? (a.severity === "notice" ? IconInfoCircle : IconAlertTriangle);
              return (
                <Box component="li" key={i} className="attention">
                  <ThemeIcon variant="light" color={severity.color} size={34} radius="md"><I size={18} aria-label={severity.words} /></ThemeIcon>
                  <Box style={{ minWidth: 0, flex: 1 }}>
                    <Link href={place(a)} className="row-link"><Text span size="sm" fw={600}>{a.title}</Text></Link>
                    <Text size="sm" c="dimmed" className="wrap">{sentence(a.detail)}</Text>
                  </Box>
                  {a.at ? <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}><Time at={a.at} /></Text> : null}
                </Box>
              );
            })}
            {attention.length > 12 ? <Text size="sm" c="dimmed" p="md">and {attention.length - 12} more, less urgent ones</Text> : null}
          </Stack>
        )}
      </Section>
      <Trends title="Trends of all projects" />
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        <Section title="Databases without a schedule" actions={unscheduled.length ? <Text component={Link} href="/protection?state=unprotected" size="sm" className="underlined">All of them</Text> : null}>
          {o.isPending ? <Rows n={3} /> : unscheduled.length === 0 ? (s?.databases ? <Empty icon={IconCircleCheck} title="Every database has a schedule" /> : <Empty icon={IconDatabase} title="No databases yet">Assign databases to a project: agents find them.</Empty>) : (
            <Table>
              <Table.Tbody>
                {unscheduled.slice(0, 10).map((d) => (
                  <Table.Tr key={d.id}>
                    <Table.Td>
                      <Group gap={8}>{d.project ? <Link href={`/projects/${encodeURIComponent(d.project)}`} className="row-link">{databaseName(d.name)}</Link> : <Text size="sm" fw={600}>{databaseName(d.name)}</Text>}<EngineBadge name={d.engine} /></Group>
                      <Text size="xs" c="dimmed">{d.server} · {d.project || "not assigned to a project"}</Text>
                    </Table.Td>
                    <Table.Td ta="right" className="figure">{bytes(d.size_bytes)}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          )}
        </Section>
        <Section title="Storage used">
          {o.isPending ? <Rows n={3} /> : <Storages all={o.data?.storages ?? []} />}
        </Section>
      </SimpleGrid>
    </>
  );
}

function Storages({ all }: { all: Schemas["Storage"][] }) {
  const most = Math.max(1, ...all.map((s) => s.used_bytes));
  if (!all.length) return <Empty icon={IconStack2} title="No storages yet">Add one: backups need a place to go.</Empty>;
  return (
    <Stack p="md" gap="md">
      {all.map((s) => (
        <div key={s.id}>
          <Group justify="space-between" mb={4}>
            <Group gap={8}><Text size="sm" fw={600}>{s.name}</Text>{s.is_default ? <Badge size="sm" variant="light" className="badge">Default</Badge> : null}</Group>
            <Text size="sm" className="figure">{bytes(s.used_bytes)} <Text span size="xs" c="dimmed">in {plural(s.backups, "backup")}</Text></Text>
          </Group>
          <Progress value={(s.used_bytes / most) * 100} size="sm" color="teal" aria-label={`${s.name}: ${bytes(s.used_bytes)}`} />
        </div>
      ))}
    </Stack>
  );
}

const firstSteps: { to: string; icon: Icon; title: string; text: string; action: string; needs: string }[] = [
  { to: "/storages", icon: IconStack2, title: "Add a storage", text: "Where backups lie: any S3 bucket. Its credentials stay with the controller.", action: "Storages", needs: "manage-storages" },
  { to: "/servers", icon: IconServer2, title: "Add a server", text: "One command on a database host installs the agent and finds the databases.", action: "Servers", needs: "manage-servers" },
  { to: "/projects", icon: IconDatabase, title: "Create a project", text: "It owns databases, backs them up by its schedules, and has the key that opens the backups.", action: "Projects", needs: "manage-projects" },
];

function Begin() {
  const { can } = useSession();
  const mine = firstSteps.filter((s) => can(s.needs));
  return (
    <Section title="Begin here" note={mine.length ? "Ten minutes later everything is backed up by itself" : undefined} padded>
      {mine.length ? (
        <div className="steps">
          {mine.map((s, i) => (
            <div key={s.to} className="step">
              <span className="step-no" aria-hidden>{i + 1}</span>
              <Text fw={600}>{s.title}</Text>
              <Text size="sm" c="dimmed" component="p" m={0}>{s.text}</Text>
              <Button component={Link} href={s.to} variant={i ? "default" : "filled"} size="sm" mt={6} leftSection={<s.icon size={16} aria-hidden />}>{s.action}</Button>
            </div>
          ))}
        </div>
      ) : <Text size="sm">Nothing is set up yet. Whoever manages storages, servers and projects begins; their backups appear here.</Text>}
    </Section>
  );
}
