import { Badge, Box, Button, Group, Pagination, Select, Stack, Table, Tabs, Text, TextInput, ThemeIcon } from "@mantine/core";
import { useQuery, keepPreviousData } from "@tanstack/react-query";
import { IconAlertTriangle, IconBell, IconBellOff, IconCircleCheck, IconCircleX, IconHistory, IconInfoCircle, IconPlayerStop, IconSend, type Icon } from "../icons";
import { useState, type ReactNode } from "react";
import { Link, useSearchParams } from "wouter";
import { api, take, type Schemas } from "../api/client";
import { askEvery } from "../api/events";
import { useAct } from "../api/queries";
import { useSession } from "../api/session";
import { actor, databaseName, plural, relative, sentence, words } from "../format";
import { Confirm } from "../ui/dialog";
import { Act, Do, Empty, PageHead, Rows, Section, Time, useNow } from "../ui/parts";
import { fieldError, ProblemAlert } from "../ui/problem";
import { Modal } from "../ui/modal";
import { refused, toast } from "../ui/toast";

type Alarm = Schemas["Alarm"];
type Notice = Schemas["Notice"];
type Mute = Schemas["Mute"];

const severities: Record<string, { color: string; label: string; icon: Icon }> = {
  critical: { color: "red", label: "Critical", icon: IconCircleX }, warning: { color: "orange", label: "Warning", icon: IconAlertTriangle }, info: { color: "gray", label: "For information", icon: IconInfoCircle },
};

export default function Alarms() {
  const [query, setQuery] = useSearchParams();
  const tab = query.get("show") ?? "open";
  return (
    <>
      <PageHead title="Alarms" actions={<Button component={Link} href="/settings/channels" variant="default" leftSection={<IconSend size={16} aria-hidden />}>Channels</Button>}>What is wrong until it no longer is, and who was told.</PageHead>
      <Tabs value={tab} onChange={(to) => setQuery(to && to !== "open" ? { show: to } : {}, { replace: true })} keepMounted={false}>
        <Tabs.List mb="lg">
          <Tabs.Tab value="open" leftSection={<IconBell size={16} aria-hidden />}>Open</Tabs.Tab>
          <Tabs.Tab value="notices" leftSection={<IconSend size={16} aria-hidden />}>Notices</Tabs.Tab>
          <Tabs.Tab value="mutes" leftSection={<IconBellOff size={16} aria-hidden />}>Mutes</Tabs.Tab>
          <Tabs.Tab value="over" leftSection={<IconHistory size={16} aria-hidden />}>Over</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="open"><List state="open" /></Tabs.Panel>
        <Tabs.Panel value="notices"><Notices /></Tabs.Panel>
        <Tabs.Panel value="mutes"><Mutes /></Tabs.Panel>
        <Tabs.Panel value="over"><List state="closed" /></Tabs.Panel>
      </Tabs>
    </>
  );
}

/** Where one goes to do something about it. */
function place(a: Alarm | Notice): string {
  if ("restore_id" in a && a.restore_id) return `/restores/${a.restore_id}`;
  if (a.backup_id) return `/backups/${a.backup_id}`;
  if (a.kind === "overdue") return "/protection?state=overdue";
  if (a.kind === "channel_failing" || a.kind === "no_channel") return "/settings/channels";
  if (a.kind === "token_expiring") return "/access";
  if (a.kind === "security") return "/audit";
  if (a.project) return `/projects/${encodeURIComponent(a.project)}`;
  if (a.storage_id) return "/storages";
  return a.server_id ? "/servers" : "";
}

function Title({ of, children }: { of: Alarm | Notice; children: ReactNode }) {
  const to = place(of);
  return to ? <Link href={to} className="row-link"><Text span size="sm" fw={600}>{children}</Text></Link> : <Text span size="sm" fw={600} className="wrap">{children}</Text>;
}

