import { Alert, Badge, Checkbox, Group, MultiSelect, PasswordInput, Select, SimpleGrid, Stack, Switch, TagsInput, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { IconAlertTriangle, IconBellOff, IconCircleCheck, IconPencil, IconPlayerPlay, IconPlayerStop, IconPlus, IconSend, IconTestPipe, IconTrash } from "../icons";
import { useState } from "react";
import { api, ifMatch, take, takeVersion, type Schemas, type Versioned } from "../api/client";
import { askEvery } from "../api/events";
import { useAct, useProjects } from "../api/queries";
import { useSession } from "../api/session";
import { plural, words } from "../format";
import { Confirm } from "../ui/dialog";
import { Do, Empty, Fact, Facts, PageHead, Rows, Section, Time } from "../ui/parts";
import { EditModal, EditProblem } from "../ui/fresh";
import { fieldError, ProblemAlert } from "../ui/problem";
import { refused, toast } from "../ui/toast";
import { Modal } from "../ui/modal";

type Channel = Schemas["Channel"];
type Kind = Schemas["ChannelKind"];

const useChannels = () => useQuery({ queryKey: ["channels"], refetchInterval: () => askEvery(false), queryFn: ({ signal }) => take(api.GET("/channels", { params: { query: { limit: 500 } }, signal })) });
const useKinds = () => useQuery({ queryKey: ["channel-kinds"], staleTime: Infinity, queryFn: ({ signal }) => take(api.GET("/channel-kinds", { signal })) });
const useNoticeKinds = () => useQuery({ queryKey: ["notice-kinds"], staleTime: Infinity, queryFn: ({ signal }) => take(api.GET("/notice-kinds", { signal })) });

const manage = ["manage-projects"];
const severities = [{ value: "info", label: "Everything" }, { value: "warning", label: "Warnings and worse" }, { value: "critical", label: "What is critical" }];

export default function Channels() {
  const list = useChannels();
  const [adding, setAdding] = useState(false);
  const [edited, setEdited] = useState<Channel | null>(null);
  const [removed, setRemoved] = useState<Channel | null>(null);
  const remove = useAct((ch: Channel) => take(api.DELETE("/channels/{ref}", { params: { path: { ref: String(ch.id) } } })), "channels", "alarms");
  const add = <Do icon={IconPlus} variant="filled" needs={manage} onClick={() => setAdding(true)}>Add channel</Do>;
  const rows: Channel[] = list.data?.items ?? [];
  return (
    <>
      <PageHead title="Channels" back={{ to: "/settings", label: "Settings" }} actions={rows.length ? add : null}>Where people are told of what goes wrong.</PageHead>
      {list.isPending ? <Section><Rows /></Section> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : rows.length === 0 ? (
        <Section><Empty icon={IconSend} title="Nobody is told yet" action={add}>Email, a signed webhook, Slack, Teams, Telegram and others. Make one of them the default: it takes what no project's channel takes.</Empty></Section>
      ) : rows.map((ch) => <One key={ch.id} ch={ch} edit={() => setEdited(ch)} remove={() => setRemoved(ch)} />)}
      {adding ? <Add all={rows} onClose={() => setAdding(false)} /> : null}
      {edited ? (
        <EditModal title={`Edit ${edited.name}`} size="lg" of={["channel", edited.id]} read={() => takeVersion(api.GET("/channels/{ref}", { params: { path: { ref: String(edited.id) } } }))} onClose={() => setEdited(null)}>
          {(now, again) => <Edit now={now} again={again} all={rows} onClose={() => setEdited(null)} />}
        </EditModal>
      ) : null}
      <Confirm opened={removed !== null} onClose={() => setRemoved(null)} title="Delete this channel?" action="Delete" color="red" run={() => remove.mutateAsync(removed!)}>
        {removed?.waiting ? <>{plural(removed.waiting, "notice")} that it has not taken yet {removed.waiting === 1 ? "is" : "are"} dropped. </> : null}
        Nobody is told through <b className="wrap">{removed?.name}</b> any more.
      </Confirm>
    </>
  );
}

function One({ ch, edit, remove }: { ch: Channel; edit: () => void; remove: () => void }) {
  const ref = { params: { path: { ref: String(ch.id) } } };
  const { who } = useSession();
  const test = useAct(() => take(api.POST("/channels/{ref}/test", ref)), "channels");
  const active = useAct(() => take(api.PATCH("/channels/{ref}", { ...ref, body: { is_active: !ch.is_active } })), "channels", "alarms");
  const mine = who.all_projects || !!ch.project_id;
  return (
    <Section title={
      <Group gap={10}><span className="wrap">{ch.name}</span>
        {ch.is_default ? <Badge className="badge" variant="light">Default</Badge> : null}
        <Badge className="badge" variant="light" color="gray">{words(ch.kind)}</Badge>
        {!ch.is_active ? <Badge className="badge" variant="light" color="gray">Off</Badge> : ch.failing_since ? <Badge className="badge" variant="light" color="red">Failing</Badge> : ch.last_sent_at ? <Badge className="badge" variant="light" color="green">Working</Badge> : <Badge className="badge" variant="light" color="yellow">Not used yet</Badge>}
        {ch.muted_until ? <Badge className="badge" variant="light" color="gray" leftSection={<IconBellOff size={12} aria-hidden />}>Muted until <Time at={ch.muted_until} both /></Badge> : null}
      </Group>
    } note={ch.last_sent_at ? <>Last sent <Time at={ch.last_sent_at} /></> : undefined}
    actions={mine ? (
      <>
        <Do size="xs" icon={IconTestPipe} needs={manage} loading={test.isPending} onClick={() => test.mutate()}>Test</Do>
        <Do size="xs" icon={ch.is_active ? IconPlayerStop : IconPlayerPlay} needs={manage} loading={active.isPending} onClick={() => active.mutate(undefined, { onError: refused })}>{ch.is_active ? "Turn off" : "Turn on"}</Do>
        <Do size="xs" icon={IconPencil} needs={manage} onClick={edit}>Edit</Do>
        <Do size="xs" icon={IconTrash} color="red" needs={manage} onClick={remove}>Delete</Do>
      </>
    ) : undefined}>
      {test.isSuccess ? <Alert m="sm" mb={0} p="xs" color="green" variant="light" role="status" icon={<IconCircleCheck size={18} />}><Text size="sm">The test was taken. Look for it at {ch.hint}.</Text></Alert> : null}
      {test.error ? <div style={{ padding: "12px 12px 0" }}><ProblemAlert error={test.error} /></div> : null}
      {ch.failing_since && !test.error ? <Alert m="sm" mb={0} p="xs" color="red" variant="light" icon={<IconAlertTriangle size={18} />}><Text size="sm" className="wrap">Failing since <Time at={ch.failing_since} />, {plural(ch.failures, "time")} in a row: {ch.last_error}</Text></Alert> : null}
      <Facts>
        <Fact label="To"><span className="wrap">{ch.hint}</span></Fact>
        <Fact label="Takes">{severities.find((s) => s.value === ch.min_severity)?.label}{ch.kinds.length ? <>: {ch.kinds.map(words).join(", ")}</> : null}</Fact>
        <Fact label="For">{ch.project || (ch.is_default ? "what no project's channel takes, and the installation" : "whom it is the fallback of")}</Fact>
        <Fact label="Reminders">{ch.remind_hours ? `every ${plural(ch.remind_hours, "hour")}` : "never"}</Fact>
        <Fact label="When it fails">{ch.fallback_id ? (ch.fallback || `channel ${ch.fallback_id}`) : "the default channels"}</Fact>
        {ch.waiting ? <Fact label="Waiting">{plural(ch.waiting, "notice")}</Fact> : null}
      </Facts>
    </Section>
  );
}

type Target = { url: string; secret: string; host: string; port: string; tls: string; username: string; password: string; from: string; to: string[] };

const noTarget: Target = { url: "", secret: "", host: "", port: "", tls: "starttls", username: "", password: "", from: "", to: [] };
const labels: Record<string, string> = { url: "URL", secret: "Key of the signature", host: "SMTP server", port: "Port", tls: "Encryption", username: "User name", password: "Password", from: "From", to: "To" };

const has = (kind: Kind | undefined, name: string) => !!kind && (kind.fields.includes(name) || kind.optional.includes(name));

/** What the API is sent of a target: the fields that its kind has. */
function targetOf(kind: Kind | undefined, v: Target) {
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(v)) {
    if (!has(kind, name) || value === "" || (Array.isArray(value) && !value.length)) continue;
    out[name] = name === "port" ? Number(value) : value;
  }
  return out;
}

