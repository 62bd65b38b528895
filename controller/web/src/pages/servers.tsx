import { Alert, Badge, Box, Button, Checkbox, Group, Loader, Paper, Select, SimpleGrid, Stack, Switch, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { IconAlertTriangle, IconCircleCheck, IconPlus, IconServer2, IconServerOff } from "../icons";
import { useEffect, useState } from "react";
import { api, take, type Schemas } from "../api/client";
import { useSession } from "../api/session";
import { useAct, useDatabases, useProjects, useServers, type Server } from "../api/queries";
import { bytes, databaseName, duration, engine, plural } from "../format";
import { Confirm } from "../ui/dialog";
import { Copyable, Do, Empty, EngineBadge, PageHead, Rows, Section, Time } from "../ui/parts";
import { fieldError, ProblemAlert } from "../ui/problem";
import { refused, toast } from "../ui/toast";
import { Modal } from "../ui/modal";

export default function Servers() {
  const [adding, setAdding] = useState(false);
  const [revoked, setRevoked] = useState<Server | null>(null);
  const servers = useServers();
  const databases = useDatabases({});
  const revoke = useAct((s: Server) => take(api.POST("/servers/{ref}/revoke", { params: { path: { ref: String(s.id) } } })), "servers", "overview");
  const add = <Do icon={IconPlus} variant="filled" needs={["manage-servers"]} onClick={() => setAdding(true)}>Add server</Do>;
  const all = [...(servers.data?.items ?? [])].sort((a, b) => Number(!!a.revoked_at) - Number(!!b.revoked_at) || a.name.localeCompare(b.name));
  return (
    <>
      <PageHead title="Servers" actions={all.length ? add : null}>Hosts with an agent, and the databases that each agent found.</PageHead>
      {servers.isPending ? <Section><Rows /></Section> : servers.error && !servers.data ? <ProblemAlert error={servers.error} again={() => void servers.refetch()} /> : all.length === 0 ? (
        <Section><Empty icon={IconServer2} title="No servers yet" action={add}>One command on a database host installs the agent, enrols it and finds its databases. It appears here the moment it comes up.</Empty></Section>
      ) : (
        all.map((s) => <One key={s.id} s={s} databases={(databases.data?.items ?? []).filter((d) => d.server_id === s.id && (d.project || !d.missing_since))} revoke={() => setRevoked(s)} />)
      )}
      {adding ? <AddServer known={servers.data?.items ?? []} onClose={() => setAdding(false)} /> : null}
      <Confirm opened={revoked !== null} onClose={() => setRevoked(null)} title="Revoke this server?" action="Revoke" color="red" typed={revoked?.name} run={() => revoke.mutateAsync(revoked!)}>
        Its connection is cut at once and its uploads are aborted. No backup is deleted. The host can only come back by a new enrolment.
      </Confirm>
    </>
  );
}

function One({ s, databases, revoke }: { s: Server; databases: Schemas["Database"][]; revoke: () => void }) {
  const { can } = useSession();
  const projects = useProjects();
  const client = useQueryClient();
  const verifier = useAct((on: boolean) => take(api.PUT("/servers/{ref}/verifier", { params: { path: { ref: String(s.id) } }, body: { verifier: on } })), "servers");
  const assign = async (id: number, project: string | null) => {
    try {
      if (project) {
        await take(api.PUT("/projects/{ref}/servers/{server}", { params: { path: { ref: project, server: String(s.id) } } }));
        await take(api.POST("/databases/assign", { body: { id, project } }));
      } else await take(api.POST("/databases/unassign", { body: { id } }));
    } catch (err) {
      refused(err);
    }
    await Promise.all(["databases", "servers", "statistics", "overview"].map((k) => client.invalidateQueries({ queryKey: [k] })));
  };
  const h = s.host;
  return (
    <Section title={
      <Group gap={10}>
        <span>{s.name}</span>
        {s.revoked_at ? <Badge color="gray" className="badge" variant="light">Revoked</Badge> : <Badge color={s.online ? "green" : "red"} className="badge" variant="light" leftSection={s.online ? <IconCircleCheck size={13} aria-hidden /> : <IconServerOff size={13} aria-hidden />}>{s.online ? "Online" : "Offline"}</Badge>}
        {s.outdated ? <Badge color="orange" className="badge" variant="light" leftSection={<IconAlertTriangle size={13} aria-hidden />}>Agent outdated</Badge> : null}
        {s.verifier ? <Badge color="grape" className="badge" variant="light">Verifier</Badge> : null}
      </Group>
    } note={<>{h.os} {h.arch}, {plural(h.cpus, "CPU")}{h.memory_bytes ? `, ${bytes(h.memory_bytes)}` : ""}{h.uptime_seconds ? `, up ${duration(h.uptime_seconds)}` : ""} · agent {s.agent_version} · seen <Time at={s.last_seen_at} /></>}
    actions={s.revoked_at ? null : (
      <Group gap="md">
        <Switch size="sm" label="Verifier" checked={s.verifier} disabled={!can("manage-servers")} onChange={(e) => verifier.mutate(e.currentTarget.checked, { onError: refused })} />
        <Do size="xs" color="red" needs={["manage-servers"]} onClick={revoke}>Revoke</Do>
      </Group>
    )}>
      {(s.instances ?? []).filter((i) => i.error).map((i) => (
        <Alert key={i.name} color="red" variant="light" m="sm" icon={<IconAlertTriangle size={18} />} title={`${i.name}: ${engine(i.engine)}`}>{i.error}</Alert>
      ))}
      {databases.length === 0 ? (
        <Text size="sm" c="dimmed" p="md">{s.revoked_at ? "Its databases are not looked at any more." : "Its agent has found no databases yet. On the host: devflow-agent check says what it sees, and what it lacks."}</Text>
      ) : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Database</Table.Th><Table.Th>Instance</Table.Th><Table.Th>Size</Table.Th><Table.Th>Restores</Table.Th><Table.Th>Project</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {databases.map((d) => {
              const i = s.instances?.find((x) => x.name === d.instance);
              return (
                <Table.Tr key={d.id}>
                  <Table.Td className="wide"><Group gap={8}><Text size="sm" fw={600} title={d.name} className="wrap">{databaseName(d.name)}</Text><EngineBadge name={d.engine} />{d.missing_since ? <Badge color="red" variant="light" className="badge">Not found any more</Badge> : null}</Group></Table.Td>
                  <Table.Td data-label="Instance">{d.instance}<Text size="xs" c="dimmed">{d.server_version}</Text></Table.Td>
                  <Table.Td data-label="Size" className="figure">{bytes(d.size_bytes)}</Table.Td>
                  <Table.Td data-label="Restores">{i?.in_place ? "in place" : i?.restore ? "new databases" : "not allowed"}</Table.Td>
                  <Table.Td data-label="Project">
                    <Select size="xs" aria-label={`Project of ${d.name}`} placeholder="Not assigned" clearable searchable disabled={!can("manage-projects") || !!s.revoked_at} value={d.project || null} data={(projects.data?.items ?? []).map((p) => p.slug)} onChange={(v) => void assign(d.id, v)} maw={200} />
                  </Table.Td>
                </Table.Tr>
              );
            })}
          </Table.Tbody>
        </Table>
      )}
    </Section>
  );
}

