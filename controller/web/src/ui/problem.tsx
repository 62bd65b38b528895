// What went wrong, and what to try: the API's own words.
import { Alert, Anchor, Button, Code, Group, List, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconPlugConnectedX, IconRefresh } from "../icons";
import { ApiError, type Problem } from "../api/client";
import { sentence } from "../format";
import { useSignedIn } from "../api/session";

export function problemOf(err: unknown): Problem | null {
  if (!err) return null;
  if (err instanceof ApiError) return err.problem;
  return {
    type: "about:blank", title: "", status: 0, code: "console", request_id: "",
    detail: "The console met something that it does not understand.", hint: err instanceof Error ? err.message : String(err),
  };
}

/** The message for one field of a form, if the refusal is about it. */
export function fieldError(err: unknown, ...names: string[]): string | undefined {
  const p = problemOf(err);
  if (!p) return undefined;
  for (const e of p.errors ?? []) if (names.includes(e.field)) return sentence(e.message);
  return p.field && names.includes(p.field) ? sentence(p.detail) : undefined;
}

export function ProblemAlert({ error, again, fields = [] }: { error: unknown; again?: () => void; fields?: string[] }) {
  const p = problemOf(error);
  const signedIn = useSignedIn();
  if (!p) return null;
  // Said beside its field already.
  if (p.field && fields.includes(p.field) && !p.hint) return null;
  const away = p.code === "unreachable";
  const gone = p.status === 404;
  // The API speaks to programs of commands there; on a page it is one of these two.
  const hint = gone ? "It may have been deleted, or belong to a project that you do not see." : p.hint;
  return (
    <Alert color={away ? "yellow" : "red"} icon={away ? <IconPlugConnectedX size={20} /> : <IconAlertTriangle size={20} />} role="alert" variant="light">
      <Stack gap={6}>
        <Text size="sm" fw={600}>
          {p.field && !fields.includes(p.field) ? <Code mr={6}>{p.field}</Code> : null}
          {sentence(p.detail)}
        </Text>
        {hint ? <Text size="sm">{sentence(hint)}</Text> : null}
        {(p.errors?.length ?? 0) > 1 ? (
          <List size="sm">
            {p.errors!.map((e) => (
              <List.Item key={e.field + e.message}>
                <Code>{e.field}</Code> {e.message}
              </List.Item>
            ))}
          </List>
        ) : null}
        <Group gap="md">
          {again && !gone ? (
            <Button size="compact-sm" variant="default" leftSection={<IconRefresh size={14} />} onClick={again}>
              Try again
            </Button>
          ) : null}
          {p.request_id ? (
            <Text size="xs" c="dimmed">
              Request {p.request_id}
            </Text>
          ) : null}
          {p.status === 401 && signedIn ? <Anchor size="sm" href="/console/">Sign in again</Anchor> : null}
        </Group>
      </Stack>
    </Alert>
  );
}