const targetFields = Object.keys(noTarget).map((name) => `target.${name}`);

function TargetFields({ kind, v, set, error }: { kind: Kind | undefined; v: Target; set: (v: Target) => void; error: unknown }) {
  if (!kind) return <Rows n={2} />;
  const common = (name: keyof Target) => ({
    label: labels[name], required: kind.fields.includes(name), error: fieldError(error, `target.${name}`, ...(name === "to" ? [0, 1, 2, 3, 4].map((i) => `target.to[${i}]`) : [])), autoComplete: "off",
  });
  const text = (name: Exclude<keyof Target, "to">) => ({ ...common(name), value: v[name], onChange: (e: { currentTarget: { value: string } }) => set({ ...v, [name]: e.currentTarget.value }) });
  return (
    <>
      <Text size="sm" c="dimmed" className="wrap">{kind.title}: {kind.text}.</Text>
      {has(kind, "url") ? <PasswordInput {...text("url")} placeholder={kind.example} description={`Such as ${kind.example}`} inputWrapperOrder={["label", "input", "description", "error"]} classNames={{ description: "wrap" }} /> : null}
      {has(kind, "secret") ? <PasswordInput {...text("secret")} description="At least 16 characters; the receiver checks the signature with it" /> : null}
      {has(kind, "host") ? (
        <>
          <SimpleGrid cols={{ base: 1, xs: 3 }}>
            <TextInput {...text("host")} placeholder={kind.example} />
            <TextInput {...text("port")} inputMode="numeric" placeholder={v.tls === "implicit" ? "465" : "587"} />
            <Select label={labels.tls} value={v.tls} allowDeselect={false} onChange={(tls) => set({ ...v, tls: tls ?? "starttls" })} data={[{ value: "starttls", label: "STARTTLS" }, { value: "implicit", label: "TLS" }, { value: "none", label: "None" }]} error={fieldError(error, "target.tls")} />
          </SimpleGrid>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput {...text("username")} />
            <PasswordInput {...text("password")} />
          </SimpleGrid>
          <TextInput {...text("from")} type="email" />
          <TagsInput {...common("to")} value={v.to} onChange={(to) => set({ ...v, to })} placeholder={v.to.length ? undefined : "ops@example.com"} splitChars={[",", " ", ";"]} acceptValueOnBlur />
        </>
      ) : null}
    </>
  );
}

