// What can be done with a backup, with the questions asked before.
import { Radio, Stack, Text, Textarea, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useState, type ReactNode } from "react";
import { api, ApiError, take } from "../api/client";
import { settled, type Backup } from "../api/queries";
import { databaseName } from "../format";
import { Confirm } from "./dialog";
import { refused, toast } from "./toast";

const RestoreDialog = lazy(() => import("./restore"));

type Question = "verify" | "delete" | "cancel" | "restore" | "hold" | "release" | "undelete";

export function useBackupActions() {
  const client = useQueryClient();
  const [asked, setAsked] = useState<{ what: Question; b: Backup } | null>(null);
  const [verifying, setVerifying] = useState<ReadonlySet<number>>(new Set());
  const again = () => Promise.all(["backups", "backup", "statistics", "overview"].map((key) => client.invalidateQueries({ queryKey: [key] })));

  const mark = (id: number, on: boolean) => setVerifying((s) => {
    const next = new Set(s);
    if (on) next.add(id);
    else next.delete(id);
    return next;
  });

  const verify = async (b: Backup, level: "checksum" | "content") => {
    const job = await take(api.POST("/backups/{id}/verify", { params: { path: { id: b.id } }, body: { level } }));
    mark(b.id, true);
    void settled(job.id)
      .then((done) => {
        if (done.status === "completed") toast(`Backup ${b.id} of ${databaseName(b.database_name)} is verified`);
        else toast(done.failure?.message || `Backup ${b.id} could not be verified`, { hint: done.failure?.hint, bad: true });
      })
      .catch(refused)
      .finally(() => {
        mark(b.id, false);
        void again();
      });
  };

  const download = async (b: Backup, object?: "manifest" | "globals" | "fingerprint", format?: "dump") => {
    try {
      const d = await take(api.POST("/backups/{id}/download", { params: { path: { id: b.id } }, body: { object, format } }));
      const a = document.createElement("a");
      a.href = d.url;
      a.download = d.file_name;
      a.rel = "noreferrer";
      a.click();
      toast(`Downloading ${d.file_name}`, { hint: d.checksum ? `SHA-256 ${d.checksum}` : undefined });
    } catch (err) {
      refused(err);
    }
  };

  const retry = (b: Backup) => {
    take(api.POST("/backups/{id}/retry", { params: { path: { id: b.id } } })).then(() => toast(`A new backup of ${databaseName(b.database_name)} is ordered`), refused).finally(() => void again());
  };

  const close = () => setAsked(null);
  const b = asked?.b;
  let dialogs: ReactNode = null;
  if (asked && b) {
    const id = b.id;
    const name = databaseName(b.database_name);
    const common = { opened: true, onClose: close };
    if (asked.what === "verify") dialogs = <Verify {...common} b={b} run={(level) => verify(b, level)} />;
    else if (asked.what === "delete") dialogs = <Delete {...common} b={b} again={again} />;
    else if (asked.what === "restore") dialogs = <Suspense fallback={null}><RestoreDialog backup={b} onClose={close} /></Suspense>;
    else if (asked.what === "cancel") {
      dialogs = (
        <Confirm {...common} title="Cancel this backup?" action="Cancel backup" color="red" run={async () => { await take(api.POST("/backups/{id}/cancel", { params: { path: { id } } })); await again(); }}>
          The dump of <b>{name}</b> is stopped, and what was uploaded so far is removed. The database is not touched.
        </Confirm>
      );
    } else if (asked.what === "hold") dialogs = <Hold {...common} b={b} again={again} />;
    else if (asked.what === "release") {
      dialogs = (
        <Confirm {...common} title="Release this backup?" action="Release" run={async () => { await take(api.POST("/backups/{id}/release", { params: { path: { id } } })); await again(); }}>
          Held by {b.held_by}: {b.hold_reason}. Released, retention may remove it.
        </Confirm>
      );
    } else if (asked.what === "undelete") {
      dialogs = (
        <Confirm {...common} title="Take the deletion back?" action="Keep the backup" run={async () => { await take(api.POST("/backups/{id}/undelete", { params: { path: { id } } })); await again(); }}>
          The backup of <b>{name}</b> stays, as if it had never been deleted.
        </Confirm>
      );
    }
  }
  return { ask: (what: Question, of: Backup) => setAsked({ what, b: of }), retry, download, dialogs, verifying };
}

function Verify({ b, run, onClose, opened }: { b: Backup; run: (level: "checksum" | "content") => Promise<void>; onClose: () => void; opened: boolean }) {
  const [level, setLevel] = useState<"checksum" | "content">("checksum");
  return (
    <Confirm opened={opened} onClose={onClose} title="Verify Integrity" action="Verify" run={() => run(level)}
      extra={
        <Radio.Group value={level} onChange={(v) => setLevel(v as "checksum")} label="How thoroughly" name="level">
          <Stack gap="xs" mt="xs">
            <Radio value="checksum" label="Checksum" description="Every stored byte is read and compared with the SHA-256 taken when the backup was made." />
            <Radio value="content" label="Content" description="Also decrypted, decompressed and read to the end of the dump, on a server that may open it." />
          </Stack>
        </Radio.Group>
      }>
      The backup of <b>{databaseName(b.database_name)}</b> is read from {b.storage}. Nothing is changed.
    </Confirm>
  );
}

function Delete({ b, again, onClose, opened }: { b: Backup; again: () => Promise<unknown>; onClose: () => void; opened: boolean }) {
  const [last, setLast] = useState(false);
  const [reason, setReason] = useState("");
  return (
    <Confirm opened={opened} onClose={onClose} title="Delete this backup?" action="Delete backup" color="red" typed={last ? b.database_name : undefined}
      extra={<TextInput label="Reason" description="For the audit log; may be left out" value={reason} onChange={(e) => setReason(e.currentTarget.value)} />}
      run={async () => {
        try {
          await take(api.POST("/backups/{id}/delete", { params: { path: { id: b.id } }, body: { reason: reason || undefined, confirm: last ? b.database_name : undefined } }));
        } catch (err) {
          if (err instanceof ApiError && err.problem.field === "confirm" && !last) {
            setLast(true); // asked again, with the name
            return false;
          }
          throw err;
        }
        toast(`The backup of ${databaseName(b.database_name)} is deleted`, { hint: "Until its grace has passed the deletion can be taken back, on the backup's page." });
        await again();
        return true;
      }}>
      {last ? <Text size="sm" c="red" fw={600} mb="xs">This is the last good backup of the database. Once it is gone, nothing brings the data back.</Text> : null}
      <span className="mono wrap">{b.file_name || `Backup ${b.id}`}</span> of <b className="wrap">{b.database_name}</b> on {b.storage} is removed once its grace has passed. Until then it can be taken back.
    </Confirm>
  );
}

function Hold({ b, again, onClose, opened }: { b: Backup; again: () => Promise<unknown>; onClose: () => void; opened: boolean }) {
  const [reason, setReason] = useState("");
  return (
    <Confirm opened={opened} onClose={onClose} title="Hold this backup" action="Hold"
      extra={<Textarea label="Reason" description="For those who wonder why it is still there" value={reason} onChange={(e) => setReason(e.currentTarget.value)} required data-autofocus />}
      run={async () => {
        await take(api.POST("/backups/{id}/hold", { params: { path: { id: b.id } }, body: { reason } }));
        await again();
      }}>
      Neither retention nor a person removes it until it is released.
    </Confirm>
  );
}

