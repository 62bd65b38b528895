// Size, duration and success, day by day: drawn as plain SVG, with the same figures as a table for those who cannot see it.
import { Box, Group, SegmentedControl, SimpleGrid, Skeleton, Text } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useState } from "react";
import type { Schemas } from "../api/client";
import { useTrends } from "../api/queries";
import { bytes, duration } from "../format";
import { Section } from "./parts";
import { ProblemAlert } from "./problem";

type Day = Schemas["TrendDay"];
type Series = { label: string; color: string; of: (d: Day) => number };

export function Trends({ project, title = "Trends" }: { project?: string; title?: string }) {
  const [days, setDays] = useState("30");
  const t = useTrends({ project, days: Number(days) });
  return (
    <Section title={title} note={t.data ? `Per day, ${t.data.timezone}` : undefined} padded
      actions={<SegmentedControl size="xs" aria-label="How many days" value={days} onChange={setDays} data={[{ value: "14", label: "14 d" }, { value: "30", label: "30 d" }, { value: "90", label: "90 d" }]} />}>
      {t.isPending ? <Skeleton h={180} /> : t.error && !t.data ? <ProblemAlert error={t.error} /> : (
        <SimpleGrid cols={{ base: 1, md: 3 }} spacing="xl">
          <Bars title="Size" days={t.data!.days ?? []} series={[{ label: "Stored", color: "var(--mantine-color-blue-filled)", of: (d) => d.bytes }]} format={bytes} unit={1024} />
          <Bars title="Mean duration" days={t.data!.days ?? []} series={[{ label: "Mean", color: "var(--mantine-color-teal-filled)", of: (d) => d.mean_seconds }]} format={duration} />
          <Bars title="Backups" days={t.data!.days ?? []} series={[{ label: "Completed", color: "var(--green)", of: (d) => d.completed }, { label: "Failed", color: "var(--mantine-color-red-filled)", of: (d) => d.failed }]} format={(n) => String(Math.round(n))} whole />
        </SimpleGrid>
      )}
    </Section>
  );
}

/** The next round number, so that the axis reads well. */
export function ceiling(max: number, whole: boolean, unit = 1): number {
  if (max <= 0) return 1;
  if (unit > 1 && max >= unit) {
    const whole = unit ** Math.floor(Math.log(max) / Math.log(unit));
    return ceiling(max / whole, false) * whole;
  }
  if (whole && max <= 4) return Math.ceil(max);
  const power = 10 ** Math.floor(Math.log10(max));
  for (const step of [1, 2, 2.5, 5, 10]) if (step * power >= max) return step * power;
  return max;
}

const day = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", timeZone: "UTC" });

function Bars({ title, days, series, format, whole = false, unit }: { title: string; days: Day[]; series: Series[]; format: (n: number) => string; whole?: boolean; unit?: number }) {
  const { ref, width } = useElementSize();
  const [at, setAt] = useState<number | null>(null);
  const w = Math.max(width, 200);
  const h = 150;
  const pad = { left: 4, right: 4, top: 8, bottom: 20 };
  const total = (d: Day) => series.reduce((n, s) => n + s.of(d), 0);
  const top = ceiling(Math.max(0, ...days.map(total)), whole, unit);
  const step = (w - pad.left - pad.right) / Math.max(days.length, 1);
  const y = (v: number) => pad.top + (h - pad.top - pad.bottom) * (1 - v / top);
  const shown = at !== null ? days[at] : undefined;
  const last = [...days].reverse().find((d) => total(d) > 0);
  const told = shown ?? last;
  return (
    <Box>
      <Group justify="space-between" gap={6} mb={4} wrap="nowrap" mih={38} align="flex-start">
        <Text size="sm" fw={600}>{title}</Text>
        <Text size="xs" c="dimmed" ta="right" className="figure">
          {told ? `${day.format(new Date(`${told.date}T00:00:00Z`))}: ${series.map((s) => `${series.length > 1 ? `${s.label.toLowerCase()} ` : ""}${format(s.of(told))}`).join(", ")}` : "Nothing in this time"}
        </Text>
      </Group>
      <div ref={ref}>
        <svg className="chart" viewBox={`0 0 ${w} ${h}`} height={h} role="img" aria-label={`${title} per day. ${told ? `Last: ${series.map((s) => `${s.label} ${format(s.of(told))}`).join(", ")}` : "Nothing in this time"}`} onMouseLeave={() => setAt(null)}>
          {[0, 0.5, 1].map((f) => <line key={f} className="grid" x1={pad.left} x2={w - pad.right} y1={y(top * f)} y2={y(top * f)} />)}
          {days.map((d, i) => {
            let base = 0;
            return (
              <g key={d.date} onMouseEnter={() => setAt(i)}>
                <rect x={pad.left + i * step} y={pad.top} width={step} height={h - pad.top - pad.bottom} fill="transparent" />
                {series.map((s) => {
                  const v = s.of(d);
                  base += v;
                  if (v <= 0) return null;
                  const height = Math.max(y(base - v) - y(base), 1.5);
                  return <rect key={s.label} x={pad.left + i * step + step * 0.14} y={y(base - v) - height} width={Math.max(step * 0.72, 1)} height={height} rx={Math.min(2.5, step * 0.2)} fill={s.color} opacity={at === null || at === i ? 1 : 0.45} />;
                })}
              </g>
            );
          })}
          {last ? <text x={pad.left + 2} y={y(top) + 11}>{format(top)}</text> : null}
          {days.length ? <text x={pad.left} y={h - 4}>{day.format(new Date(`${days[0]!.date}T00:00:00Z`))}</text> : null}
          {days.length ? <text x={w - pad.right} y={h - 4} textAnchor="end">{day.format(new Date(`${days.at(-1)!.date}T00:00:00Z`))}</text> : null}
        </svg>
      </div>
    </Box>
  );
}
