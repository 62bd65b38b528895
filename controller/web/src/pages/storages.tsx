import { Alert, Badge, Button, Checkbox, Group, PasswordInput, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { IconAlertTriangle, IconCircleCheck, IconCircleMinus, IconCircleX, IconPencil, IconPlus, IconStack2, IconStar, IconTestPipe, IconTrash } from "../icons";
import { useState } from "react";
import { api, ifMatch, take, takeVersion, type Versioned } from "../api/client";
import { useAct, useProjects, useStorages, type Storage } from "../api/queries";
import { bytes, plural } from "../format";
import { Confirm } from "../ui/dialog";
import { Do, Empty, Fact, Facts, PageHead, Rows, Section, Time } from "../ui/parts";
import { EditModal, EditProblem } from "../ui/fresh";
import { fieldError, ProblemAlert, problemOf } from "../ui/problem";
import { refused, toast } from "../ui/toast";
import { Modal } from "../ui/modal";

export type Probe = { steps?: { name: string; ok: boolean; required: boolean; millis: number; detail: string; hint?: string }[] | null; warnings?: string[] | null };

export default function Storages() {
  const list = useStorages();
  const [adding, setAdding] = useState(false);
  const [removed, setRemoved] = useState<Storage | null>(null);
  const [edited, setEdited] = useState<Storage | null>(null);
  const remove = useAct((s: Storage) => take(api.DELETE("/storages/{ref}", { params: { path: { ref: String(s.id) } } })), "storages", "overview");
  const add = <Do icon={IconPlus} variant="filled" needs={["manage-storages"]} onClick={() => setAdding(true)}>Add storage</Do>;
  return (
    <>
      <PageHead title="Storages" actions={list.data?.items.length ? add : null}>Where backups lie. Each is tested when it is added, daily, and whenever you ask.</PageHead>
      {list.isPending ? <Section><Rows /></Section> : list.error && !list.data ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : list.data!.items.length === 0 ? (
        <Section><Empty icon={IconStack2} title="No storages yet" action={add}>Any S3 bucket does. Its credentials stay with the controller: no database host ever holds them.</Empty></Section>
      ) : list.data!.items.map((s) => <One key={s.id} s={s} edit={() => setEdited(s)} remove={() => setRemoved(s)} />)}
      {edited ? <EditStorage s={edited} onClose={() => setEdited(null)} /> : null}
      {adding ? <AddStorage onClose={() => setAdding(false)} /> : null}
      <Confirm opened={removed !== null} onClose={() => setRemoved(null)} title="Remove this storage?" action="Remove" color="red" typed={removed?.name} run={() => remove.mutateAsync(removed!)}>
        It is refused while backups lie there. Nothing in the bucket is touched.
      </Confirm>
    </>
  );
}

function One({ s, edit, remove }: { s: Storage; edit: () => void; remove: () => void }) {
  const ref = { params: { path: { ref: String(s.id) } } };
  const test = useAct(() => take(api.POST("/storages/{ref}/probe", ref)), "storages", "overview");
  const standard = useAct(() => take(api.POST("/storages/{ref}/default", ref)), "storages");
  const probe = (s.probe ?? null) as Probe | null;
  const local = s.kind === "local";
  return (
    <Section title={
      <Group gap={10}><span>{s.name}</span>
        {s.is_default ? <Badge className="badge" variant="light">Default</Badge> : null}
        <Badge className="badge" variant="light" color="gray">{local ? "The database's own host" : "S3"}</Badge>
        {local ? null : !s.probed_at ? <Badge className="badge" variant="light" color="yellow">Not tested</Badge> : <Badge className="badge" variant="light" color={s.probe_ok ? "green" : "red"}>{s.probe_ok ? "Test passed" : "Test failed"}</Badge>}
      </Group>
    } note={s.probed_at ? <>Tested <Time at={s.probed_at} /></> : undefined}
    actions={
      <>
        {local ? null : <Do size="xs" icon={IconTestPipe} needs={["manage-storages"]} loading={test.isPending} onClick={() => test.mutate(undefined, { onSuccess: (r) => toast(r.probe_ok ? `${s.name} passed its test` : `${s.name} did not pass its test`, { bad: !r.probe_ok }), onError: refused })}>Test</Do>}
        {s.is_default ? null : <Do size="xs" icon={IconStar} needs={["manage-storages"]} onClick={() => standard.mutate(undefined, { onError: refused })}>Make default</Do>}
        <Do size="xs" icon={IconPencil} needs={["manage-storages"]} onClick={edit}>Edit</Do>
        <Do size="xs" icon={IconTrash} color="red" needs={["manage-storages"]} onClick={remove}>Remove</Do>
      </>
    }>
      {s.same_host && !probe?.warnings?.length ? <Alert m="sm" mb={0} p="xs" color="yellow" variant="light" icon={<IconAlertTriangle size={18} />}><Text size="sm">Same host as the database: such a backup is lost with it.</Text></Alert> : null}
      <Facts>
        {local ? null : <Fact label="Bucket"><span className="mono">{s.bucket}{s.prefix ? `/${s.prefix}` : ""}</span></Fact>}
        {local ? null : <Fact label="Endpoint"><span className="mono">{s.endpoint || "AWS"}</span> {s.region}</Fact>}
        <Fact label="Used">{bytes(s.used_bytes)} in {plural(s.backups, "backup")}</Fact>
        {local ? null : <Fact label="Checksums">{s.checksum_mode || "–"}</Fact>}
        <Fact label="For">{s.project_id ? `one project (${s.project_id})` : "all projects"}</Fact>
      </Facts>
      {probe?.steps?.length ? <Steps probe={probe} /> : null}
    </Section>
  );
}

export function Steps({ probe }: { probe: Probe }) {
  return (
    <>
      {(probe.warnings ?? []).map((w) => <Alert key={w} mx="sm" mb="sm" p="xs" color="yellow" variant="light" icon={<IconAlertTriangle size={18} />}><Text size="sm">{w}</Text></Alert>)}
      <Table className="stacked">
        <Table.Thead><Table.Tr><Table.Th>Test</Table.Th><Table.Th>Result</Table.Th><Table.Th ta="right">Time</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {(probe.steps ?? []).map((st) => (
            <Table.Tr key={st.name}>
              <Table.Td>
                <Group gap={8} wrap="nowrap">
                  {st.ok ? <IconCircleCheck size={17} color="var(--green)" aria-label="Passed" /> : st.required ? <IconCircleX size={17} color="var(--mantine-color-red-filled)" aria-label="Failed" /> : <IconCircleMinus size={17} color="var(--mantine-color-dimmed)" aria-label="Not there" />}
                  {st.name}
                </Group>
              </Table.Td>
              <Table.Td className="wide"><Text size="sm" className="wrap">{st.detail}</Text>{st.hint ? <Text size="xs" c="dimmed">{st.hint}</Text> : null}</Table.Td>
              <Table.Td data-label="Time" ta="right" className="figure">{st.millis} ms</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </>
  );
}

function EditStorage({ s, onClose }: { s: Storage; onClose: () => void }) {
  return (
    <EditModal title={`Edit ${s.name}`} size="lg" of={["storage", s.id]} read={() => takeVersion(api.GET("/storages/{ref}", { params: { path: { ref: String(s.id) } } }))} onClose={onClose}>
      {(now, again) => <EditForm now={now} again={again} onClose={onClose} />}
    </EditModal>
  );
}

function EditForm({ now, again, onClose }: { now: Versioned<Storage>; again: () => void; onClose: () => void }) {
  const s = now.value;
  const [v, setV] = useState({ name: s.name, endpoint: s.endpoint, region: s.region, access_key: "", secret_key: "" });
  const save = useAct(() => take(api.PATCH("/storages/{ref}", {
    params: { path: { ref: String(s.id) }, header: ifMatch(now.etag) },
    body: {
      ...(v.name !== s.name ? { name: v.name } : {}), ...(v.endpoint !== s.endpoint ? { endpoint: v.endpoint } : {}), ...(v.region !== s.region ? { region: v.region } : {}),
      ...(v.access_key || v.secret_key ? { access_key: v.access_key, secret_key: v.secret_key } : {}),
    },
  })), "storages", "overview");
  const field = (name: keyof typeof v) => ({ value: v[name], onChange: (e: { currentTarget: { value: string } }) => setV({ ...v, [name]: e.currentTarget.value }), error: fieldError(save.error, name) });
  const report = problemOf(save.error)?.probe as Probe | undefined;
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => { toast("The storage is changed"); onClose(); } }); }}>
      <Stack>
        <TextInput label="Name" required data-autofocus {...field("name")} />
        {s.kind === "local" ? null : (
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput label="Endpoint" placeholder="AWS, if left empty" {...field("endpoint")} />
            <TextInput label="Region" {...field("region")} />
            <TextInput label="Access key" placeholder="As it is" autoComplete="off" {...field("access_key")} />
            <PasswordInput label="Secret key" placeholder="As it is" autoComplete="off" {...field("secret_key")} />
          </SimpleGrid>
        )}
        {s.kind === "local" ? null : <Text size="sm" c="dimmed">What changes has to pass the test first. Bucket and prefix stay: another bucket is another storage.</Text>}
        <EditProblem error={save.error} again={() => { save.reset(); again(); }} fields={Object.keys(v)} />
        {report?.steps?.length ? <Steps probe={report} /> : null}
        <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do type="submit" variant="filled" loading={save.isPending}>Save</Do></Group>
      </Stack>
    </form>
  );
}

