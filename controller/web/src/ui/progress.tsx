// How far a running job is: bytes, rate and remaining time.
import { Group, Progress, Stack, Text } from "@mantine/core";
import { useEffect, useState } from "react";
import type { Schemas } from "../api/client";
import { bytes, duration } from "../format";
import { observe, percent, rate, remaining, type Sample } from "../progress";

const stages: Record<string, string> = {
  dump: "Dumping and uploading", upload: "Uploading", finish: "Finishing", restore: "Restoring", verify: "Verifying", read: "Reading", check: "Checking", swap: "Swapping", fingerprint: "Comparing",
};

export function JobProgress({ progress, status, waiting, compact = false }: { progress?: Schemas["Progress"] | null; status: string; waiting?: string; compact?: boolean }) {
  const done = progress?.raw_bytes ?? 0;
  const total = progress?.total_bytes ?? 0;
  const [samples, setSamples] = useState<Sample[]>([]);
  useEffect(() => {
    if (progress) setSamples((s) => observe(s, Date.now(), progress.raw_bytes));
  }, [progress]);
  const perSecond = rate(samples);
  const left = remaining(done, total, perSecond);
  const share = percent(done, total);
  const stage = progress ? (stages[progress.stage] ?? progress.stage) : status === "pending" ? waiting || "Waiting for its agent" : "Starting";
  return (
    <Stack gap={4} miw={compact ? 140 : 200} aria-live="off">
      <Progress value={share ?? 100} animated={status === "running"} striped={share === null} size={compact ? "sm" : "md"} color={status === "pending" ? "yellow" : "blue"} aria-label={stage} />
      <Group justify="space-between" gap={6}>
        <Text size="xs" c="dimmed">{stage}{share !== null ? ` · ${share} %` : ""}</Text>
        {progress ? (
          <Text size="xs" c="dimmed" className="figure">
            {bytes(done)}{total > 0 && !compact ? ` of about ${bytes(total)}` : ""}{perSecond ? ` · ${bytes(perSecond)}/s` : ""}{left !== null ? ` · ${duration(left)} left` : ""}
          </Text>
        ) : null}
      </Group>
    </Stack>
  );
}