type Reach = { kinds: string[]; severity: string; remind: string; fallback: string | null };

const reminders = [{ value: "4", label: "Every 4 hours" }, { value: "12", label: "Every 12 hours" }, { value: "24", label: "Every day" }, { value: "72", label: "Every 3 days" }, { value: "168", label: "Every week" }, { value: "0", label: "Never" }];

function ReachFields({ v, set, all, self, project, error }: { v: Reach; set: (v: Reach) => void; all: Channel[]; self?: number; project: string | null; error: unknown }) {
  const kinds = useNoticeKinds();
  const times = reminders.some((r) => r.value === v.remind) ? reminders : [{ value: v.remind, label: `Every ${v.remind} hours` }, ...reminders];
  return (
    <>
      <SimpleGrid cols={{ base: 1, xs: 2 }}>
        <Select label="Takes" value={v.severity} onChange={(s) => set({ ...v, severity: s ?? "info" })} allowDeselect={false} data={severities} error={fieldError(error, "min_severity")} />
        <Select label="Reminders of open alarms" value={v.remind} onChange={(r) => set({ ...v, remind: r ?? "24" })} allowDeselect={false} data={times} error={fieldError(error, "remind_hours")} />
      </SimpleGrid>
      <MultiSelect label="Only these notices" placeholder={v.kinds.length ? undefined : "All but completed backups"} searchable clearable value={v.kinds} onChange={(k) => set({ ...v, kinds: k })} error={fieldError(error, "kinds")}
        data={(kinds.data?.items ?? []).map((k) => ({ value: k.kind, label: words(k.kind) }))} />
      <Select label="When it fails" placeholder="The default channels" clearable value={v.fallback} onChange={(f) => set({ ...v, fallback: f })} error={fieldError(error, "fallback")}
        data={all.filter((ch) => ch.id !== self && (!ch.project_id || ch.project === project)).map((ch) => ({ value: String(ch.id), label: ch.name }))} />
    </>
  );
}

const reachNames = ["name", "kind", "project", "default", "kinds", "min_severity", "remind_hours", "fallback"];

