import { Anchor, Code, Group, NumberInput, Select, Stack, Text, TextInput } from "@mantine/core";
import { IconArrowBackUp, IconClockPlus, IconPlayerStop, IconTrash } from "../icons";
import { useState } from "react";
import { Link } from "wouter";
import { api, take, type Schemas } from "../api/client";
import { open, useAct, useJob, useRestore, type Restore } from "../api/queries";
import { absolute, between, count, databaseName, duration, plural, sentence } from "../format";
import { Confirm } from "../ui/dialog";
import { Do, EngineBadge, Fact, Facts, PageHead, Rows, Section, Status, Time } from "../ui/parts";
import { ProblemAlert } from "../ui/problem";
import { JobProgress } from "../ui/progress";
import { PlanView } from "../ui/restore";
import { toast } from "../ui/toast";
import { Log } from "./backup";
import { Modal } from "../ui/modal";

const targets: Record<string, string> = { untouched: "Untouched: it is as it was", replaced: "It has the restored content", unknown: "Not known: only its server can tell, and is asked when its agent is back" };

export default function RestorePage({ id }: { id: number }) {
  const restore = useRestore(id);
  const r = restore.data;
  const job = useJob(r?.job_id ?? 0, !!r && open(r.status));
  const [dialog, setDialog] = useState<"cancel" | "undo" | "discard" | "keep" | null>(null);
  const cancel = useAct(() => take(api.POST("/restores/{id}/cancel", { params: { path: { id } } })), "restore", "restores");
  const discard = useAct((confirm: string) => take(api.POST("/restores/{id}/discard", { params: { path: { id } }, body: { confirm } })), "restore", "restores");
  if (!r) {
    return (
      <>
        <PageHead title={`Restore ${id}`} back={{ to: "/restores", label: "Restores" }} />
        {restore.error ? <ProblemAlert error={restore.error} again={() => void restore.refetch()} /> : <Section><Rows n={5} /></Section>}
      </>
    );
  }
  const kept = r.kept_state === "kept";
  const result = (r.result ?? {}) as { tables?: number; rows?: number; statements?: number; warnings?: string[] };
  return (
    <>
      <PageHead back={{ to: "/restores", label: "Restores" }} title={`${r.kind === "undo" ? "Undo in" : "Restore into"} ${databaseName(r.database_name)}`}
        actions={
          <>
            {open(r.status) ? <Do icon={IconPlayerStop} color="red" needs={["restore-backups"]} onClick={() => setDialog("cancel")}>Cancel</Do> : null}
            {kept ? <Do icon={IconClockPlus} needs={["restore-backups"]} onClick={() => setDialog("keep")}>Keep longer</Do> : null}
            {kept ? <Do icon={IconTrash} color="red" needs={["restore-backups"]} onClick={() => setDialog("discard")}>Discard what was kept</Do> : null}
            {kept ? <Do icon={IconArrowBackUp} variant="filled" color="orange" needs={["restore-backups"]} onClick={() => setDialog("undo")}>Undo</Do> : null}
          </>
        }>
        <Group gap={8}><EngineBadge name={r.engine} /><Status status={r.status} /><span>{r.in_place ? "In place" : "New database"} on {r.server} / {r.instance}</span></Group>
      </PageHead>
      {open(r.status) ? <Section padded><JobProgress progress={r.progress} status={r.status} waiting={r.waiting} /></Section> : null}
      {r.status === "failed" ? <Section padded><Stack gap={6}><Text fw={600} c="red" className="wrap">{sentence(r.error_message)}</Text>{r.error_hint ? <Text size="sm">{sentence(r.error_hint)}</Text> : null}<Text size="xs" c="dimmed">Code <Code>{r.error_code}</Code></Text></Stack></Section> : null}
      <Section title="Restore">
        <Facts>
          <Fact label="From"><Anchor component={Link} href={`/backups/${r.backup_id}`}>Backup {r.backup_id}</Anchor> of {r.project}</Fact>
          <Fact label="Into"><span className="wrap">{r.database_name}</span></Fact>
          <Fact label="Created"><Time at={r.created_at} both /></Fact>
          <Fact label="Duration">{duration(between(r.started_at, r.completed_at))}</Fact>
          {r.target_state ? <Fact label="The target">{targets[r.target_state] ?? r.target_state}</Fact> : null}
          {r.safety_backup_id ? <Fact label="Backup of what was there"><Anchor component={Link} href={`/backups/${r.safety_backup_id}`}>Backup {r.safety_backup_id}</Anchor> {r.safety_status}</Fact> : null}
          {r.kept_state ? <Fact label="What it replaced">{kept ? <>kept as <span className="mono">{r.kept_name}</span> until {absolute(r.kept_until)}</> : r.kept_state}{r.kept_error ? <Text size="xs" c="red">{r.kept_error}</Text> : null}</Fact> : null}
          {r.undo_of ? <Fact label="Undoes"><Anchor component={Link} href={`/restores/${r.undo_of}`}>Restore {r.undo_of}</Anchor></Fact> : null}
          {r.undone_by ? <Fact label="Undone by"><Anchor component={Link} href={`/restores/${r.undone_by}`}>Restore {r.undone_by}</Anchor></Fact> : null}
          {result.tables !== undefined ? <Fact label="Restored">{plural(result.tables, "table")}{result.rows !== undefined ? `, ${count(result.rows)} rows` : ""}</Fact> : null}
        </Facts>
      </Section>
      <Log job={job.data} error={job.error} loading={job.isPending} />
      <Confirm opened={dialog === "cancel"} onClose={() => setDialog(null)} title="Cancel this restore?" action="Cancel restore" color="red" run={() => cancel.mutateAsync(undefined)}>
        It is stopped unless its swap has begun; the target stays untouched.
      </Confirm>
      {dialog === "undo" ? <Undo r={r} onClose={() => setDialog(null)} /> : null}
      {dialog === "keep" ? <Keep r={r} onClose={() => setDialog(null)} /> : null}
      <Confirm opened={dialog === "discard"} onClose={() => setDialog(null)} title="Discard what was kept?" action="Discard" color="red" typed={r.database_name} run={() => discard.mutateAsync(r.database_name)}>
        What the restore replaced is removed now. It cannot be undone after that.
      </Confirm>
    </>
  );
}