function Pages({ total, page, perPage, setPage }: { total: number; page: number; perPage: number; setPage: (n: number) => void }) {
  const last = Math.ceil(total / perPage);
  if (last < 2) return null;
  return (
    <Group justify="space-between" p="md">
      <Text size="sm" c="dimmed">Page {page} of {last}</Text>
      <Pagination value={page} onChange={setPage} total={last} size="sm" getControlProps={(c) => ({ "aria-label": `${c} page` })} getItemProps={(n) => ({ "aria-label": `Page ${n}` })} />
    </Group>
  );
}

const perPage = 25;

function List({ state }: { state: "open" | "closed" }) {
  const [page, setPage] = useState(1);
  const [muted, setMuted] = useState<Alarm | null>(null);
  const now = useNow();
  const list = useQuery({
    queryKey: ["alarms", state, page], placeholderData: keepPreviousData, refetchInterval: () => askEvery(false),
    queryFn: ({ signal }) => take(api.GET("/alarms", { params: { query: { state, page, per_page: perPage } }, signal })),
  });
  const rows = list.data?.items ?? [];
  return (
    <Section>
      {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : rows.length === 0 ? (
        state === "open" ? <Empty icon={IconCircleCheck} title="Nothing is wrong">Backups complete in time, agents answer, storages pass their probe.</Empty> : <Empty icon={IconHistory} title="No alarm is over yet" />
      ) : (
        <Stack gap={0} component="ul" m={0} p={0} style={{ listStyle: "none" }}>
          {rows.map((a) => {
            const severity = severities[a.severity] ?? severities.info!;
            return (
              <Box component="li" key={a.id} className="attention">
                <ThemeIcon variant="light" color={a.closed_at ? "gray" : severity.color} size={34} radius="md"><severity.icon size={18} aria-label={severity.label} /></ThemeIcon>
                <Box style={{ minWidth: 0, flex: 1 }}>
                  <Group gap={8}>
                    <Title of={a}>{a.title}</Title>
                    {a.count > 1 ? <Badge size="sm" className="badge" variant="default">{plural(a.count, "time")}</Badge> : null}
                    {a.muted_until && !a.closed_at ? <Badge size="sm" className="badge" variant="light" color="gray" leftSection={<IconBellOff size={11} aria-hidden />}>Muted until <Time at={a.muted_until} both /></Badge> : null}
                    {a.silenced ? <Badge size="sm" className="badge" variant="light" color="gray">Its schedule tells nobody</Badge> : null}
                  </Group>
                  {a.detail ? <Text size="sm" c="dimmed" className="wrap">{sentence(a.detail)}</Text> : null}
                  <Text size="xs" c="dimmed" mt={2}>
                    {words(a.kind)} · {a.closed_at ? <>from <Time at={a.opened_at} /> to <Time at={a.closed_at} /></> : <>since <Time at={a.opened_at} />{a.count > 1 ? <>, last {relative(a.last_at, now)}</> : null}</>}
                    {a.project ? ` · ${a.project}` : ""}{a.database ? ` · ${databaseName(a.database)}` : ""}{a.server ? ` · ${a.server}` : ""}
                  </Text>
                </Box>
                {a.closed_at ? null : <Act label={`Mute: ${a.title}`} icon={IconBellOff} needs={["manage-schedules"]} onClick={() => setMuted(a)} />}
              </Box>
            );
          })}
        </Stack>
      )}
      <Pages total={list.data?.total ?? 0} page={page} perPage={perPage} setPage={setPage} />
      {muted ? <MuteForm a={muted} onClose={() => setMuted(null)} /> : null}
    </Section>
  );
}

const lengths = [{ value: "3600", label: "1 hour" }, { value: "14400", label: "4 hours" }, { value: "86400", label: "1 day" }, { value: "604800", label: "7 days" }, { value: "2592000", label: "30 days" }];

type Scope = Mute["scope"];