function Add({ all, onClose }: { all: Channel[]; onClose: () => void }) {
  const kinds = useKinds();
  const projects = useProjects();
  const { who } = useSession();
  const [name, setName] = useState("");
  const [kind, setKind] = useState("email");
  const [target, setTarget] = useState<Target>(noTarget);
  const [reach, setReach] = useState<Reach>({ kinds: [], severity: "info", remind: "24", fallback: null });
  const [project, setProject] = useState<string | null>(null);
  const [standard, setStandard] = useState(who.all_projects && !all.some((ch) => ch.is_default));
  const of = kinds.data?.items.find((k) => k.kind === kind);
  const create = useAct(() => take(api.POST("/channels", {
    body: {
      name, kind, target: targetOf(of, target), project: project ?? undefined, default: !project && standard, kinds: reach.kinds, min_severity: reach.severity as "info", remind_hours: Number(reach.remind),
      fallback: reach.fallback ?? undefined,
    },
  })), "channels", "alarms");
  return (
    <Modal opened onClose={onClose} title="Add channel" size="lg" centered>
      <form onSubmit={(e) => { e.preventDefault(); create.mutate(undefined, { onSuccess: (ch) => { toast(`${ch.name} is added`, { hint: "Test it now: then you know that it arrives." }); onClose(); } }); }}>
        <Stack>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput label="Name" required data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(create.error, "name")} />
            <Select label="Kind" value={kind} onChange={(k) => setKind(k ?? "email")} allowDeselect={false} searchable data={(kinds.data?.items ?? []).map((k) => ({ value: k.kind, label: k.title }))} error={fieldError(create.error, "kind")} />
          </SimpleGrid>
          <TargetFields kind={of} v={target} set={setTarget} error={create.error} />
          <Select label="Project" placeholder={who.all_projects ? "The installation" : "Choose one"} required={!who.all_projects} clearable={who.all_projects} data={(projects.data?.items ?? []).map((p) => p.slug)} value={project} onChange={setProject} error={fieldError(create.error, "project")} />
          {!project ? <Checkbox label="A default" description="It takes what no channel of a project takes, and what is of no project" checked={standard} onChange={(e) => setStandard(e.currentTarget.checked)} /> : null}
          <ReachFields v={reach} set={setReach} all={all} project={project} error={create.error} />
          <ProblemAlert error={create.error} fields={[...reachNames, ...targetFields]} />
          <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do type="submit" variant="filled" loading={create.isPending}>Add</Do></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Edit({ now, again, all, onClose }: { now: Versioned<Channel>; again: () => void; all: Channel[]; onClose: () => void }) {
  const ch = now.value;
  const kinds = useKinds();
  const [name, setName] = useState(ch.name);
  const [standard, setStandard] = useState(ch.is_default);
  const [reach, setReach] = useState<Reach>({ kinds: ch.kinds, severity: ch.min_severity, remind: String(ch.remind_hours), fallback: ch.fallback_id ? String(ch.fallback_id) : null });
  const [replaced, setReplaced] = useState(false);
  const [target, setTarget] = useState<Target>(noTarget);
  const of = kinds.data?.items.find((k) => k.kind === ch.kind);
  const save = useAct(() => take(api.PATCH("/channels/{ref}", {
    params: { path: { ref: String(ch.id) }, header: ifMatch(now.etag) },
    body: {
      ...(name !== ch.name ? { name } : {}), ...(standard !== ch.is_default ? { default: standard } : {}), kinds: reach.kinds, min_severity: reach.severity as "info", remind_hours: Number(reach.remind),
      ...(reach.fallback !== (ch.fallback_id ? String(ch.fallback_id) : null) ? { fallback: reach.fallback ?? "" } : {}), ...(replaced ? { target: targetOf(of, target) } : {}),
    },
  })), "channels", "alarms");
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => { toast("The channel is changed"); onClose(); } }); }}>
      <Stack>
        <TextInput label="Name" required data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(save.error, "name")} />
        {ch.project_id ? null : <Checkbox label="A default" description="It takes what no channel of a project takes, and what is of no project" checked={standard} onChange={(e) => setStandard(e.currentTarget.checked)} />}
        <ReachFields v={reach} set={setReach} all={all} self={ch.id} project={ch.project || null} error={save.error} />
        <Switch label="Send it to another place" description={`Now to ${ch.hint}. The whole of it is given anew, with what is secret`} checked={replaced} onChange={(e) => setReplaced(e.currentTarget.checked)} />
        {replaced ? <TargetFields kind={of} v={target} set={setTarget} error={save.error} /> : null}
        <EditProblem error={save.error} again={() => { save.reset(); again(); }} fields={[...reachNames, ...targetFields]} />
        <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do type="submit" variant="filled" loading={save.isPending}>Save</Do></Group>
      </Stack>
    </form>
  );
}