function Undo({ r, onClose }: { r: Restore; onClose: () => void }) {
  const [sessions, setSessions] = useState<string | null>("refuse");
  const [typed, setTyped] = useState("");
  const [plan, setPlan] = useState<Schemas["RestorePlan"] | null>(null);
  const path = { params: { path: { id: r.id } } };
  const ask = useAct(() => take(api.POST("/restores/{id}/undo/plan", { ...path, body: { sessions: sessions as "refuse" } })));
  const start = useAct(() => take(api.POST("/restores/{id}/undo", { ...path, body: { sessions: sessions as "refuse", confirm: typed, identity: plan?.target.found?.identity } })), "restores", "restore");
  return (
    <Modal opened onClose={onClose} title="Undo this restore" size="lg" centered>
      <form onSubmit={(e) => {
        e.preventDefault();
        if (!plan) ask.mutate(undefined, { onSuccess: setPlan });
        else start.mutate(undefined, { onSuccess: () => { toast("The undo is ordered"); onClose(); } });
      }}>
        <Stack>
          <Text size="sm">Brings back what was in <b>{r.database_name}</b> before. What is there now is kept in its turn, and can be brought back likewise.</Text>
          {plan ? (
            <>
              <PlanView plan={plan} />
              {plan.can_start ? <TextInput label={<>Type <b className="wrap">{r.database_name}</b> to confirm</>} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus /> : null}
            </>
          ) : (
            <Select label="Programs that use it" value={sessions} onChange={setSessions} allowDeselect={false} data={[{ value: "refuse", label: "Stop, and leave it untouched" }, ...(r.engine === "sqlite" ? [] : [{ value: "end", label: "End their sessions" }])]} />
          )}
          <ProblemAlert error={start.error ?? ask.error} />
          <Group justify="flex-end">
            <Do onClick={plan ? () => setPlan(null) : onClose}>{plan ? "Back" : "Cancel"}</Do>
            {plan ? <Do type="submit" variant="filled" color="orange" loading={start.isPending} disabled={!plan.can_start || typed !== r.database_name}>Undo</Do> : <Do type="submit" variant="filled" loading={ask.isPending}>Show what would happen</Do>}
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Keep({ r, onClose }: { r: Restore; onClose: () => void }) {
  const [hours, setHours] = useState<number | string>(240);
  const save = useAct(() => take(api.POST("/restores/{id}/keep", { params: { path: { id: r.id } }, body: { keep_seconds: Number(hours) * 3600 } })), "restore", "restores");
  return (
    <Modal opened onClose={onClose} title="Keep what was replaced for longer" centered>
      <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: onClose }); }}>
        <Stack>
          <NumberInput label="Hours from now" min={1} max={2160} value={hours} onChange={setHours} data-autofocus />
          <ProblemAlert error={save.error} />
          <Do type="submit" variant="filled" loading={save.isPending}>Keep it</Do>
        </Stack>
      </form>
    </Modal>
  );
}