function AddStorage({ onClose }: { onClose: () => void }) {
  const projects = useProjects();
  const [kind, setKind] = useState<string | null>("s3");
  const [v, setV] = useState({ name: "", bucket: "", prefix: "", endpoint: "", region: "us-east-1", access_key: "", secret_key: "" });
  const [project, setProject] = useState<string | null>(null);
  const [pathStyle, setPathStyle] = useState(false);
  const [standard, setStandard] = useState(false);
  const s3 = kind === "s3";
  const create = useAct(() => take(api.POST("/storages", {
    body: s3 ? { name: v.name, kind: "s3" as const, bucket: v.bucket, prefix: v.prefix || undefined, endpoint: v.endpoint || undefined, region: v.region || undefined, access_key: v.access_key, secret_key: v.secret_key, path_style: pathStyle, default: standard, project: project ?? undefined }
      : { name: v.name, kind: "local" as const, default: standard, project: project ?? undefined },
  })), "storages", "overview");
  const field = (name: keyof typeof v) => ({ value: v[name], onChange: (e: { currentTarget: { value: string } }) => setV({ ...v, [name]: e.currentTarget.value }), error: fieldError(create.error, name) });
  const report = problemOf(create.error)?.probe as Probe | undefined;
  return (
    <Modal opened onClose={onClose} title="Add storage" size="lg" centered>
      <form onSubmit={(e) => { e.preventDefault(); create.mutate(undefined, { onSuccess: (s) => { toast(`${s.name} is added`); onClose(); } }); }}>
        <Stack>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput label="Name" required data-autofocus {...field("name")} />
            <Select label="Kind" value={kind} onChange={setKind} allowDeselect={false} data={[{ value: "s3", label: "S3 bucket" }, { value: "local", label: "The database's own host" }]} />
          </SimpleGrid>
          {s3 ? (
            <>
              <SimpleGrid cols={{ base: 1, xs: 2 }}>
                <TextInput label="Bucket" required {...field("bucket")} />
                <TextInput label="Path prefix" placeholder="devflow" {...field("prefix")} />
                <TextInput label="Endpoint" placeholder="AWS, if left empty" {...field("endpoint")} />
                <TextInput label="Region" {...field("region")} />
                <TextInput label="Access key" required autoComplete="off" {...field("access_key")} />
                <PasswordInput label="Secret key" required autoComplete="off" {...field("secret_key")} />
              </SimpleGrid>
              <Checkbox label="Path style addresses" description="Most servers that are not AWS want them" checked={pathStyle} onChange={(e) => setPathStyle(e.currentTarget.checked)} />
            </>
          ) : <Alert color="yellow" variant="light" p="xs"><Text size="sm">A backup on the host of its database is lost with the host. Keep copies elsewhere too.</Text></Alert>}
          <Select label="Project" placeholder="All projects" clearable data={(projects.data?.items ?? []).map((p) => p.slug)} value={project} onChange={setProject} />
          <Checkbox label="The default" checked={standard} onChange={(e) => setStandard(e.currentTarget.checked)} />
          <ProblemAlert error={create.error} fields={Object.keys(v)} />
          {report?.steps?.length ? <Steps probe={report} /> : null}
          <Button type="submit" loading={create.isPending}>{create.isPending && s3 ? "Testing" : "Test and add"}</Button>
        </Stack>
      </form>
    </Modal>
  );
}
