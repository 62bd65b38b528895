// Questions before something is done: a confirmation, where it matters with a name to type.
import { Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { ProblemAlert } from "./problem";
import { Modal } from "./modal";

/** Asks before it runs. What it runs may yield false: the question stays, with what it has learned. */
export function Confirm({ title, children, action, color = "blue", typed, opened, onClose, run, extra }: {
  title: string; children: ReactNode; action: string; color?: string; typed?: string; opened: boolean; onClose: () => void; run: () => Promise<unknown>; extra?: ReactNode;
}) {
  const [name, setName] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const close = () => {
    if (busy) return;
    setName("");
    setError(null);
    onClose();
  };
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      const done = await run();
      setBusy(false);
      if (done === false) return;
      setName("");
      onClose();
    } catch (err) {
      setError(err);
      setBusy(false);
    }
  };
  return (
    <Modal opened={opened} onClose={close} title={title} centered>
      <form onSubmit={(e) => { e.preventDefault(); void go(); }}>
        <Stack gap="md">
          <Text size="sm" component="div">{children}</Text>
          {extra}
          {typed !== undefined ? (
            <TextInput label={<>Type <b>{typed}</b> to confirm</>} value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />
          ) : null}
          <ProblemAlert error={error} />
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={close} type="button">Cancel</Button>
            <Button color={color} type="submit" loading={busy} disabled={typed !== undefined && name !== typed}>{action}</Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