function AddServer({ known, onClose }: { known: Server[]; onClose: () => void }) {
  const projects = useProjects();
  const [name, setName] = useState("");
  const [project, setProject] = useState<string | null>(null);
  const [verifier, setVerifier] = useState(false);
  const [grant, setGrant] = useState(false);
  const replaces = known.some((s) => s.name === name.trim());
  const create = useAct(() => take(api.POST("/enrolments", { body: { server_name: name.trim(), project: project ?? undefined, verifier, grant, replace: replaces || undefined } })));
  const made = create.data;
  return (
    <Modal opened onClose={onClose} title={made ? `Run this on ${made.server_name}` : "Add server"} size="lg" centered>
      {made ? <Waiting made={made} onClose={onClose} /> : (
        <form onSubmit={(e) => { e.preventDefault(); create.mutate(undefined); }}>
          <Stack>
            <TextInput label="Name" description="What it is called here" placeholder="db-1" required value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(create.error, "server_name")} data-autofocus />
            {replaces ? <Alert color="yellow" variant="light" p="xs"><Text size="sm">There is a server of that name. The host takes its place: databases, backups and schedules stay, and the host that was there is cut off.</Text></Alert> : null}
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              <Select label="Project" placeholder="None yet" clearable description="May use the server" data={(projects.data?.items ?? []).map((p) => p.slug)} value={project} onChange={setProject} />
            </SimpleGrid>
            <Checkbox label="Let the set-up make the agent's accounts in the databases that it finds" checked={grant} onChange={(e) => setGrant(e.currentTarget.checked)} />
            <Checkbox label="Verifier" description="It may open other hosts' backups to verify their content" checked={verifier} onChange={(e) => setVerifier(e.currentTarget.checked)} />
            <ProblemAlert error={create.error} fields={["server_name"]} />
            <Button type="submit" loading={create.isPending}>Make the command</Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}

function Waiting({ made, onClose }: { made: Schemas["NewEnrolment"]; onClose: () => void }) {
  const client = useQueryClient();
  const status = useQuery({
    queryKey: ["enrolment", made.id], refetchInterval: (q) => (q.state.data?.online || q.state.data?.expired ? false : 2_000),
    queryFn: () => take(api.POST("/enroll/status", { body: { token: made.token } })),
  });
  const s = status.data;
  useEffect(() => {
    if (s?.online) void Promise.all(["servers", "databases", "overview"].map((k) => client.invalidateQueries({ queryKey: [k] })));
  }, [s?.online, client]);
  return (
    <Stack>
      {made.install_command ? (
        <>
          <Text size="sm">In a root shell of the host. It installs the agent, enrols it, finds the databases and starts it. It works once, for an hour.</Text>
          <Copyable text={made.install_command} label="Copy the command" />
        </>
      ) : (
        <>
          {made.install_hint ? <Alert color="yellow" variant="light" p="xs"><Text size="sm">{made.install_hint}</Text></Alert> : null}
          <Text size="sm">On a host that has the agent installed:</Text>
          <Copyable text={made.command} label="Copy the command" />
        </>
      )}
      <Paper withBorder p="md" radius="md" role="status" aria-live="polite">
        {s?.online ? (
          <Group gap="sm"><IconCircleCheck color="var(--green)" /><Box><Text fw={600}>{s.server_name || made.server_name} is here</Text><Text size="sm" c="dimmed">Its agent is connected. Assign the databases that it found.</Text></Box></Group>
        ) : s?.expired ? (
          <Text size="sm" c="red">The command was not used in time. Close this and make another one.</Text>
        ) : (
          <Group gap="sm"><Loader size="sm" /><Text size="sm">{s?.used ? "Enrolled; its agent is starting" : "Waiting for the host"}</Text></Group>
        )}
      </Paper>
      {made.install_command ? <details><summary><Text span size="sm" c="dimmed">The agent is installed there already</Text></summary><Box mt="xs"><Copyable text={made.command} label="Copy the command" /></Box></details> : null}
      <Group justify="flex-end"><Button onClick={() => { if (s?.online) toast(`${made.server_name} is added`); onClose(); }} variant={s?.online ? "filled" : "default"}>{s?.online ? "Done" : "Close"}</Button></Group>
    </Stack>
  );
}
