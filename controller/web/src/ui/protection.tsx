// How well databases are protected: states in words and colours, the age of the last good backup against what is expected, and trends.
import { Badge, Box, Group, Progress, Skeleton, Text, Tooltip } from "@mantine/core";
import { IconAlertTriangle, IconCalendarOff, IconCircleCheck, IconCircleMinus, IconClock, IconDatabaseOff, IconPlayerStop, IconQuestionMark, type Icon } from "../icons";
import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { useProtectionSummary } from "../api/queries";
import { count, databaseName, duration, plural, sentence } from "../format";
import { Section, Time } from "./parts";
import { ProblemAlert } from "./problem";

export type Protection = Schemas["Protection"];

/** In the order in which they are told. */
export const protectionStates: Record<string, { color: string; icon: Icon; label: string }> = {
  overdue: { color: "red", icon: IconAlertTriangle, label: "Overdue" },
  unprotected: { color: "orange", icon: IconCalendarOff, label: "Unprotected" },
  paused: { color: "yellow", icon: IconPlayerStop, label: "Paused" },
  waiting: { color: "blue", icon: IconClock, label: "Waiting" },
  protected: { color: "green", icon: IconCircleCheck, label: "Protected" },
  ignored: { color: "gray", icon: IconCircleMinus, label: "Ignored" },
  gone: { color: "gray", icon: IconDatabaseOff, label: "Gone" },
};

export function ProtectionBadge({ state }: { state: string }) {
  const s = protectionStates[state] ?? { color: "gray", icon: IconQuestionMark, label: state };
  return <Badge color={s.color} variant="light" className="badge" leftSection={<s.icon size={13} aria-hidden />}>{s.label}</Badge>;
}

/** The databases by state, each with its list behind it: what one looks at first. */
export function ProtectionCounts() {
  const s = useProtectionSummary();
  if (s.error && !s.data) return <Section title="Protection" padded><ProblemAlert error={s.error} again={() => void s.refetch()} /></Section>;
  const all = s.data?.databases ?? 0;
  const states = s.data?.states ?? {};
  const shown = Object.entries(protectionStates).filter(([state]) => states[state]);
  return (
    <Section title="Protection" note={s.data ? `${plural(all, "database")}${s.data.unverified ? `; of ${count(s.data.unverified)} the last good backup is not verified` : ""}` : undefined}
      actions={<Text component={Link} href="/protection" size="sm" className="underlined">Every database</Text>} padded>
      {!s.data ? <Skeleton h={52} /> : all === 0 ? <Text size="sm" c="dimmed">Agents have found no databases yet.</Text> : (
        <>
          <Progress.Root size={10} mb="sm" aria-hidden>
            {shown.map(([state, of]) => <Progress.Section key={state} value={(states[state]! / all) * 100} color={of.color} />)}
          </Progress.Root>
          <Group gap="xs" component="ul" m={0} p={0} style={{ listStyle: "none" }}>
            {shown.map(([state, of]) => (
              <li key={state}>
                <Link href={`/protection?state=${state}`} className="count">
                  <Badge color={of.color} variant="light" size="lg" className="badge" leftSection={<of.icon size={15} aria-hidden />}>{count(states[state])} {of.label.toLowerCase()}</Badge>
                </Link>
              </li>
            ))}
          </Group>
          {(s.data.wrong ?? []).length ? (
            <Box component="ul" className="wrong">
              {s.data.wrong!.map((w) => <li key={w.kind}><Text span size="sm" fw={w.severity === "critical" ? 600 : 400}>{sentence(w.text)}</Text> <Text span size="sm" c="dimmed" className="wrap">{(w.names ?? []).map(databaseName).join(", ")}{w.names && w.count > w.names.length && w.names.length ? ` and ${count(w.count - w.names.length)} more` : ""}</Text></li>)}
            </Box>
          ) : <Text size="sm" mt="sm" c="var(--green)">Nothing is wrong.</Text>}
        </>
      )}
    </Section>
  );
}

/** The last good backup, and how much of the expected time has passed since. */
export function Age({ of: p }: { of: Protection }) {
  if (!p.last_good_at) return <Text size="sm" c={p.state === "overdue" ? "red" : "dimmed"}>Never</Text>;
  const part = p.expected_seconds > 0 && p.age_seconds !== null ? (p.age_seconds / p.expected_seconds) * 100 : null;
  return (
    <Box>
      {p.last_good_id ? <Link href={`/backups/${p.last_good_id}`} className="row-link"><Time at={p.last_good_at} /></Link> : <Time at={p.last_good_at} />}
      {part !== null && p.state !== "gone" ? (
        <Tooltip label={`One is expected within ${duration(p.expected_seconds)}`}>
          <Progress value={Math.min(part, 100)} size="xs" mt={4} maw={130} color={part >= 100 ? "red" : part > 85 ? "yellow" : "green"} aria-label={`${Math.round(part)} % of the expected time has passed`} />
        </Tooltip>
      ) : null}
    </Box>
  );
}

/** The last ten values as a line, and the last one against those before it. */
export function Spark({ label, values, trend, format }: { label: string; values: number[]; trend: number | null; format: (n: number) => string }) {
  const last = values[values.length - 1];
  if (last === undefined) return <Text span size="sm" c="dimmed">–</Text>;
  const w = 64, h = 20;
  const most = Math.max(...values), least = Math.min(...values);
  const range = Math.max(most - least, most * 0.2) || 1; // what hardly changes is a flat line
  const y = (v: number) => h / 2 - ((v - (most + least) / 2) / range) * (h - 4);
  const x = (i: number) => (values.length === 1 ? w / 2 : 2 + (i / (values.length - 1)) * (w - 4));
  const change = trend === null ? "" : `${trend >= 1 ? "+" : "−"}${Math.round(Math.abs(trend - 1) * 100)} %`;
  const far = trend !== null && (trend < 0.5 || trend > 2);
  return (
    <Group gap={8} wrap="nowrap">
      <svg width={w} height={h} viewBox={`0 0 ${w} ${h}`} role="img" aria-label={`${label} of the last ${plural(values.length, "backup")}: ${values.map(format).join(", ")}`} style={{ flexShrink: 0 }}>
        <polyline points={values.map((v, i) => `${x(i)},${y(v)}`).join(" ")} fill="none" stroke="var(--mantine-color-blue-filled)" strokeWidth={1.5} strokeLinejoin="round" />
        <circle cx={x(values.length - 1)} cy={y(last)} r={2.2} fill="var(--mantine-color-blue-filled)" />
      </svg>
      <Box>
        <Text size="sm" className="figure nowrap">{format(last)}</Text>
        {change ? <Text size="xs" c={far ? "red" : "dimmed"} className="figure nowrap" title="against the median of those before">{change}</Text> : null}
      </Box>
    </Group>
  );
}
