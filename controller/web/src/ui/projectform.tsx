// What of a project can be changed: its names, what its backups are made with, and its limits.
import { Group, NumberInput, Select, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { api, ifMatch, take, takeVersion, type Versioned } from "../api/client";
import { useAct, useStorages, type Project } from "../api/queries";
import { Do } from "./parts";
import { EditModal, EditProblem } from "./fresh";
import { fieldError } from "./problem";
import { toast } from "./toast";

export function EditProject({ slug, onClose }: { slug: string; onClose: () => void }) {
  return (
    <EditModal title="Edit project" of={["project", slug]} read={() => takeVersion(api.GET("/projects/{ref}", { params: { path: { ref: slug } } }))} onClose={onClose}>
      {(now, again) => <Form now={now} again={again} onClose={onClose} />}
    </EditModal>
  );
}

const mebi = 2 ** 20;

/** A number that is there, or none. */
const numberOr = (v: number | string, times = 1) => (v === "" ? null : Math.round(Number(v) * times));

function Form({ now, again, onClose }: { now: Versioned<Project>; again: () => void; onClose: () => void }) {
  const p = now.value;
  const storages = useStorages();
  const [name, setName] = useState(p.name);
  const [external, setExternal] = useState(p.external_id ?? "");
  const [codec, setCodec] = useState<string | null>(p.default_encryption);
  const [storage, setStorage] = useState<string | null>(p.default_storage_id ? String(p.default_storage_id) : null);
  const [jobs, setJobs] = useState<number | string>(p.max_jobs_per_hour ?? "");
  const [size, setSize] = useState<number | string>(p.max_bytes_per_day ? p.max_bytes_per_day / mebi : "");
  // Only what was changed is sent: who may not set limits can still change the name.
  const change = {
    ...(name !== p.name ? { name } : {}), ...(external !== (p.external_id ?? "") ? { external_id: external } : {}), ...(codec !== p.default_encryption ? { default_encryption: codec as "age" } : {}),
    ...(storage !== (p.default_storage_id ? String(p.default_storage_id) : null) ? { default_storage: storage ?? "" } : {}),
    ...(numberOr(jobs) !== p.max_jobs_per_hour ? { max_jobs_per_hour: numberOr(jobs) } : {}), ...(numberOr(size, mebi) !== p.max_bytes_per_day ? { max_bytes_per_day: numberOr(size, mebi) } : {}),
  };
  const save = useAct(() => take(api.PATCH("/projects/{ref}", { params: { path: { ref: String(p.id) }, header: ifMatch(now.etag) }, body: change })), "project", "projects", "statistics");
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => { toast("The project is changed"); onClose(); } }); }}>
      <Stack>
        <TextInput label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(save.error, "name")} data-autofocus />
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <Select label="Encryption" data={[{ value: "age", label: "age" }, { value: "aes-256-cbc", label: "AES-256-CBC" }, { value: "none", label: "None" }]} value={codec} onChange={setCodec} allowDeselect={false} error={fieldError(save.error, "default_encryption")} />
          <Select label="Storage" placeholder="The installation's default" clearable data={(storages.data?.items ?? []).map((s) => ({ value: String(s.id), label: s.name }))} value={storage} onChange={setStorage} error={fieldError(save.error, "default_storage")} />
          <NumberInput label="Backups in an hour" description="At most; empty: any number" min={1} allowDecimal={false} value={jobs} onChange={setJobs} error={fieldError(save.error, "max_jobs_per_hour")} />
          <NumberInput label="Stored in a day, MB" description="At most; empty: any size" min={1} allowDecimal={false} thousandSeparator="," value={size} onChange={setSize} error={fieldError(save.error, "max_bytes_per_day")} />
        </SimpleGrid>
        <TextInput label="Panel's id" value={external} onChange={(e) => setExternal(e.currentTarget.value)} error={fieldError(save.error, "external_id")} />
        {codec === "none" ? <Text size="sm" c="red">Whoever can read the storage can read the data.</Text> : null}
        <EditProblem error={save.error} again={() => { save.reset(); again(); }} fields={["name", "external_id", "default_encryption", "default_storage", "max_jobs_per_hour", "max_bytes_per_day"]} />
        <Group justify="flex-end"><Do onClick={onClose}>Cancel</Do><Do type="submit" variant="filled" loading={save.isPending} disabled={!Object.keys(change).length}>Save</Do></Group>
      </Stack>
    </form>
  );
}
