import { Button, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconFolderPlus, IconFolders } from "../icons";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { api, take } from "../api/client";
import { useAct, useProjects, useStorages } from "../api/queries";
import { encryption } from "../format";
import { Do, Empty, PageHead, Rows, Section, Time } from "../ui/parts";
import { fieldError, ProblemAlert } from "../ui/problem";
import { Modal } from "../ui/modal";

export default function Projects() {
  const projects = useProjects();
  const [opened, dialog] = useDisclosure();
  const add = <Do icon={IconFolderPlus} variant="filled" needs={["manage-projects"]} onClick={dialog.open}>Create project</Do>;
  return (
    <>
      <PageHead title="Projects" actions={projects.data?.items.length ? add : null}>A project owns databases, their schedules and backups, and the key that opens them.</PageHead>
      <Section>
        {projects.isPending ? <Rows /> : projects.error ? <ProblemAlert error={projects.error} again={() => void projects.refetch()} /> : projects.data.items.length === 0 ? (
          <Empty icon={IconFolders} title="No projects yet" action={add}>Create one, grant it a server, and assign the databases that the server's agent found.</Empty>
        ) : (
          <Table highlightOnHover className="stacked">
            <Table.Thead><Table.Tr><Table.Th>Project</Table.Th><Table.Th>Slug</Table.Th><Table.Th>Panel's id</Table.Th><Table.Th>Encryption</Table.Th><Table.Th>Created</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {projects.data.items.map((p) => (
                <Table.Tr key={p.id}>
                  <Table.Td className="wide"><Link href={`/projects/${encodeURIComponent(p.slug)}`} className="row-link">{p.name || p.slug}</Link></Table.Td>
                  <Table.Td data-label="Slug"><span className="mono">{p.slug}</span></Table.Td>
                  <Table.Td data-label="Panel's id">{p.external_id ?? "–"}</Table.Td>
                  <Table.Td data-label="Encryption">{encryption(p.default_encryption)}</Table.Td>
                  <Table.Td data-label="Created"><Time at={p.created_at} /></Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      </Section>
      <CreateProject opened={opened} onClose={dialog.close} />
    </>
  );
}

function CreateProject({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const [, go] = useLocation();
  const storages = useStorages();
  const [slug, setSlug] = useState("");
  const [name, setName] = useState("");
  const [external, setExternal] = useState("");
  const [codec, setCodec] = useState<string | null>("age");
  const [storage, setStorage] = useState<string | null>(null);
  const [schedule, setSchedule] = useState<string | null>("daily");
  const create = useAct(
    () => take(api.POST("/projects", {
      body: {
        slug, name: name || undefined, external_id: external || undefined, default_encryption: codec as "age", default_storage: storage ?? undefined,
        ...(schedule === "daily" ? { default_schedule: { frequency: "daily" as const, time: "02:00", timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, retention_days: 7 } } : {}),
      },
    })), "projects");
  return (
    <Modal opened={opened} onClose={onClose} title="Create project" centered>
      <form onSubmit={(e) => { e.preventDefault(); create.mutate(undefined, { onSuccess: (p) => { onClose(); go(`/projects/${p.slug}`); } }); }}>
        <Stack>
          <TextInput label="Slug" description="a–z, 0–9 and -; what commands and the API name it by" value={slug} onChange={(e) => setSlug(e.currentTarget.value)} required data-autofocus error={fieldError(create.error, "slug")} />
          <TextInput label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(create.error, "name")} />
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <Select label="Encryption" data={[{ value: "age", label: "age" }, { value: "aes-256-cbc", label: "AES-256-CBC" }, { value: "none", label: "None" }]} value={codec} onChange={setCodec} allowDeselect={false} />
            <Select label="Storage" placeholder="The installation's default" clearable data={(storages.data?.items ?? []).map((s) => s.name)} value={storage} onChange={setStorage} error={fieldError(create.error, "default_storage")} />
          </SimpleGrid>
          <Select label="Default schedule" description="Of databases that no other schedule covers, those assigned later too" data={[{ value: "daily", label: "Daily at 02:00, keep 7 days" }, { value: "", label: "None" }]} value={schedule} onChange={setSchedule} allowDeselect={false} />
          <TextInput label="Panel's id" description="Only if a DevFlow panel drives it" value={external} onChange={(e) => setExternal(e.currentTarget.value)} error={fieldError(create.error, "external_id")} />
          {codec === "none" ? <Text size="sm" c="red">Whoever can read the storage can read the data.</Text> : null}
          <ProblemAlert error={create.error} fields={["slug", "name", "external_id", "default_storage"]} />
          <Button type="submit" loading={create.isPending}>Create project</Button>
        </Stack>
      </form>
    </Modal>
  );
}
