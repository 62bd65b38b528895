// What is edited is read first, with its version; it is changed only if it is still that version.
import { Alert, Button, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { ApiError, type Versioned } from "../api/client";
import { IconAlertTriangle, IconRefresh } from "../icons";
import { Rows } from "./parts";
import { ProblemAlert } from "./problem";
import { Modal } from "./modal";

/** A dialog about one thing as it is now. The form is made anew when it is read again. */
export function EditModal<T>({ title, of, read, size, onClose, children }: {
  title: string; of: (string | number)[]; read: () => Promise<Versioned<T>>; size?: string; onClose: () => void; children: (now: Versioned<T>, again: () => void) => ReactNode;
}) {
  const now = useQuery({ queryKey: ["edited", ...of], queryFn: read, gcTime: 0, staleTime: Infinity, refetchOnWindowFocus: false, refetchOnReconnect: false });
  return (
    <Modal opened onClose={onClose} title={title} centered size={size}>
      {now.data ? <div key={now.data.etag}>{children(now.data, () => void now.refetch())}</div> : now.error ? <ProblemAlert error={now.error} again={() => void now.refetch()} /> : <Rows n={3} />}
    </Modal>
  );
}

/** The refusal of a change; where someone else was faster, with a way to see what it is now. */
export function EditProblem({ error, again, fields }: { error: unknown; again: () => void; fields?: string[] }) {
  const late = error instanceof ApiError && error.problem.code === "changed_meanwhile";
  if (!late) return <ProblemAlert error={error} fields={fields} />;
  return (
    <Alert color="yellow" variant="light" role="alert" icon={<IconAlertTriangle size={20} />} title="Someone has changed it meanwhile">
      <Text size="sm" mb="xs">Nothing was saved, so that their change is not undone. Look at what it is now, and make yours again.</Text>
      <Button size="compact-sm" variant="default" leftSection={<IconRefresh size={14} />} onClick={again}>Show it as it is now</Button>
    </Alert>
  );
}