function MuteForm({ a, onClose }: { a: Alarm; onClose: () => void }) {
  const { who } = useSession();
  const scopes: { value: string; label: string; ref: string }[] = [
    { value: "alarm", label: "This alarm", ref: String(a.id) },
    ...(a.database_id ? [{ value: "database", label: `Database ${databaseName(a.database)}`, ref: String(a.database_id) }] : []),
    ...(a.project ? [{ value: "project", label: `Project ${a.project}`, ref: a.project }] : []),
    ...(a.server && who.all_projects ? [{ value: "server", label: `Server ${a.server}`, ref: a.server }] : []),
  ];
  const [scope, setScope] = useState<string>("alarm");
  const [length, setLength] = useState("14400");
  const [reason, setReason] = useState("");
  const mute = useAct(() => take(api.POST("/mutes", { body: { scope: scope as Scope, ref: scopes.find((s) => s.value === scope)!.ref, for_seconds: Number(length), reason } as never })), "alarms", "mutes");
  return (
    <Modal opened onClose={onClose} title="Mute" centered>
      <form onSubmit={(e) => { e.preventDefault(); mute.mutate(undefined, { onSuccess: () => { toast("Muted", { hint: "What happens meanwhile is recorded. If it still stands then, you are reminded." }); onClose(); } }); }}>
        <Stack>
          <Text size="sm" className="wrap">{a.title}</Text>
          <Select label="What" value={scope} onChange={(v) => setScope(v ?? "alarm")} allowDeselect={false} data={scopes} error={fieldError(mute.error, "scope", "ref")} />
          <Select label="For" value={length} onChange={(v) => setLength(v ?? "14400")} allowDeselect={false} data={lengths} error={fieldError(mute.error, "for_seconds")} />
          <TextInput label="Reason" description="For those who wonder why nobody was told" required value={reason} onChange={(e) => setReason(e.currentTarget.value)} error={fieldError(mute.error, "reason")} data-autofocus />
          <ProblemAlert error={mute.error} fields={["scope", "ref", "for_seconds", "reason"]} />
          <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do type="submit" variant="filled" loading={mute.isPending}>Mute</Do></Group>
        </Stack>
      </form>
    </Modal>
  );
}

const events: Record<string, string> = { happened: "Happened", opened: "Began", reminder: "Reminder", closed: "Over", test: "Test" };
const unsent: Record<string, string> = { muted: "Nobody: muted", silenced: "Nobody: its schedule tells nobody", nowhere: "Nobody: no channel takes it" };
const delivered: Record<string, { color: string; label: string }> = {
  waiting: { color: "gray", label: "waits" }, open: { color: "yellow", label: "is being tried" }, sent: { color: "green", label: "sent" }, failed: { color: "red", label: "failed" }, dropped: { color: "gray", label: "dropped: its channel is gone" },
};

