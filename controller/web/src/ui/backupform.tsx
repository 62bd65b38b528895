// Create Backup Now: which database, and the few choices that there are.
import { Button, Collapse, Select, SimpleGrid, Stack } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";
import { api, take } from "../api/client";
import { useAct, useDatabases, useStorages } from "../api/queries";
import { bytes, databaseName, engine, plural } from "../format";
import { fieldError, ProblemAlert } from "./problem";
import { toast } from "./toast";
import { Modal } from "./modal";

export function CreateBackup({ project, onClose }: { project: string; onClose: () => void }) {
  const databases = useDatabases({ project });
  const storages = useStorages();
  const [more, extra] = useDisclosure(false);
  const [kind, setKind] = useState<string | null>("");
  const [database, setDatabase] = useState<string | null>("");
  const [storage, setStorage] = useState<string | null>(null);
  const [codec, setCodec] = useState<string | null>(null);
  const [compression, setCompression] = useState<string | null>(null);
  const [verify, setVerify] = useState<string | null>("none");
  const found = databases.data?.items ?? [];
  const engines = [...new Set(found.map((d) => d.engine))];
  const fitting = found.filter((d) => !kind || d.engine === kind);
  const create = useAct(
    () => take(api.POST("/backups", {
      body: {
        project, database: database || undefined, storage: storage ?? undefined, encryption: (codec as "age") ?? undefined, compression: (compression as "zstd") ?? undefined, verify_after: (verify as "none") ?? undefined,
      },
    })), "backups", "statistics");
  const submit = () => create.mutate(undefined, {
    onSuccess: (out) => {
      const bad = out.items.filter((i) => i.error);
      if (bad.length) toast(`${plural(bad.length, "database")} could not be ordered: ${bad[0]!.error!.detail}`, { hint: bad[0]!.error!.hint, bad: true });
      else toast(out.items.length === 1 ? `A backup of ${databaseName(out.items[0]!.database)} is ordered` : `${plural(out.items.length, "backup")} are ordered`);
      onClose();
    },
  });
  return (
    <Modal opened onClose={onClose} title="Create Backup Now" centered>
      <form onSubmit={(e) => { e.preventDefault(); submit(); }}>
        <Stack>
          <Select label="Engine" data={[{ value: "", label: "Any" }, ...engines.map((v) => ({ value: v, label: engine(v) }))]} value={kind} onChange={(v) => { setKind(v); setDatabase(""); }} allowDeselect={false} />
          <Select label="Database" searchable allowDeselect={false} value={database} onChange={setDatabase} error={fieldError(create.error, "database")} data-autofocus
            data={[{ value: "", label: kind ? `Each of the project's (${plural(found.length, "database")})` : `All of the project (${plural(found.length, "database")})` }, ...fitting.map((d) => ({ value: String(d.id), label: `${databaseName(d.name)} · ${d.server} · ${bytes(d.size_bytes)}` }))]}
            description={databases.isSuccess && !found.length ? "No database is assigned to this project yet: assign one below." : undefined} />
          <Select label="Verify once it is there" value={verify} onChange={setVerify} allowDeselect={false} data={[{ value: "none", label: "No" }, { value: "checksum", label: "Checksum" }, { value: "content", label: "Content" }]} />
          <Button variant="subtle" size="compact-sm" onClick={extra.toggle} type="button" aria-expanded={more}>{more ? "Fewer choices" : "Storage, encryption, compression"}</Button>
          <Collapse in={more}>
            <SimpleGrid cols={{ base: 1, xs: 3 }}>
              <Select label="Storage" placeholder="Default" clearable data={(storages.data?.items ?? []).map((s) => s.name)} value={storage} onChange={setStorage} error={fieldError(create.error, "storage")} />
              <Select label="Encryption" placeholder="The project's" clearable data={[{ value: "age", label: "age" }, { value: "aes-256-cbc", label: "AES-256-CBC" }, { value: "none", label: "None" }]} value={codec} onChange={setCodec} />
              <Select label="Compression" placeholder="zstd" clearable data={["zstd", "gzip", "none"]} value={compression} onChange={setCompression} />
            </SimpleGrid>
          </Collapse>
          <ProblemAlert error={create.error} fields={["database", "storage"]} />
          <Button type="submit" loading={create.isPending} disabled={!found.length}>Create Backup</Button>
        </Stack>
      </form>
    </Modal>
  );
}
