import { Badge, Button, Code, Group, Select, Table, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { IconDownload, IconHistory, IconLink } from "../icons";
import { useState } from "react";
import { api, base, identify, take } from "../api/client";
import { useAct, useProjects } from "../api/queries";
import { count } from "../format";
import { Do, Empty, PageHead, Rows, Section, Time } from "../ui/parts";
import { ProblemAlert } from "../ui/problem";
import { refused, toast } from "../ui/toast";

export default function Audit() {
  const projects = useProjects();
  const [project, setProject] = useState<string | null>(null);
  const [action, setAction] = useState("");
  const [actor, setActor] = useState("");
  const [asked] = useDebouncedValue({ project: project ?? undefined, action: action.trim() || undefined, actor: actor.trim() || undefined }, 300);
  const list = useInfiniteQuery({
    queryKey: ["audit", asked], placeholderData: keepPreviousData, initialPageParam: 0,
    queryFn: ({ pageParam, signal }) => take(api.GET("/audit", { params: { query: { ...asked, before_id: pageParam || undefined, limit: 50 } }, signal })),
    getNextPageParam: (last) => last.next_before_id ?? undefined,
  });
  const check = useAct(() => take(api.GET("/audit/check")));
  const download = async () => {
    const headers = new Headers();
    identify(headers, false);
    const response = await fetch(`${base}/audit/export?${new URLSearchParams(Object.entries(asked).filter((e): e is [string, string] => !!e[1]))}`, { headers });
    if (!response.ok) return toast("The audit log could not be exported", { bad: true });
    const a = document.createElement("a");
    a.href = URL.createObjectURL(await response.blob());
    a.download = "audit.jsonl";
    a.click();
    URL.revokeObjectURL(a.href);
  };
  const rows = list.data?.pages.flatMap((p) => p.items) ?? [];
  return (
    <>
      <PageHead title="Audit log" actions={
        <>
          <Do icon={IconLink} needs={["view-audit-logs"]} loading={check.isPending} onClick={() => check.mutate(undefined, { onSuccess: (c) => toast(c.ok ? "The chain is whole: no row was changed or removed" : "The chain is broken", { bad: !c.ok }), onError: refused })}>Check the chain</Do>
          <Do icon={IconDownload} needs={["export-audit-logs"]} onClick={() => void download()}>Export</Do>
        </>
      }>Who did what, and for whom. Each row is chained to the one before it.</PageHead>
      <Section>
        <Group px="md" py="sm" gap="xs" role="search" aria-label="Filter the audit log">
          <Select aria-label="Project" placeholder="Any project" size="xs" clearable searchable data={(projects.data?.items ?? []).map((p) => p.slug)} value={project} onChange={setProject} />
          <TextInput aria-label="Action" placeholder="Action: backup." size="xs" value={action} onChange={(e) => setAction(e.currentTarget.value)} />
          <TextInput aria-label="Who" placeholder="Who" size="xs" value={actor} onChange={(e) => setActor(e.currentTarget.value)} />
        </Group>
        {list.isPending ? <Rows n={8} /> : list.error && !rows.length ? <ProblemAlert error={list.error} again={() => void list.refetch()} /> : rows.length === 0 ? <Empty icon={IconHistory} title="Nothing matches">Change the filters above.</Empty> : (
          <Table className="stacked">
            <Table.Thead><Table.Tr><Table.Th>When</Table.Th><Table.Th>Who</Table.Th><Table.Th>Action</Table.Th><Table.Th>About</Table.Th><Table.Th>Result</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {rows.map((e) => (
                <Table.Tr key={e.id}>
                  <Table.Td data-label="When"><Time at={e.at} both /></Table.Td>
                  <Table.Td data-label="Who">{e.actor}{e.on_behalf_of ? <Text size="xs" c="dimmed">for {e.on_behalf_of}</Text> : null}<Text size="xs" c="dimmed">{e.remote}</Text></Table.Td>
                  <Table.Td data-label="Action"><Code>{e.action}</Code></Table.Td>
                  <Table.Td className="wide">{e.subject}{e.detail && Object.keys(e.detail as object).length ? <details><summary><Text span size="xs" c="dimmed">Detail</Text></summary><Code block className="log">{JSON.stringify(e.detail, null, 2)}</Code></details> : null}</Table.Td>
                  <Table.Td data-label="Result"><Badge className="badge" variant="light" color={e.result.startsWith("refused") || e.result === "failed" ? "red" : e.result === "accepted" ? "blue" : "green"}>{e.result}</Badge></Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
        {list.hasNextPage ? <Group justify="center" p="md"><Button variant="default" size="sm" loading={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>Show older ones</Button></Group> : rows.length ? <Text size="xs" c="dimmed" p="md">{count(rows.length)} rows, to the first one</Text> : null}
      </Section>
    </>
  );
}
