import { Alert, Badge, Button, Checkbox, Group, MultiSelect, PasswordInput, Select, SimpleGrid, Stack, Switch, Table, Tabs, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { IconKey, IconPencil, IconPlus, IconRefresh, IconTrash, IconUserPlus, IconUsers } from "../icons";
import { useState } from "react";
import { api, ifMatch, take, takeVersion, type Schemas, type Versioned } from "../api/client";
import { useSession } from "../api/session";
import { useAct, useProjects } from "../api/queries";
import { permissionWords } from "../permission";
import { Confirm } from "../ui/dialog";
import { Act, Copyable, Do, Empty, PageHead, Rows, Section, Time } from "../ui/parts";
import { EditModal, EditProblem } from "../ui/fresh";
import { fieldError, ProblemAlert } from "../ui/problem";
import { refused, toast } from "../ui/toast";
import { Modal } from "../ui/modal";

type Token = Schemas["APIToken"];
type User = Schemas["User"];

export default function Access() {
  return (
    <>
      <PageHead title="People and tokens">Who signs in here and which programs ask: what each may do, and in which projects. Nobody gives more than they have.</PageHead>
      <Tabs defaultValue="people" keepMounted={false}>
        <Tabs.List mb="lg"><Tabs.Tab value="people" leftSection={<IconUsers size={16} />}>People</Tabs.Tab><Tabs.Tab value="tokens" leftSection={<IconKey size={16} />}>API tokens</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="people"><People /></Tabs.Panel>
        <Tabs.Panel value="tokens"><Tokens /></Tabs.Panel>
      </Tabs>
    </>
  );
}

function Rights({ permissions, admin, projects }: { permissions: readonly string[] | null; admin?: boolean; projects: readonly number[] | null }) {
  return (
    <>
      <Group gap={4}>{admin ? <Badge className="badge" variant="light" color="grape">Administrator</Badge> : (permissions ?? []).map((p) => <Badge key={p} size="sm" className="badge" variant="default">{p}</Badge>)}</Group>
      <Text size="xs" c="dimmed" mt={2}>{projects === null ? "All projects" : `${projects.length} ${projects.length === 1 ? "project" : "projects"}`}</Text>
    </>
  );
}

function RightsFields({ permissions, setPermissions, projects, setProjects, error }: { permissions: string[]; setPermissions: (v: string[]) => void; projects: string[]; setProjects: (v: string[]) => void; error: unknown }) {
  const { who } = useSession();
  const all = useProjects();
  return (
    <>
      <Checkbox.Group label="May" value={permissions} onChange={setPermissions} error={fieldError(error, "permissions")}>
        <SimpleGrid cols={{ base: 1, xs: 2 }} spacing={8} mt="xs">
          {(who.all_permissions ?? []).map((p) => <Checkbox key={p} value={p} label={permissionWords(p)} disabled={!(who.permissions ?? []).includes(p)} size="sm" />)}
        </SimpleGrid>
      </Checkbox.Group>
      <MultiSelect label="Projects" placeholder={projects.length ? undefined : "All projects"} searchable clearable data={(all.data?.items ?? []).map((p) => p.slug)} value={projects} onChange={setProjects} error={fieldError(error, "projects")} />
    </>
  );
}

function People() {
  const list = useQuery({ queryKey: ["users"], queryFn: ({ signal }) => take(api.GET("/users", { params: { query: { limit: 200 } }, signal })) });
  const [adding, setAdding] = useState(false);
  const [removed, setRemoved] = useState<User | null>(null);
  const [edited, setEdited] = useState<string | null>(null);
  const { who } = useSession();
  const remove = useAct((u: User) => take(api.DELETE("/users/{ref}", { params: { path: { ref: u.name } } })), "users");
  const disable = useAct((u: User) => take(api.PATCH("/users/{ref}", { params: { path: { ref: u.name } }, body: { disabled: !u.disabled_at } })), "users");
  const add = <Do icon={IconUserPlus} variant="filled" needs={["manage-tokens"]} onClick={() => setAdding(true)}>Add a person</Do>;
  return (
    <Section title="People" actions={list.data?.items.length ? add : null}>
      {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} /> : list.data!.items.length === 0 ? <Empty icon={IconUsers} title="Nobody signs in here yet" action={add}>Add people, or let them sign in by OpenID Connect.</Empty> : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>May</Table.Th><Table.Th>Signs in by</Table.Th><Table.Th>Last sign-in</Table.Th><Table.Th>Enabled</Table.Th><Table.Th /></Table.Tr></Table.Thead>
          <Table.Tbody>
            {list.data!.items.map((u) => (
              <Table.Tr key={u.id}>
                <Table.Td className="wide"><Text size="sm" fw={600}>{u.display_name || u.name}</Text><Text size="xs" c="dimmed">{u.name}</Text></Table.Td>
                <Table.Td className="wide"><Rights permissions={u.permissions} admin={u.admin} projects={u.projects} /></Table.Td>
                <Table.Td data-label="Signs in by">{u.issuer ? "OpenID Connect" : u.has_password ? "Password" : "No password yet"}</Table.Td>
                <Table.Td data-label="Last sign-in"><Time at={u.last_sign_in_at} /></Table.Td>
                <Table.Td data-label="Enabled"><Switch checked={!u.disabled_at} disabled={u.id === who.user_id} onChange={() => disable.mutate(u, { onError: refused })} aria-label={`${u.name}: enabled`} /></Table.Td>
                <Table.Td className="wide"><div className="actions"><Act label="Edit" icon={IconPencil} needs={["manage-tokens"]} onClick={() => setEdited(u.name)} /><Act label="Delete" icon={IconTrash} color="red" needs={["manage-tokens"]} disabled={u.id === who.user_id} why="This is you" onClick={() => setRemoved(u)} /></div></Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {edited ? <EditPerson name={edited} onClose={() => setEdited(null)} /> : null}
      {adding ? <AddPerson onClose={() => setAdding(false)} /> : null}
      <Confirm opened={removed !== null} onClose={() => setRemoved(null)} title="Delete this person?" action="Delete" color="red" run={() => remove.mutateAsync(removed!)}>
        <b>{removed?.name}</b> is signed out everywhere. The audit log keeps the name.
      </Confirm>
    </Section>
  );
}

function AddPerson({ onClose }: { onClose: () => void }) {
  const { who } = useSession();
  const [name, setName] = useState("");
  const [display, setDisplay] = useState("");
  const [password, setPassword] = useState("");
  const [admin, setAdmin] = useState(false);
  const [permissions, setPermissions] = useState<string[]>(["view-backups"]);
  const [projects, setProjects] = useState<string[]>([]);
  const create = useAct(() => take(api.POST("/users", { body: { name, display_name: display || undefined, password: password || undefined, admin, ...(admin ? {} : { permissions }), ...(projects.length ? { projects } : {}) } })), "users");
  return (
    <Modal opened onClose={onClose} title="Add a person" size="lg" centered>
      <form onSubmit={(e) => { e.preventDefault(); create.mutate(undefined, { onSuccess: () => { toast(`${name} can sign in`); onClose(); } }); }}>
        <Stack>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput label="User name" required data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(create.error, "name")} autoComplete="off" />
            <TextInput label="Full name" value={display} onChange={(e) => setDisplay(e.currentTarget.value)} error={fieldError(create.error, "display_name")} />
          </SimpleGrid>
          <PasswordInput label="Password" description="At least 12 characters" value={password} onChange={(e) => setPassword(e.currentTarget.value)} error={fieldError(create.error, "password")} autoComplete="new-password" />
          <Checkbox label="Administrator" description="Every permission, in the projects below" checked={admin} disabled={!who.admin && who.permissions?.length !== who.all_permissions?.length} onChange={(e) => setAdmin(e.currentTarget.checked)} />
          {admin ? null : <RightsFields {...{ permissions, setPermissions, projects, setProjects }} error={create.error} />}
          <ProblemAlert error={create.error} fields={["name", "display_name", "password", "permissions", "projects"]} />
          <Button type="submit" loading={create.isPending}>Add</Button>
        </Stack>
      </form>
    </Modal>
  );
}

function EditPerson({ name, onClose }: { name: string; onClose: () => void }) {
  return (
    <EditModal title={`Edit ${name}`} size="lg" of={["user", name]} read={() => takeVersion(api.GET("/users/{ref}", { params: { path: { ref: name } } }))} onClose={onClose}>
      {(now, again) => <PersonForm now={now} again={again} onClose={onClose} />}
    </EditModal>
  );
}

function PersonForm({ now, again, onClose }: { now: Versioned<User>; again: () => void; onClose: () => void }) {
  const u = now.value;
  const { who } = useSession();
  const self = u.id === who.user_id;
  const all = useProjects();
  const [display, setDisplay] = useState(u.display_name);
  const [admin, setAdmin] = useState(u.admin);
  const [permissions, setPermissions] = useState<string[]>(u.permissions ?? []);
  const [chosen, setProjects] = useState<string[] | null>(null);
  const [password, setPassword] = useState("");
  // Until it is changed it is what it was; slugs are known once the projects are.
  const projects = chosen ?? (u.projects ?? []).flatMap((id) => all.data?.items.find((p) => p.id === id)?.slug ?? []);
  const params = { path: { ref: u.name }, header: ifMatch(now.etag) };
  const save = useAct(async () => {
    await take(api.PATCH("/users/{ref}", {
      params,
      body: {
        ...(display !== u.display_name ? { display_name: display } : {}), ...(admin !== u.admin ? { admin } : {}), ...(!admin && !self ? { permissions } : {}),
        ...(chosen === null ? {} : chosen.length ? { projects: chosen } : { all_projects: true }),
      },
    }));
    if (password) await take(api.PUT("/users/{ref}/password", { params: { path: { ref: u.name } }, body: { password } }));
  }, "users");
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => { toast(`${u.name} is changed`); onClose(); } }); }}>
      <Stack>
        <TextInput label="Full name" value={display} onChange={(e) => setDisplay(e.currentTarget.value)} error={fieldError(save.error, "display_name")} data-autofocus />
        {u.issuer ? <Text size="sm" c="dimmed">Signs in by OpenID Connect: what the groups of the provider say is set anew at each sign-in.</Text> : self ? null : (
          <PasswordInput label="New password" description="Signs the person out everywhere; left as it is if empty" value={password} onChange={(e) => setPassword(e.currentTarget.value)} error={fieldError(save.error, "password")} autoComplete="new-password" />
        )}
        {self ? <Text size="sm" c="dimmed">What you may do is changed by someone else, your password in the settings.</Text> : (
          <>
            <Checkbox label="Administrator" description="Every permission, in the projects below" checked={admin} disabled={!who.admin && who.permissions?.length !== who.all_permissions?.length} onChange={(e) => setAdmin(e.currentTarget.checked)} />
            {admin ? null : <RightsFields {...{ permissions, setPermissions, projects, setProjects }} error={save.error} />}
          </>
        )}
        <EditProblem error={save.error} again={() => { save.reset(); again(); }} fields={["display_name", "password", "permissions", "projects"]} />
        <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do type="submit" variant="filled" loading={save.isPending}>Save</Do></Group>
      </Stack>
    </form>
  );
}

