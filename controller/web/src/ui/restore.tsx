// Restore: where to, what would happen, and only then the question with the name to type.
import { Alert, Button, Checkbox, Collapse, Group, List, Loader, NumberInput, Radio, Select, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconAlertTriangle, IconCircleCheck, IconCircleX, IconInfoCircle } from "../icons";
import { useState } from "react";
import { useLocation } from "wouter";
import { api, take, type Schemas } from "../api/client";
import { useAct, useServers, type Backup } from "../api/queries";
import { bytes, databaseName, plural, relative } from "../format";
import { fieldError, ProblemAlert, problemOf } from "./problem";
import { Modal } from "./modal";

type Plan = Schemas["RestorePlan"];

export function PlanView({ plan }: { plan: Plan }) {
  const problems = plan.problems ?? [];
  const found = plan.target.found;
  return (
    <Stack gap="sm">
      <Alert color={plan.can_start ? "green" : "red"} variant="light" icon={plan.can_start ? <IconCircleCheck size={20} /> : <IconCircleX size={20} />} title={plan.can_start ? "It can start" : "It cannot start like this"}>
        <Text size="sm">
          Into <b className="wrap">{plan.target.database}</b> on {plan.target.server} / {plan.target.instance}
          {found ? (found.exists ? `: there is one, with ${plural(found.tables, "table")} in ${bytes(found.size_bytes)}${found.session_count ? ` and ${plural(found.session_count, "open session")}` : ""}.` : ": there is none of that name yet.") : plan.target.looked ? "." : ". The agent could not be asked."}
          {found && found.free_bytes >= 0 ? ` ${bytes(found.free_bytes)} are free.` : ""}
        </Text>
      </Alert>
      {problems.map((p) => (
        <Alert key={p.code + p.text} color={p.stops ? "red" : "yellow"} variant="light" p="xs" icon={p.stops ? <IconCircleX size={18} /> : <IconAlertTriangle size={18} />}>
          <Text size="sm">{p.text}</Text>
          {p.hint ? <Text size="xs" c="dimmed">{p.hint}</Text> : null}
        </Alert>
      ))}
      {plan.steps?.length ? (
        <div>
          <Text size="sm" fw={600} mb={4}>What will be done</Text>
          <List type="ordered" size="sm" spacing={4}>{plan.steps.map((s) => <List.Item key={s}>{s}</List.Item>)}</List>
        </div>
      ) : null}
      {!plan.can_start && plan.possible?.length ? (
        <div>
          <Text size="sm" fw={600} mb={4}>What else can be done</Text>
          <List size="sm" spacing={4}>{plan.possible.map((s) => <List.Item key={s}>{s}</List.Item>)}</List>
        </div>
      ) : null}
    </Stack>
  );
}