function Notices() {
  const [page, setPage] = useState(1);
  const list = useQuery({
    queryKey: ["alarms", "notices", page],
    queryFn: ({ signal }) => take(api.GET("/notices", { params: { query: { page, per_page: perPage } }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: (q) => askEvery(!!q.state.data?.items.some((n) => n.deliveries.some((d) => d.status === "waiting" || d.status === "open"))),
  });
  const rows: Notice[] = list.data?.items ?? [];
  return (
    <Section>
      {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : rows.length === 0 ? <Empty icon={IconSend} title="There was nothing to tell yet" /> : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Notice</Table.Th><Table.Th>When</Table.Th><Table.Th>Told</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {rows.map((n) => {
              const severity = severities[n.severity] ?? severities.info!;
              return (
                <Table.Tr key={n.id}>
                  <Table.Td className="wide">
                    <Group gap={8} wrap="nowrap" align="flex-start">
                      {n.event === "closed" ? <IconCircleCheck size={17} color="var(--green)" aria-label="Over" style={{ flexShrink: 0, marginTop: 2 }} />
                        : <severity.icon size={17} color={`var(--mantine-color-${severity.color}-filled)`} aria-label={severity.label} style={{ flexShrink: 0, marginTop: 2 }} />}
                      <div style={{ minWidth: 0 }}>
                        <Title of={n}>{n.title}</Title>
                        {n.detail ? <Text size="xs" c="dimmed" className="wrap" lineClamp={3}>{sentence(n.detail)}</Text> : null}
                      </div>
                    </Group>
                  </Table.Td>
                  <Table.Td data-label="When"><Text size="sm"><Time at={n.at} /></Text><Text size="xs" c="dimmed">{events[n.event] ?? n.event}{n.project ? ` · ${n.project}` : ""}</Text></Table.Td>
                  <Table.Td data-label="Told" className="wide">
                    {n.unsent ? <Text size="sm" c={n.unsent === "nowhere" ? "red" : "dimmed"}>{unsent[n.unsent]}</Text> : (
                      <Stack gap={2}>
                        {n.deliveries.map((d) => (
                          <div key={d.channel_id}>
                            <Badge size="sm" className="badge" variant="light" color={delivered[d.status]?.color ?? "gray"}>{d.channel || "A channel of the installation"} {delivered[d.status]?.label ?? d.status}</Badge>
                            {d.error && d.status !== "sent" ? <Text size="xs" c="dimmed" className="wrap" lineClamp={2}>{d.error}{d.attempts > 1 ? ` (${plural(d.attempts, "try", "tries")})` : ""}</Text> : null}
                            {d.fallback_id ? <Text size="xs">In its place: {d.fallback || "a channel of the installation"} {delivered[d.fallback_status]?.label ?? d.fallback_status}</Text> : null}
                          </div>
                        ))}
                      </Stack>
                    )}
                  </Table.Td>
                </Table.Tr>
              );
            })}
          </Table.Tbody>
        </Table>
      )}
      <Pages total={list.data?.total ?? 0} page={page} perPage={perPage} setPage={setPage} />
    </Section>
  );
}

function muteWhat(m: Mute): string {
  if (m.scope === "everything") return "Everything";
  if (m.scope === "alarm") return m.alarm || `Alarm ${m.alarm_id}`;
  const of: Record<string, string> = { project: m.project, server: m.server, database: databaseName(m.database), channel: m.channel };
  return `${words(m.scope)} ${of[m.scope] ?? ""}`;
}

function Mutes() {
  const [ended, setEnded] = useState<Mute | null>(null);
  const list = useQuery({ queryKey: ["mutes"], refetchInterval: () => askEvery(false), queryFn: ({ signal }) => take(api.GET("/mutes", { params: { query: { limit: 200 } }, signal })) });
  const end = useAct((m: Mute) => take(api.POST("/mutes/{id}/end", { params: { path: { id: m.id } } })), "mutes", "alarms");
  const rows: Mute[] = list.data?.items ?? [];
  return (
    <Section>
      {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : rows.length === 0 ? <Empty icon={IconBell} title="Nothing is muted">Whatever happens is told to the channels that take it.</Empty> : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Muted</Table.Th><Table.Th>Until</Table.Th><Table.Th>By</Table.Th><Table.Th>Reason</Table.Th><Table.Th /></Table.Tr></Table.Thead>
          <Table.Tbody>
            {rows.map((m) => (
              <Table.Tr key={m.id}>
                <Table.Td className="wide"><Text size="sm" fw={600} className="wrap">{muteWhat(m)}</Text>{m.kind ? <Text size="xs" c="dimmed">only {words(m.kind)}</Text> : null}</Table.Td>
                <Table.Td data-label="Until"><Time at={m.until} both /></Table.Td>
                <Table.Td data-label="By">{actor(m.created_by)}</Table.Td>
                <Table.Td data-label="Reason" className="wide"><Text size="sm" className="wrap">{m.reason}</Text></Table.Td>
                <Table.Td><div className="actions"><Act label={`End the mute of ${muteWhat(m)}`} icon={IconPlayerStop} needs={["manage-schedules"]} onClick={() => setEnded(m)} /></div></Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      <Confirm opened={ended !== null} onClose={() => setEnded(null)} title="End this mute?" action="End it" run={() => end.mutateAsync(ended!, { onError: refused })}>
        What was muted meanwhile is not sent any more; what still stands is reminded of.
      </Confirm>
    </Section>
  );
}
