// The pictures and the API reference. `node scripts/docs.mjs` makes both; `--check` makes neither, and fails if a
// picture is not what its text gives, if a public name, member or parameter has no docstring, or if an example is
// missing, does not compile or does not run.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Application, ReflectionKind } from "typedoc";
import { root } from "./install.mjs";
import { examplesIn, tryExamples } from "./examples.mjs";
import { pictureFaults, writePictures } from "./picture.mjs";

/** What `package.json` exports with types, as [name for import, source]: a new entry point needs no line here. */
export const entryPoints = Object.entries(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).exports)
  .filter(([, { types }]) => types !== undefined)
  .map(([path, { types }]) => [`corewal${path.slice(1)}`, types.replace("./dist/types/", "").replace(/\.d\.ts$/, ".ts")]);

const OPTIONS = {
  name: "corewal",
  entryPoints: entryPoints.map(([, source]) => source),
  tsconfig: "tsconfig.dist.json",
  out: "build/api",
  readme: "README.md",
  projectDocuments: ["ARCHITECTURE.md", "FORMAT.md", "CHANGELOG.md"],
  excludeInternal: true,
  excludeExternals: true,
  disableSources: true,
  includeVersion: true,
  hideGenerator: true,
  sort: ["source-order"],
  groupOrder: ["Functions", "Classes", "Interfaces", "Type Aliases"],
  // `npm run check` has done that.
  skipErrorChecking: true,
  treatWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, invalidPath: false, notDocumented: true, rewrittenLink: true },
  requiredToBeDocumented: ["Variable", "Function", "Class", "Interface", "TypeAlias", "Property", "Method", "Accessor", "Parameter"],
};

async function convert() {
  const app = await Application.bootstrap(OPTIONS);
  const project = await app.convert();
  if (project !== undefined) app.validate(project);
  if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
  // A module is called as it is imported, not as its file.
  for (const module of project.children) module.name = entryPoints.find(([, source]) => source.endsWith(`/${module.name}.ts`))[0];
  return { app, project };
}

/** Every error code has a heading in the README, and nobody names one that does not exist. */
function codeFaults(project) {
  const { types, elementSummaries } = project.getChildByName(["corewal", "ErrorCode"]).type;
  const known = new Set(types.map(({ value }) => value));
  const headings = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/^### (COREWAL_\w+)$/gm)].map(([, code]) => code);
  const named = project
    .getReflectionsByKind(ReflectionKind.All)
    .flatMap(({ comment }) => (comment === undefined ? [] : [...comment.summary, ...comment.blockTags.flatMap((tag) => tag.content)]))
    .flatMap(({ text }) => text.match(/COREWAL_\w+/g) ?? []);
  return [
    ...types.filter((_, i) => !elementSummaries?.[i]?.length).map(({ value }) => `${value} has no docstring`),
    ...[...known].filter((code) => !headings.includes(code)).map((code) => `README.md has no heading for ${code}`),
    ...[...new Set([...headings, ...named])].filter((code) => !known.has(code)).map((code) => `there is no error code ${code}`),
  ];
}

const { app, project } = await convert();
if (process.argv.includes("--check")) {
  const { examples, faults } = examplesIn(project);
  faults.push(...(await pictureFaults()), ...codeFaults(project));
  faults.push(...(await tryExamples(examples, entryPoints)));
  for (const fault of faults) console.log(fault);
  console.log(`${examples.length} examples`);
  process.exitCode = faults.length > 0 ? 1 : 0;
} else {
  await writePictures();
  await app.generateOutputs(project);
}