export default function RestoreDialog({ backup: b, onClose }: { backup: Backup; onClose: () => void }) {
  const servers = useServers();
  const [, go] = useLocation();
  const [more, extra] = useDisclosure(false);
  const [mode, setMode] = useState<"new" | "in_place">("new");
  const [server, setServer] = useState<string | null>(b.server);
  const [name, setName] = useState(b.database_type === "sqlite" ? b.database_name.replace(/(\.[^./]*)?$/, "_restored$1") : `${b.database_name}_restored`);
  const [sessions, setSessions] = useState<string | null>("refuse");
  const [wait, setWait] = useState<number | string>(60);
  const [keep, setKeep] = useState<number | string>(72);
  const [safety, setSafety] = useState(true);
  const [owners, setOwners] = useState(false);
  const [typed, setTyped] = useState("");
  const [plan, setPlan] = useState<Plan | null>(null);
  const inPlace = mode === "in_place";
  const target = inPlace ? b.database_name : name;
  const request = (): Schemas["CreateRestore"] => ({
    backup_id: b.id, to_server: server && server !== b.server ? server : undefined, to_database: target,
    ...(inPlace ? { in_place: true, sessions: (sessions as "refuse") ?? undefined, wait_seconds: sessions === "wait" ? Number(wait) : undefined, keep_seconds: Number(keep) * 3600, skip_safety_backup: !safety || undefined, identity: plan?.target.found?.identity } : {}),
    ...(b.database_type === "postgresql" && owners ? { choices: { owners: true, privileges: true } } : {}),
  });
  const ask = useAct(() => take(api.POST("/restores/plan", { body: { ...request(), identity: undefined } })));
  const start = useAct(() => take(api.POST("/restores", { body: { ...request(), confirm: inPlace ? typed : undefined } })), "restores", "backups");
  const look = () => ask.mutate(undefined, { onSuccess: setPlan });
  const back = () => {
    setPlan(null);
    setTyped("");
    start.reset();
  };
  const refusedProblems = problemOf(start.error)?.problems ?? [];
  const usable = (servers.data?.items ?? []).filter((s) => !s.revoked_at && (s.instances ?? []).some((i) => i.engine === b.database_type && (i.restore || i.in_place)));
  return (
    <Modal opened onClose={onClose} title={plan ? "Restore: what would happen" : `Restore ${databaseName(b.database_name)}`} size="lg" centered>
      {plan ? (
        <form onSubmit={(e) => { e.preventDefault(); start.mutate(undefined, { onSuccess: (r) => { onClose(); go(`/restores/${r.id}`); } }); }}>
          <Stack>
            <PlanView plan={plan} />
            {plan.can_start && inPlace ? (
              <Alert color="red" variant="light" icon={<IconAlertTriangle size={20} />} title="This replaces data">
                <Text size="sm" mb="xs">What is in <b className="wrap">{target}</b> now is replaced by the backup of {relative(b.completed_at)}. {safety ? "It is backed up first. " : ""}It is kept aside for {keep} hours: until then it can be undone.</Text>
                <TextInput label={<>Type <b className="wrap">{target}</b> to confirm</>} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus error={fieldError(start.error, "confirm")} />
              </Alert>
            ) : null}
            <ProblemAlert error={start.error} fields={["confirm"]} />
            {refusedProblems.map((p) => <Text key={p.code + p.text} size="sm" c={p.stops ? "red" : undefined}>{p.text} {p.hint}</Text>)}
            <Group justify="flex-end">
              <Button variant="default" onClick={back} type="button">Back</Button>
              {plan.can_start ? <Button type="submit" color={inPlace ? "red" : undefined} loading={start.isPending} disabled={inPlace && typed !== target}>{inPlace ? "Replace it" : "Restore"}</Button> : <Button type="button" onClick={look} loading={ask.isPending}>Look again</Button>}
            </Group>
          </Stack>
        </form>
      ) : (
        <form onSubmit={(e) => { e.preventDefault(); look(); }}>
          <Stack>
            <Text size="sm" c="dimmed">From {relative(b.completed_at)}, {bytes(b.raw_size)} of a dump on {b.storage}{b.verified_at ? "" : ", not verified yet"}. Nothing is changed before you have seen the plan.</Text>
            <Radio.Group value={mode} onChange={(v) => setMode(v as "new")} label="Where to" name="mode">
              <Stack gap="xs" mt="xs">
                <Radio value="new" label="Into a new database" description="Beside what is there. Nothing that exists is touched." />
                <Radio value="in_place" label="In place" description={`Replaces ${databaseName(b.database_name)}. What is there is kept for a time, and can be brought back.`} />
              </Stack>
            </Radio.Group>
            <SimpleGrid cols={{ base: 1, xs: 2 }}>
              <Select label="Server" value={server} onChange={setServer} allowDeselect={false} disabled={b.same_host}
                data={[...new Set([b.server, ...usable.map((s) => s.name)])]} description={b.same_host ? "It lies on this host alone" : undefined} error={fieldError(ask.error, "to_server")} />
              {inPlace ? <TextInput label="Database" value={b.database_name} readOnly /> : <TextInput label={b.database_type === "sqlite" ? "File of the new database" : "Name of the new database"} value={name} onChange={(e) => setName(e.currentTarget.value)} required spellCheck={false} error={fieldError(ask.error, "to_database")} />}
            </SimpleGrid>
            {inPlace ? (
              <>
                <SimpleGrid cols={{ base: 1, xs: 2 }}>
                  <Select label="Programs that use it" value={sessions} onChange={setSessions} allowDeselect={false}
                    data={[{ value: "refuse", label: "Stop, and leave it untouched" }, { value: "wait", label: "Wait until they are gone" }, ...(b.database_type === "sqlite" ? [] : [{ value: "end", label: "End their sessions" }])]} />
                  {sessions === "wait" ? <NumberInput label="Wait at most, seconds" min={1} max={600} value={wait} onChange={setWait} /> : null}
                  <NumberInput label="Keep what is replaced, hours" min={1} max={2160} value={keep} onChange={setKeep} error={fieldError(ask.error, "keep_seconds")} />
                </SimpleGrid>
                <Checkbox label="Back up what is there first" checked={safety} onChange={(e) => setSafety(e.currentTarget.checked)} />
              </>
            ) : null}
            {b.database_type === "postgresql" ? (
              <>
                <Button variant="subtle" size="compact-sm" onClick={extra.toggle} type="button" aria-expanded={more}>More choices</Button>
                <Collapse in={more}><Checkbox label="With owners and grants" description="Objects belong to the roles that they belonged to" checked={owners} onChange={(e) => setOwners(e.currentTarget.checked)} /></Collapse>
              </>
            ) : null}
            {b.encryption === "none" ? <Alert color="yellow" variant="light" icon={<IconInfoCircle size={18} />} p="xs"><Text size="sm">It is not encrypted: it is read whole once before anything is restored.</Text></Alert> : null}
            <ProblemAlert error={ask.error} fields={["to_database", "to_server", "keep_seconds"]} />
            <Group justify="flex-end">
              {ask.isPending ? <Group gap={6}><Loader size="xs" /><Text size="sm" c="dimmed">The agent looks at the target</Text></Group> : null}
              <Button variant="default" onClick={onClose} type="button">Cancel</Button>
              <Button type="submit" loading={ask.isPending}>Show what would happen</Button>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
