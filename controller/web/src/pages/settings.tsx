import { Anchor, Badge, Button, Group, PasswordInput, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { IconPlayerPlay, IconTrash, IconSend } from "../icons";
import { useState } from "react";
import { Link } from "wouter";
import { api, ifMatch, take, takeVersion } from "../api/client";
import { useSession } from "../api/session";
import { useAct } from "../api/queries";
import { browser } from "../format";
import { Act, Do, Fact, Facts, PageHead, Rows, Section, Time } from "../ui/parts";
import { EditProblem } from "../ui/fresh";
import { fieldError, ProblemAlert } from "../ui/problem";
import { refused, toast } from "../ui/toast";

export default function Settings() {
  const { who, can } = useSession();
  return (
    <>
      <PageHead title="Settings" />
      <Account />
      {who.kind === "user" ? <Sessions /> : null}
      {can("view-backups") ? <><ChannelsLink /><Installation /><Pauses /></> : null}
      <About />
    </>
  );
}

function ChannelsLink() {
  return (
    <Section title="Channels" actions={<Button component={Link} href="/settings/channels" size="xs" variant="default" leftSection={<IconSend size={16} aria-hidden />}>Channels</Button>} padded>
      <Text size="sm">Where people are told of what goes wrong: email, a signed webhook, Slack, Teams, Telegram and others.</Text>
    </Section>
  );
}

function Account() {
  const { who } = useSession();
  const [old, setOld] = useState("");
  const [next, setNext] = useState("");
  const change = useAct(() => take(api.PUT("/session/password", { body: { old_password: old, new_password: next } })));
  return (
    <Section title="Your account">
      <Facts>
        <Fact label="Name">{who.display_name || who.name}</Fact>
        <Fact label="Projects">{who.all_projects ? "All" : who.projects?.length}</Fact>
        {who.expires_at ? <Fact label="Signed in until"><Time at={who.expires_at} both /></Fact> : null}
        <Fact label="May"><Group gap={4}>{(who.permissions ?? []).map((p) => <Badge key={p} size="sm" variant="default" className="badge">{p}</Badge>)}</Group></Fact>
      </Facts>
      {who.has_password ? (
        <form onSubmit={(e) => { e.preventDefault(); change.mutate(undefined, { onSuccess: () => { toast("The password is changed", { hint: "Your other sessions have ended." }); setOld(""); setNext(""); } }); }}>
          <Stack p="md" pt={0} maw={560}>
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              <PasswordInput label="Current password" required autoComplete="current-password" value={old} onChange={(e) => setOld(e.currentTarget.value)} error={fieldError(change.error, "old_password")} />
              <PasswordInput label="New password" required autoComplete="new-password" value={next} onChange={(e) => setNext(e.currentTarget.value)} error={fieldError(change.error, "new_password")} />
            </SimpleGrid>
            <ProblemAlert error={change.error} fields={["old_password", "new_password"]} />
            <Group><Button type="submit" variant="default" loading={change.isPending}>Change password</Button></Group>
          </Stack>
        </form>
      ) : null}
    </Section>
  );
}

function Sessions() {
  const list = useQuery({ queryKey: ["sessions"], queryFn: () => take(api.GET("/sessions")) });
  const end = useAct((id: number) => take(api.DELETE("/sessions/{id}", { params: { path: { id } } })), "sessions");
  return (
    <Section title="Where you are signed in">
      {list.isPending ? <Rows n={2} /> : list.error ? <ProblemAlert error={list.error} /> : (
        <Table className="stacked">
          <Table.Tbody>
            {list.data.items.map((s) => {
              const x = s as unknown as { id: number; agent: string; remote: string; seen_at: string; current: boolean };
              return (
                <Table.Tr key={x.id}>
                  <Table.Td className="wide"><Text size="sm" title={x.agent}>{browser(x.agent)}</Text><Text size="xs" c="dimmed">{x.remote}</Text></Table.Td>
                  <Table.Td data-label="Last seen"><Time at={x.seen_at} /></Table.Td>
                  <Table.Td className="wide"><div className="actions">{x.current ? <Badge className="badge" variant="light" color="green">This one</Badge> : <Act label="Sign out there" icon={IconTrash} color="red" onClick={() => end.mutate(x.id, { onError: refused })} />}</div></Table.Td>
                </Table.Tr>
              );
            })}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

const summaryDays = [...["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"].map((label, i) => ({ value: String(i), label })), { value: "off", label: "Never" }];

function Installation() {
  const { can } = useSession();
  const s = useQuery({ queryKey: ["settings"], queryFn: () => takeVersion(api.GET("/settings")) });
  const [zone, setZone] = useState<string | null>(null);
  const [time, setTime] = useState<string | null>(null);
  const [day, setDay] = useState<string | null>(null);
  const [summary, setSummary] = useState<string | null>(null);
  const save = useAct(() => take(api.PATCH("/settings", { params: { header: ifMatch(s.data?.etag ?? "") }, body: { ...(zone ? { timezone: zone } : {}), ...(time ? { cleanup_time: time } : {}), ...(day ? { summary_day: day } : {}), ...(summary ? { summary_time: summary } : {}) } })), "settings", "statistics");
  const may = can("manage-projects");
  return (
    <Section title="Installation" padded>
      {s.isPending ? <Rows n={2} /> : s.error ? <ProblemAlert error={s.error} /> : (
        <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => toast("Saved") }); }}>
          <Stack maw={560}>
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              <Select label="Time zone" description="Days of retention and trends" searchable limit={60} data={["UTC", ...Intl.supportedValuesOf("timeZone").filter((z) => z !== "UTC")]} value={zone ?? s.data.value.timezone} onChange={setZone} disabled={!may} allowDeselect={false} error={fieldError(save.error, "timezone")} />
              <TextInput type="time" label="Clean up at" description="When retention is applied, daily" value={time ?? s.data.value.cleanup_time} onChange={(e) => setTime(e.currentTarget.value)} disabled={!may} error={fieldError(save.error, "cleanup_time")} />
              <Select label="Weekly summary" description="The week in figures, to the default channels" data={summaryDays} value={day ?? s.data.value.summary_day} onChange={setDay} disabled={!may} allowDeselect={false} error={fieldError(save.error, "summary_day")} />
              <TextInput type="time" label="Summary at" description="In the same time zone" value={summary ?? s.data.value.summary_time} onChange={(e) => setSummary(e.currentTarget.value)} disabled={!may || (day ?? s.data.value.summary_day) === "off"} error={fieldError(save.error, "summary_time")} />
            </SimpleGrid>
            <EditProblem error={save.error} again={() => { save.reset(); setZone(null); setTime(null); setDay(null); setSummary(null); void s.refetch(); }} fields={["timezone", "cleanup_time", "summary_day", "summary_time"]} />
            <Group><Do type="submit" needs={["manage-projects"]} loading={save.isPending}>Save</Do></Group>
          </Stack>
        </form>
      )}
    </Section>
  );
}

function Pauses() {
  const { can } = useSession();
  const list = useQuery({ queryKey: ["pauses"], queryFn: () => take(api.GET("/pauses")) });
  const [reason, setReason] = useState("");
  const pause = useAct(() => take(api.POST("/pauses", { body: { scope: "everything" as const, reason } })), "pauses", "schedules", "overview");
  const end = useAct((id: number) => take(api.POST("/pauses/{id}/end", { params: { path: { id } } })), "pauses", "schedules", "overview");
  const open = (list.data?.items ?? []).filter((p) => !p.ended_at);
  return (
    <Section title="Pauses" note="While schedules are paused, nothing begins by itself; what is ordered by hand runs" padded>
      <Stack maw={640}>
        {open.map((p) => (
          <Group key={p.id} justify="space-between">
            <div><Text size="sm" fw={600}>{p.scope === "everything" ? "Everything" : p.project || p.server || `Schedule ${p.schedule_id}`}: {p.reason}</Text><Text size="xs" c="dimmed">by {p.created_by}, <Time at={p.created_at} />{p.until ? <>, until <Time at={p.until} /></> : null}</Text></div>
            <Do size="xs" icon={IconPlayerPlay} needs={["manage-schedules"]} onClick={() => end.mutate(p.id, { onError: refused })}>Go on</Do>
          </Group>
        ))}
        {can("manage-schedules") ? <form onSubmit={(e) => { e.preventDefault(); pause.mutate(undefined, { onSuccess: () => setReason("") }); }}>
          <Group align="flex-end">
            <TextInput label="Pause all schedules" placeholder="Reason, for those who wonder" required value={reason} onChange={(e) => setReason(e.currentTarget.value)} style={{ flex: 1 }} />
            <Do type="submit" needs={["manage-schedules"]} loading={pause.isPending}>Pause</Do>
          </Group>
        </form> : null}
        {!open.length && list.data && !can("manage-schedules") ? <Text size="sm" c="dimmed">Nothing is paused.</Text> : null}
        <ProblemAlert error={pause.error ?? list.error} />
      </Stack>
    </Section>
  );
}

function About() {
  const v = useQuery({ queryKey: ["version"], staleTime: Infinity, queryFn: () => take(api.GET("/version")) });
  return (
    <Section title="About">
      {v.data ? (
        <Facts>
          <Fact label="Controller">{v.data.version}</Fact>
          <Fact label="API"><Anchor href="/api/v1/openapi.json" size="sm">{v.data.api}: its document</Anchor></Fact>
          <Fact label="Certificate authority (SHA-256)"><span className="mono long">{v.data.ca_fingerprint}</span></Fact>
        </Facts>
      ) : <Rows n={1} />}
    </Section>
  );
}
