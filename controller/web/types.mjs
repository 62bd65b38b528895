// Writes src/api/schema.d.ts, the types of the API, from an OpenAPI document: node types.mjs DOCUMENT
// Its first line names the document; a Go test holds it against the API.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

const document = readFileSync(process.argv[2]);
const ast = await openapiTS(JSON.parse(document), { alphabetize: true, defaultNonNullable: false });
const sum = createHash("sha256").update(document).digest("hex");
writeFileSync(new URL("src/api/schema.d.ts", import.meta.url), `// OpenAPI ${sum}\n// Written by \`make console-types\`; not to be edited.\n\n${astToString(ast)}`);
