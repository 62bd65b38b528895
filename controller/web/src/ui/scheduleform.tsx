// Create or edit a schedule, with the next five times as the API sees them.
import { Button, Collapse, Divider, Group, List, NumberInput, Select, SimpleGrid, Stack, Switch, Text, TextInput } from "@mantine/core";
import { useDebouncedValue, useDisclosure } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { api, ifMatch, take, takeVersion, type Schemas, type Versioned } from "../api/client";
import { useAct, useDatabases, useStorages, type Schedule } from "../api/queries";
import { databaseName } from "../format";
import { EditModal, EditProblem } from "./fresh";
import { fieldError } from "./problem";
import { toast } from "./toast";
import { Modal } from "./modal";

const weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"].map((label, i) => ({ value: String(i), label }));
const zones = (() => {
  try {
    return ["UTC", ...Intl.supportedValuesOf("timeZone").filter((z) => z !== "UTC")];
  } catch {
    return ["UTC"];
  }
})();

type Frequency = "hourly" | "daily" | "weekly" | "monthly" | "cron";

export function CreateSchedule({ project, onClose }: { project: string; onClose: () => void }) {
  return <Modal opened onClose={onClose} title="Create Schedule" centered size="lg"><ScheduleForm project={project} onClose={onClose} again={() => undefined} /></Modal>;
}

export function EditSchedule({ project, id, onClose }: { project: string; id: number; onClose: () => void }) {
  return (
    <EditModal title="Edit Schedule" size="lg" of={["schedule", id]} read={() => takeVersion(api.GET("/schedules/{id}", { params: { path: { id } } }))} onClose={onClose}>
      {(now, again) => <ScheduleForm project={project} now={now} onClose={onClose} again={again} />}
    </EditModal>
  );
}

