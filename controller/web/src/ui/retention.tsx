// What retention would remove and keep, with the reason for each.
import { Badge, List, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { api, take } from "../api/client";
import { useAct } from "../api/queries";
import { bytes, databaseName, plural } from "../format";
import { Do, Rows, Time } from "./parts";
import { ProblemAlert } from "./problem";
import { toast } from "./toast";
import { Modal } from "./modal";

export function Retention({ project, onClose }: { project: string; onClose: () => void }) {
  const plan = useQuery({ queryKey: ["cleanup", project], staleTime: 0, retry: false, queryFn: () => take(api.POST("/cleanup", { body: { project, dry_run: true } })) });
  const run = useAct(() => take(api.POST("/cleanup", { body: { project, dry_run: false } })), "backups", "statistics", "cleanup");
  const p = plan.data;
  return (
    <Modal opened onClose={onClose} title="What retention keeps and removes" size="xl" centered>
      <Stack>
        {plan.isPending ? <Rows /> : plan.error ? <ProblemAlert error={plan.error} /> : p ? (
          <>
            <Text size="sm">
              {plural(p.kept, "backup")} kept, {p.removed} removed{p.removed ? `, which frees ${bytes(p.removed_bytes)}` : ""}{p.postponed ? `, ${p.postponed} later` : ""}. Nothing is changed by looking.
            </Text>
            <div style={{ overflowX: "auto" }}>
              <Table className="stacked">
                <Table.Thead><Table.Tr><Table.Th>Backup</Table.Th><Table.Th>Completed</Table.Th><Table.Th>Decision</Table.Th><Table.Th>Why</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {(p.items ?? []).map((i) => (
                    <Table.Tr key={i.backup_id}>
                      <Table.Td className="wide">{databaseName(i.database_name)}<Text size="xs" c="dimmed" className="mono wrap">{i.file_name}</Text></Table.Td>
                      <Table.Td data-label="Completed"><Time at={i.completed_at} /></Table.Td>
                      <Table.Td data-label="Decision"><Badge className="badge" variant="light" color={i.action === "keep" ? "green" : i.action === "postpone" ? "yellow" : "red"}>{i.action}</Badge></Table.Td>
                      <Table.Td className="wide"><List size="xs">{(i.reasons ?? []).map((r) => <List.Item key={r.code + r.text}>{r.text}</List.Item>)}</List></Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </div>
            <ProblemAlert error={run.error} />
            {p.removed > 0 ? <Do color="red" variant="filled" needs={["delete-backups"]} loading={run.isPending} onClick={() => run.mutate(undefined, { onSuccess: (r) => { toast(`${plural(r.removed, "backup")} removed`); onClose(); } })}>Remove {plural(p.removed, "backup")} now</Do> : null}
          </>
        ) : null}
      </Stack>
    </Modal>
  );
}