function Tokens() {
  const list = useQuery({ queryKey: ["tokens"], queryFn: ({ signal }) => take(api.GET("/tokens", { signal })) });
  const [adding, setAdding] = useState(false);
  const [revoked, setRevoked] = useState<Token | null>(null);
  const [secret, setSecret] = useState<{ name: string; token: string } | null>(null);
  const revoke = useAct((t: Token) => take(api.DELETE("/tokens/{id}", { params: { path: { id: t.id } } })), "tokens");
  const rotate = useAct((t: Token) => take(api.POST("/tokens/{id}/rotate", { params: { path: { id: t.id } }, body: {} })), "tokens");
  const add = <Do icon={IconPlus} variant="filled" needs={["manage-tokens"]} onClick={() => setAdding(true)}>Create token</Do>;
  const all = [...(list.data?.items ?? [])].sort((a, b) => Number(!!a.revoked_at) - Number(!!b.revoked_at));
  return (
    <Section title="API tokens" actions={all.length ? add : null}>
      {list.isPending ? <Rows /> : list.error && !list.data ? <ProblemAlert error={list.error} /> : all.length === 0 ? <Empty icon={IconKey} title="No tokens yet" action={add}>A token is how a program asks: devflowctl, the panel, a deploy hook.</Empty> : (
        <Table className="stacked">
          <Table.Thead><Table.Tr><Table.Th>Token</Table.Th><Table.Th>May</Table.Th><Table.Th>Last used</Table.Th><Table.Th>Expires</Table.Th><Table.Th /></Table.Tr></Table.Thead>
          <Table.Tbody>
            {all.map((t) => (
              <Table.Tr key={t.id} opacity={t.revoked_at ? 0.65 : 1}>
                <Table.Td className="wide"><Group gap={8}><Text size="sm" fw={600}>{t.name}</Text>{t.kind === "panel" ? <Badge className="badge" variant="light" color="grape">Panel</Badge> : null}{t.revoked_at ? <Badge className="badge" variant="light" color="gray">Revoked</Badge> : null}</Group><Text size="xs" c="dimmed">created <Time at={t.created_at} />{t.previous_until ? <>, its secret before works until <Time at={t.previous_until} /></> : null}</Text></Table.Td>
                <Table.Td className="wide"><Rights permissions={t.permissions} projects={t.projects} /></Table.Td>
                <Table.Td data-label="Last used"><Time at={t.last_used_at} /></Table.Td>
                <Table.Td data-label="Expires"><Time at={t.expires_at} /></Table.Td>
                <Table.Td className="wide">
                  {t.revoked_at ? null : (
                    <div className="actions">
                      <Act label="New secret" icon={IconRefresh} needs={["manage-tokens"]} onClick={() => rotate.mutate(t, { onSuccess: (n) => setSecret({ name: t.name, token: n.token }), onError: refused })} />
                      <Act label="Revoke" icon={IconTrash} color="red" needs={["manage-tokens"]} onClick={() => setRevoked(t)} />
                    </div>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      )}
      {adding ? <AddToken onClose={() => setAdding(false)} done={setSecret} /> : null}
      <Modal opened={secret !== null} onClose={() => setSecret(null)} title={`The secret of ${secret?.name ?? ""}`} centered>
        <Stack><Alert color="yellow" variant="light" p="xs"><Text size="sm">It is shown this once. Whoever has it can do what the token may.</Text></Alert><Copyable text={secret?.token ?? ""} label="Copy the token" /><Button onClick={() => setSecret(null)}>I have it</Button></Stack>
      </Modal>
      <Confirm opened={revoked !== null} onClose={() => setRevoked(null)} title="Revoke this token?" action="Revoke" color="red" run={() => revoke.mutateAsync(revoked!)}>
        Programs that use <b>{revoked?.name}</b> are refused from now on.
      </Confirm>
    </Section>
  );
}

function AddToken({ onClose, done }: { onClose: () => void; done: (s: { name: string; token: string }) => void }) {
  const [name, setName] = useState("");
  const [kind, setKind] = useState<string | null>("api");
  const [days, setDays] = useState<string | null>("365");
  const [permissions, setPermissions] = useState<string[]>(["view-backups"]);
  const [projects, setProjects] = useState<string[]>([]);
  const create = useAct(() => take(api.POST("/tokens", { body: { name, kind: kind as "api", permissions, ttl_seconds: Number(days) * 86_400, ...(projects.length ? { projects } : {}) } })), "tokens");
  return (
    <Modal opened onClose={onClose} title="Create token" size="lg" centered>
      <form onSubmit={(e) => { e.preventDefault(); create.mutate(undefined, { onSuccess: (t) => { onClose(); done({ name: t.name, token: t.token }); } }); }}>
        <Stack>
          <TextInput label="Name" description="What uses it" required data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(create.error, "name")} />
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <Select label="Kind" value={kind} onChange={setKind} allowDeselect={false} data={[{ value: "api", label: "A program that asks for itself" }, { value: "panel", label: "A panel that asks for its users" }]} />
            <Select label="Expires" value={days} onChange={setDays} allowDeselect={false} data={[{ value: "30", label: "In 30 days" }, { value: "90", label: "In 90 days" }, { value: "365", label: "In a year" }, { value: "0", label: "Never" }]} />
          </SimpleGrid>
          <RightsFields {...{ permissions, setPermissions, projects, setProjects }} error={create.error} />
          <ProblemAlert error={create.error} fields={["name", "permissions", "projects"]} />
          <Button type="submit" loading={create.isPending}>Create token</Button>
        </Stack>
      </form>
    </Modal>
  );
}
