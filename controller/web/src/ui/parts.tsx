// The small parts that every page is made of.
import { ActionIcon, Badge, Box, Button, Card, Code, CopyButton, Group, Paper, Skeleton, Stack, Text, ThemeIcon, Title, Tooltip, type BadgeProps } from "@mantine/core";
import {
  IconArrowBackUp, IconCheck, IconCircleCheck, IconCircleX, IconClock, IconCopy, IconDatabase, IconLoader2, IconQuestionMark, IconShield, IconShieldCheck, IconShieldX, type Icon,
} from "../icons";
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "wouter";
import { useSession } from "../api/session";
import { absolute, engine, exact, relative } from "../format";

/** A clock that ticks with the page, so that relative times stay true. */
export function useNow(everyMillis = 15_000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const t = setInterval(() => setNow(Date.now()), everyMillis);
    return () => clearInterval(t);
  }, [everyMillis]);
  return now;
}

export function Time({ at, both = false, never = "Never" }: { at: string | null | undefined; both?: boolean; never?: string }) {
  const now = useNow();
  if (!at) return <Text span inherit c="dimmed">{never}</Text>;
  return (
    <Tooltip label={exact(at)} openDelay={300}>
      <time dateTime={at}>
        {both ? (
          <>
            <Text span inherit display="block">{absolute(at)}</Text>
            <Text span display="block" size="xs" c="dimmed">{relative(at, now)}</Text>
          </>
        ) : (
          relative(at, now)
        )}
      </time>
    </Tooltip>
  );
}

const states: Record<string, { color: string; icon: Icon; label: string }> = {
  completed: { color: "green", icon: IconCircleCheck, label: "Completed" },
  running: { color: "blue", icon: IconLoader2, label: "Running" },
  failed: { color: "red", icon: IconCircleX, label: "Failed" },
  pending: { color: "yellow", icon: IconClock, label: "Pending" },
};

export function Status({ status, size = "md" }: { status: string; size?: BadgeProps["size"] }) {
  const s = states[status] ?? { color: "gray", icon: IconQuestionMark, label: status.replaceAll("_", " ") };
  return (
    <Badge size={size} color={s.color} variant="light" leftSection={<s.icon size={13} className={status === "running" ? "turning" : undefined} aria-hidden />} className="badge">
      {s.label}
    </Badge>
  );
}

const healths: Record<string, { color: string; words: string }> = {
  missing: { color: "red", words: "Missing from its storage" },
  corrupt: { color: "red", words: "Corrupt" },
  archived: { color: "grape", words: "Archived by its storage" },
  deleting: { color: "gray", words: "Being deleted" },
};

export function Health({ health, reason }: { health: string; reason?: string }) {
  const h = healths[health];
  if (!h) return null;
  return (
    <Tooltip label={reason || h.words} multiline maw={360} disabled={!reason}>
      <Badge color={h.color} variant="filled" className="badge">{h.words}</Badge>
    </Tooltip>
  );
}

type Verifiable = { verified_at: string | null; verified_level?: string | null; verified_by_host?: boolean; health: string };

/** Purple: not verified. Green with a check: verified, and when. */
export function Shield({ backup, size = 18 }: { backup: Verifiable; size?: number }) {
  if (backup.health === "corrupt") return <IconShieldX size={size} color="var(--mantine-color-red-filled)" aria-label="Corrupt" />;
  if (!backup.verified_at) return <IconShield size={size} color="var(--purple)" aria-label="Not verified" />;
  return <IconShieldCheck size={size} color="var(--green)" aria-label={`Verified at ${absolute(backup.verified_at)}`} />;
}

export function verifiedWords(b: Verifiable): string {
  if (!b.verified_at) return "Verify Integrity";
  const how = b.verified_level === "content" ? "content read to its end" : "checksum";
  return `Verified at ${absolute(b.verified_at)} (${how}${b.verified_by_host ? ", by its own host" : ""}). Verify again`;
}

export function EngineBadge({ name }: { name: string }) {
  const color = name === "postgresql" ? "indigo" : name === "mysql" ? "orange" : "cyan";
  return <Badge color={color} variant="light" size="sm" className="badge" leftSection={<IconDatabase size={11} aria-hidden />}>{engine(name)}</Badge>;
}

export function Empty({ icon: I, title, children, action }: { icon: Icon; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py={44} px="md" ta="center">
      <ThemeIcon size={52} radius="xl" variant="light" color="gray"><I size={26} stroke={1.6} /></ThemeIcon>
      <Text fw={600}>{title}</Text>
      {children ? <Text size="sm" c="dimmed" maw={480}>{children}</Text> : null}
      {action ? <Box mt="xs">{action}</Box> : null}
    </Stack>
  );
}

export function PageHead({ title, children, actions, back }: { title: ReactNode; children?: ReactNode; actions?: ReactNode; back?: { to: string; label: string } }) {
  return (
    <Group justify="space-between" align="flex-end" gap="md" mb="lg">
      <Box style={{ minWidth: 0, flex: "1 1 260px" }}>
        {back ? (
          <Text component={Link} href={back.to} size="sm" c="dimmed" className="back">
            <IconArrowBackUp size={14} aria-hidden /> {back.label}
          </Text>
        ) : null}
        <Title order={1} className="page-title">{title}</Title>
        {children ? <Text c="dimmed" size="sm" mt={2} component="div">{children}</Text> : null}
      </Box>
      {actions ? <Group gap="xs">{actions}</Group> : null}
    </Group>
  );
}