function ScheduleForm({ project, now, onClose, again }: { project: string; now?: Versioned<Schedule>; onClose: () => void; again: () => void }) {
  const schedule = now?.value;
  const databases = useDatabases({ project });
  const storages = useStorages();
  const [more, extra] = useDisclosure(false);
  const [scope, setScope] = useState<string | null>(schedule?.scope ?? "project");
  const [database, setDatabase] = useState<string | null>(schedule?.database_id ? String(schedule.database_id) : null);
  const [pattern, setPattern] = useState(schedule?.pattern ?? "");
  const [frequency, setFrequency] = useState<Frequency>((schedule?.frequency as Frequency) ?? "daily");
  const [time, setTime] = useState((schedule?.time || "02:00").slice(0, 5));
  const [weekday, setWeekday] = useState<string | null>(String(schedule?.day_of_week ?? 0));
  const [monthday, setMonthday] = useState<number | string>(schedule?.day_of_month ?? 1);
  const [cron, setCron] = useState(schedule?.cron || "15 3 * * 1-5");
  const [zone, setZone] = useState<string | null>(schedule?.timezone ?? Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC");
  const [storage, setStorage] = useState<string | null>(schedule?.storage_id ? schedule.storage : null);
  const [codec, setCodec] = useState<string | null>(schedule?.encryption || null);
  const [compression, setCompression] = useState<string | null>(schedule?.compression ?? "zstd");
  const [verify, setVerify] = useState<string | null>(schedule?.verify_after ?? "none");
  const [days, setDays] = useState<number | string>(schedule?.retention_days ?? 30);
  const [daily, setDaily] = useState<number | string>(schedule?.retention_daily ?? 7);
  const [weekly, setWeekly] = useState<number | string>(schedule?.retention_weekly ?? 4);
  const [monthly, setMonthly] = useState<number | string>(schedule?.retention_monthly ?? 3);
  const [hourly, setHourly] = useState<number | string>(schedule?.retention_hourly ?? "");
  const [notify, setNotify] = useState(schedule?.notify_on_failure ?? true);
  const [ping, setPing] = useState("");
  const [noPing, setNoPing] = useState(false);
  const number = (v: number | string) => (v === "" ? undefined : Number(v));

  const options = useMemo<Schemas["ScheduleOptions"]>(() => ({
    frequency,
    ...(frequency === "cron" ? { cron } : { time }),
    ...(frequency === "weekly" ? { day_of_week: Number(weekday) } : {}),
    ...(frequency === "monthly" ? { day_of_month: number(monthday) } : {}),
    timezone: zone ?? "UTC",
    retention_days: number(days), retention_hourly: number(hourly), retention_daily: number(daily), retention_weekly: number(weekly), retention_monthly: number(monthly),
  }), [frequency, cron, time, weekday, monthday, zone, days, hourly, daily, weekly, monthly]);
  const [asked] = useDebouncedValue(options, 300);
  const preview = useQuery({
    queryKey: ["preview", asked], placeholderData: keepPreviousData, staleTime: 30_000, retry: false,
    queryFn: ({ signal }) => take(api.POST("/schedules/preview", { body: { project, scope: "project", ...asked }, signal })),
  });

  const save = useAct(async (): Promise<unknown> => {
    const rest = { encryption: codec ?? "", compression: (compression as "zstd") ?? undefined, verify_after: (verify as "none") ?? undefined, notify_on_failure: notify, ...(ping ? { ping_url: ping } : noPing ? { ping_url: "" } : {}) };
    if (schedule) {
      return take(api.PATCH("/schedules/{id}", { params: { path: { id: schedule.id }, header: ifMatch(now!.etag) }, body: { ...(options as object), ...rest, storage: storage ?? "" } as never }));
    }
    return take(api.POST("/schedules", {
      body: {
        project, ...options, ...rest, encryption: (codec as "age") ?? undefined, storage: storage ?? undefined, scope: scope as "project",
        ...(scope === "database" ? { database_id: Number(database) } : {}), ...(scope === "pattern" ? { pattern } : {}),
      },
    }));
  }, "schedules", "statistics", "overview");
  const error = save.error ?? preview.error;
  const formatNext = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short", timeZone: zone ?? "UTC" });
  return (
    <form onSubmit={(e) => { e.preventDefault(); save.mutate(undefined, { onSuccess: () => { toast(schedule ? "The schedule is changed" : "The schedule is created"); onClose(); } }); }}>
      <Stack>
        {schedule ? null : (
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <Select label="Covers" value={scope} onChange={setScope} allowDeselect={false} data-autofocus
              data={[{ value: "project", label: "All databases of the project" }, { value: "database", label: "One database" }, { value: "pattern", label: "Databases by name" }, { value: "default", label: "Those without another schedule" }]} />
            {scope === "database" ? (
              <Select label="Database" searchable required value={database} onChange={setDatabase} error={fieldError(save.error, "database_id", "database_name")}
                data={(databases.data?.items ?? []).map((d) => ({ value: String(d.id), label: `${databaseName(d.name)} · ${d.server}` }))} />
            ) : scope === "pattern" ? (
              <TextInput label="Name" placeholder="shop_*" description="* is any text, ? any one character" required value={pattern} onChange={(e) => setPattern(e.currentTarget.value)} error={fieldError(save.error, "pattern")} />
            ) : null}
          </SimpleGrid>
        )}
        <SimpleGrid cols={{ base: 1, xs: 3 }}>
          <Select label="Frequency" value={frequency} onChange={(v) => setFrequency((v as Frequency) ?? "daily")} allowDeselect={false}
            data={[{ value: "hourly", label: "Hourly" }, { value: "daily", label: "Daily" }, { value: "weekly", label: "Weekly" }, { value: "monthly", label: "Monthly" }, { value: "cron", label: "Cron" }]} />
          {frequency === "cron" ? (
            <TextInput label="Cron" value={cron} onChange={(e) => setCron(e.currentTarget.value)} error={fieldError(error, "cron")} spellCheck={false} />
          ) : (
            <TextInput type="time" label={frequency === "hourly" ? "Minute of each hour" : "Time"} value={time} onChange={(e) => setTime(e.currentTarget.value)} required error={fieldError(error, "time")} />
          )}
          {frequency === "weekly" ? <Select label="Day of week" data={weekdays} value={weekday} onChange={setWeekday} allowDeselect={false} /> : null}
          {frequency === "monthly" ? <NumberInput label="Day of month" min={1} max={31} value={monthday} onChange={setMonthday} error={fieldError(error, "day_of_month")} /> : null}
        </SimpleGrid>
        <Select label="Time zone" searchable data={zones} value={zone} onChange={setZone} allowDeselect={false} error={fieldError(error, "timezone")} limit={60} />
        <Divider label="Keep all of some days, and the newest of each hour, day, week and month" labelPosition="left" />
        <SimpleGrid cols={{ base: 2, xs: 5 }}>
          <NumberInput label="Days" min={0} max={365} value={days} onChange={setDays} error={fieldError(error, "retention_days")} />
          <NumberInput label="Hourly" min={0} max={1000} value={hourly} onChange={setHourly} placeholder="0" error={fieldError(error, "retention_hourly")} />
          <NumberInput label="Daily" min={0} max={1000} value={daily} onChange={setDaily} error={fieldError(error, "retention_daily")} />
          <NumberInput label="Weekly" min={0} max={1000} value={weekly} onChange={setWeekly} error={fieldError(error, "retention_weekly")} />
          <NumberInput label="Monthly" min={0} max={1000} value={monthly} onChange={setMonthly} error={fieldError(error, "retention_monthly")} />
        </SimpleGrid>
        <Button variant="subtle" size="compact-sm" onClick={extra.toggle} type="button" aria-expanded={more}>{more ? "Fewer choices" : "Storage, encryption, verification, dead-man switch"}</Button>
        <Collapse in={more}>
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <Select label="Storage" placeholder="The project's, else the default" clearable data={(storages.data?.items ?? []).map((s) => s.name)} value={storage} onChange={setStorage} />
            <Select label="Encryption" placeholder="The project's" clearable data={[{ value: "age", label: "age" }, { value: "aes-256-cbc", label: "AES-256-CBC" }, { value: "none", label: "None" }]} value={codec} onChange={setCodec} />
            <Select label="Compression" data={["zstd", "gzip", "none"]} value={compression} onChange={setCompression} allowDeselect={false} />
            <Select label="Verify after each backup" data={[{ value: "none", label: "No" }, { value: "checksum", label: "Checksum" }, { value: "content", label: "Content" }]} value={verify} onChange={setVerify} allowDeselect={false} />
          </SimpleGrid>
          <TextInput mt="md" type="password" autoComplete="off" label="Dead-man switch" placeholder={schedule?.ping_hint ? `${schedule.ping_hint}: leave it empty to keep it` : "https://hc-ping.com/…"} value={ping} onChange={(e) => setPing(e.currentTarget.value)} disabled={noPing} error={fieldError(save.error, "ping_url")}
            description="A URL that is called when a backup begins, is completed or fails; who watches it speaks up when the calls stop. It is kept as a secret" />
          {schedule?.ping_hint ? <Switch mt="xs" size="sm" label="Take it away" checked={noPing} onChange={(e) => setNoPing(e.currentTarget.checked)} /> : null}
        </Collapse>
        <Switch label="Notify on failure" checked={notify} onChange={(e) => setNotify(e.currentTarget.checked)} />
        {preview.data && !preview.error ? (
          <div className="preview">
            <Text size="sm" fw={600}>{preview.data.label} ({preview.data.timezone})</Text>
            <Text size="xs" c="dimmed" mb={6}>Keeps {preview.data.keeps}.</Text>
            <Text size="xs" fw={600} c="dimmed">Next five times</Text>
            <List size="sm">{preview.data.next_five.map((t) => <List.Item key={t}>{formatNext.format(new Date(t))}</List.Item>)}</List>
          </div>
        ) : null}
        <EditProblem error={error} again={() => { save.reset(); again(); }} fields={["cron", "time", "timezone", "day_of_month", "database_id", "pattern", "ping_url"]} />
        <Group justify="flex-end"><Button variant="default" onClick={onClose} type="button">Cancel</Button><Button type="submit" loading={save.isPending}>{schedule ? "Save" : "Create Schedule"}</Button></Group>
      </Stack>
    </form>
  );
}
