// Builds an actor: bundles its modules with the SDK into one, has that run once, and prints what the actor says of itself.
// Run in the folder that has the tools, with the project's folder and the module that it names.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { componentize } from "componentize-qjs";
import { build } from "esbuild";

const [project, main] = process.argv.slice(-2);
const kit = join(project, ".lattice");
const author = JSON.stringify(join(project, main));

// The SDK goes first: it makes what the author's module finds in the global object.
const entries = {
    guest: `import { serve } from "./guest.js"; import actor from ${author}; export const handler = serve(actor);`,
    describe: `import { metadata } from "./lattice.js"; import actor from ${author}; export default metadata(actor);`,
};
const bundle = async (name) => {
    const outfile = join(kit, "built", `${name}.mjs`);
    await build({
        stdin: { contents: entries[name], resolveDir: kit, sourcefile: `${name}-entry.js` },
        absWorkingDir: project,
        outfile,
        bundle: true,
        format: "esm",
        platform: "neutral",
        mainFields: ["module", "main"],
        target: "es2023",
        external: ["lattice:*", "wasi:*"],
        logLevel: "warning",
    });
    return outfile;
};

// What is wrong was printed by esbuild with its place.
const guest = await bundle("guest").catch(() => process.exit(1));
const describe = await bundle("describe");
try {
    const { component } = await componentize({
        witPath: join(kit, "wit"),
        world: "guest",
        jsSource: await readFile(guest, "utf8"),
        jsPath: guest,
    });
    await writeFile(join(kit, "built", "component.wasm"), component);
} catch (error) {
    console.error(error.message);
    process.exit(1);
}
const { default: metadata } = await import(pathToFileURL(describe));
console.log(JSON.stringify(metadata));
// Whatever the module has begun is of no interest here.
process.exit(0);
