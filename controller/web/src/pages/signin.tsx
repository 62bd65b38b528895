import { Anchor, Button, Center, Divider, Group, Paper, PasswordInput, Skeleton, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { IconLogin2 } from "../icons";
import { useState, type FormEvent } from "react";
import { api, credentials, take } from "../api/client";
import { sessionKey } from "../api/session";
import { SchemeSwitch } from "../frame";
import { ProblemAlert } from "../ui/problem";

export function SignIn() {
  const client = useQueryClient();
  const methods = useQuery({ queryKey: ["sign-in"], queryFn: () => take(api.GET("/session/methods")), staleTime: Infinity });
  const [byToken, setByToken] = useState(false);
  const [name, setName] = useState("");
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  const submit = async (e: FormEvent) => {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      if (byToken) {
        credentials.setToken(secret.trim());
        const who = await take(api.GET("/session"));
        client.setQueryData(sessionKey, who);
      } else {
        const who = await take(api.POST("/session", { body: { name: name.trim(), password: secret } }));
        credentials.setCSRF(who.csrf_token);
        client.setQueryData(sessionKey, who);
      }
    } catch (err) {
      credentials.setToken("");
      setError(err);
      setSecret("");
    }
    setBusy(false);
  };
  const oidc = methods.data?.oidc;
  const here = location.pathname + location.search;
  return (
    <Center mih="100vh" p="md" component="main">
      <Stack w="100%" maw={400} gap="lg">
        <Group justify="space-between">
          <span className="brand"><img src="/console/icon.svg" alt="" width={34} height={34} /><Text fw={680} fz="lg">DevFlow Backup</Text></span>
          <SchemeSwitch />
        </Group>
        <Paper withBorder radius="lg" p="xl" shadow="sm">
          <Title order={1} fz="h3" mb={4}>Sign in</Title>
          <Text size="sm" c="dimmed" mb="lg">{byToken ? "With an API token, until this tab is closed." : "Backups of your databases, proven."}</Text>
          {methods.isPending ? <Skeleton h={180} /> : (
            <form onSubmit={submit}>
              <Stack gap="md">
                {oidc && !byToken ? (
                  <>
                    <Button component="a" href={`${oidc.url}?return_to=${encodeURIComponent(here)}`} variant="default" fullWidth leftSection={<IconLogin2 size={18} />}>{oidc.title}</Button>
                    <Divider label="or" />
                  </>
                ) : null}
                {byToken ? (
                  <PasswordInput label="API token" placeholder="dfk_…" value={secret} onChange={(e) => setSecret(e.currentTarget.value)} required autoComplete="off" data-autofocus />
                ) : (
                  <>
                    <TextInput label="User name" value={name} onChange={(e) => setName(e.currentTarget.value)} required autoComplete="username" autoCapitalize="none" spellCheck={false} autoFocus />
                    <PasswordInput label="Password" value={secret} onChange={(e) => setSecret(e.currentTarget.value)} required autoComplete="current-password" />
                  </>
                )}
                <ProblemAlert error={error ?? methods.error} />
                <Button type="submit" fullWidth loading={busy}>Sign in</Button>
              </Stack>
            </form>
          )}
        </Paper>
        <Stack gap={6} align="center">
          <Anchor component="button" type="button" size="sm" onClick={() => { setByToken(!byToken); setSecret(""); setError(null); }}>
            {byToken ? "Sign in with name and password" : "Sign in with an API token"}
          </Anchor>
          {byToken ? null : (
            <Text size="xs" c="dimmed" ta="center">
              No user yet? On the controller's host: <span className="mono">devflow-controller user add NAME --admin</span>
            </Text>
          )}
        </Stack>
      </Stack>
    </Center>
  );
}