export function Section({ title, actions, children, padded = false, note }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; padded?: boolean; note?: ReactNode }) {
  return (
    <Paper withBorder radius="md" mb="lg" component="section" className="section">
      {title ? (
        <Group justify="space-between" px="md" py="sm" className="section-head" gap="xs">
          <Box>
            <Title order={2} size="h5">{title}</Title>
            {note ? <Text size="xs" c="dimmed">{note}</Text> : null}
          </Box>
          {actions ? <Group gap="xs">{actions}</Group> : null}
        </Group>
      ) : null}
      {padded ? <Box p="md">{children}</Box> : children}
    </Paper>
  );
}

export function Stat({ label, value, note, icon: I, color = "blue", loading }: { label: string; value: ReactNode; note?: ReactNode; icon: Icon; color?: string; loading?: boolean }) {
  return (
    <Card withBorder radius="md" padding="md" className="stat">
      <Group justify="space-between" wrap="nowrap" align="flex-start">
        <Box style={{ minWidth: 0 }}>
          <Text size="sm" c="dimmed" fw={500}>{label}</Text>
          {loading ? <Skeleton h={28} w={80} mt={6} /> : <Text fz={typeof value === "string" && value.length > 11 ? 20 : 24} fw={680} lh="30px" mt={2} className="figure">{value}</Text>}
          {note && !loading ? <Text size="xs" c="dimmed" component="div">{note}</Text> : null}
        </Box>
        <ThemeIcon variant="light" color={color} size={38} radius="md" visibleFrom="xs"><I size={21} stroke={1.7} aria-hidden /></ThemeIcon>
      </Group>
    </Card>
  );
}

export function Rows({ n = 4 }: { n?: number }) {
  return (
    <Stack gap="sm" p="md" role="status" aria-busy="true" aria-label="Loading">
      {Array.from({ length: n }, (_, i) => <Skeleton key={i} h={22} />)}
    </Stack>
  );
}

/** A command or a secret to take elsewhere. */
export function Copyable({ text, label = "Copy" }: { text: string; label?: string }) {
  return (
    <Box pos="relative">
      <Code block className="command" tabIndex={0}>{text}</Code>
      <CopyButton value={text} timeout={2000}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? "Copied" : label}>
            <ActionIcon variant="default" size="md" pos="absolute" top={8} right={8} onClick={copy} aria-label={label}>
              {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </Box>
  );
}

export function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <Box className="fact">
      <Text component="dt" size="sm" c="dimmed">{label}</Text>
      <Text component="dd" size="sm" m={0} className="wrap">{children}</Text>
    </Box>
  );
}

export function Facts({ children }: { children: ReactNode }) {
  return <Box component="dl" className="facts" m={0} p="md">{children}</Box>;
}

/** An icon that does something; not there for those who lack the permission for it. */
export function Act({ label, icon: I, needs = [], color = "gray", onClick, disabled, href, why }: {
  label: string; icon: Icon | (() => ReactNode); needs?: string[]; color?: string; onClick?: () => void; disabled?: boolean; href?: string; why?: string;
}) {
  const { can } = useSession();
  if (!can(...needs)) return null;
  const off = disabled;
  const words = off && why ? why : label;
  const Part = I as Icon;
  return (
    <Tooltip label={words} multiline maw={300} events={{ hover: true, focus: true, touch: false }}>
      {href && !off ? (
        <ActionIcon variant="subtle" color={color} component={Link} href={href} aria-label={label}><Part size={18} /></ActionIcon>
      ) : (
        <ActionIcon variant="subtle" color={color} onClick={off ? undefined : onClick} aria-disabled={off || undefined} data-disabled={off || undefined} aria-label={label}><Part size={18} /></ActionIcon>
      )}
    </Tooltip>
  );
}

/** A button; not there for those who lack the permission for it. One that is disabled says why. */
export function Do({ children, needs = [], icon: I, onClick, variant = "default", color, loading, disabled, size = "sm", why: words, type }: {
  children: ReactNode; needs?: string[]; icon?: Icon; onClick?: () => void; variant?: string; color?: string; loading?: boolean; disabled?: boolean; size?: string; why?: string; type?: "submit" | "button";
}) {
  const { can } = useSession();
  if (!can(...needs)) return null;
  const off = disabled;
  return (
    <Tooltip label={words} disabled={!off || !words} multiline maw={300}>
      <Button variant={variant} color={color} size={size} type={type} loading={loading} leftSection={I ? <I size={16} aria-hidden /> : undefined}
        aria-disabled={off || undefined} data-disabled={off || undefined} onClick={(e) => { if (off) { e.preventDefault(); return; } onClick?.(); }}>
        {children}
      </Button>
    </Tooltip>
  );
}
