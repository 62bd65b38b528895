// Short words about what was just done, said to screen readers too.
import { CloseButton, Group, Paper, Portal, Stack, Text } from "@mantine/core";
import { IconCircleCheck, IconCircleX } from "../icons";
import { useSyncExternalStore } from "react";
import { sentence } from "../format";
import { problemOf } from "./problem";

type Toast = { id: number; text: string; hint?: string; bad?: boolean };

let toasts: Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();
const changed = () => listeners.forEach((l) => l());

export function toast(text: string, options: { hint?: string; bad?: boolean } = {}) {
  const t = { id: next++, text, ...options };
  toasts = [...toasts.slice(-3), t];
  changed();
  setTimeout(() => dismiss(t.id), options.bad ? 12_000 : 5_000);
}

export function refused(err: unknown) {
  const p = problemOf(err);
  if (p) toast(sentence(p.detail), { hint: p.hint && sentence(p.hint), bad: true });
}

function dismiss(id: number) {
  toasts = toasts.filter((t) => t.id !== id);
  changed();
}

export function Toasts() {
  const shown = useSyncExternalStore((l) => (listeners.add(l), () => listeners.delete(l)), () => toasts);
  return (
    <Portal>
      <Stack gap="xs" className="toasts" role="status" aria-live="polite">
        {shown.map((t) => (
          <Paper key={t.id} withBorder shadow="md" radius="md" p="sm">
            <Group wrap="nowrap" align="flex-start" gap="sm">
              {t.bad ? <IconCircleX size={20} color="var(--mantine-color-red-filled)" /> : <IconCircleCheck size={20} color="var(--green)" />}
              <div style={{ flex: 1 }}>
                <Text size="sm" fw={500}>{t.text}</Text>
                {t.hint ? <Text size="xs" c="dimmed">{t.hint}</Text> : null}
              </div>
              <CloseButton size="sm" aria-label="Dismiss" onClick={() => dismiss(t.id)} />
            </Group>
          </Paper>
        ))}
      </Stack>
    </Portal>
  );
}
