// How a backup is opened without us: the commands of any distribution.
import { databaseName } from "./format";

type Recoverable = { database_type: string; database_name: string; compression: string; encryption: string; file_name: string; checksum: string | null; project: string };

/** A word as a shell takes it. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Commands that check, open and load an artifact. The key file is what `devflowctl project key` wrote. */
export function recovery(b: Recoverable): string {
  const file = quote(b.file_name);
  const key = quote(`${b.project}.key`);
  const plain = `${databaseName(b.database_name).replace(/\.[^.]*$/, "")}_recovered`;
  const name = quote(plain);
  const expand = b.compression === "zstd" ? "zstd -d" : b.compression === "gzip" ? "gunzip" : "";
  const suffix = b.database_type === "postgresql" ? "dump" : b.database_type === "mysql" ? "sql" : "sqlite";
  const out = `recovered.${suffix}`;
  const lines: string[] = [];
  if (b.checksum) lines.push(`echo '${b.checksum}  ${b.file_name}' | sha256sum -c`);
  if (b.encryption === "age") lines.push(`age -d -i ${key} ${file}${expand ? ` | ${expand}` : ""} > ${out}`);
  else if (b.encryption === "aes-256-cbc") {
    lines.push("# Prints the openssl commands for this file; works offline, with the manifest beside it.");
    lines.push(`devflowctl key derive ${file} --app-key-file ${key}`);
  } else lines.push(expand ? `${expand} < ${file} > ${out}` : `cp ${file} ${out}`);
  if (b.database_type === "postgresql") {
    lines.push(`createdb ${name}`, `pg_restore --no-owner --exit-on-error -d ${name} ${out}`);
  } else if (b.database_type === "mysql") {
    lines.push("tail -n 1 recovered.sql   # a whole dump ends in: -- Dump completed", `mariadb -e ${quote(`CREATE DATABASE \`${plain.replaceAll("`", "``")}\``)}`, `mariadb --binary-mode --comments ${name} < ${out}`);
  } else lines.push(`sqlite3 ${out} 'PRAGMA integrity_check'`);
  return lines.join("\n");
}
