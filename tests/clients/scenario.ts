// The scenario of all clients, with the one that openapi-generator makes for TypeScript.
// dev/clients.py copies this file beside the generated client.
import {
  BackupsApi,
  Configuration,
  DepartmentsApi,
  ProblemFromJSON,
  ResponseError,
  RestoresApi,
  UsersApi,
  type Problem,
  type UserView,
} from "./client/index.js";

declare const process: { env: Record<string, string | undefined> };

const department = env("DEPARTMENT");
const configuration = new Configuration({ basePath: env("ROLLKEEPER_URL"), accessToken: env("ROLLKEEPER_TOKEN") });
const departments = new DepartmentsApi(configuration);
const users = new UsersApi(configuration);
const backups = new BackupsApi(configuration);
const restores = new RestoresApi(configuration);

function env(name: string): string {
  const value = process.env[name];
  if (value === undefined) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

function same<T>(found: T, wanted: T, what: string): void {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
  }
  console.log(`${what}: ${JSON.stringify(found)}`);
}

async function refused(request: Promise<unknown>): Promise<Problem> {
  try {
    await request;
  } catch (error) {
    if (error instanceof ResponseError) {
      return ProblemFromJSON(await error.response.json());
    }
    throw error;
  }
  throw new Error("the request was not refused");
}

async function everybody(): Promise<UserView[]> {
  const found: UserView[] = [];
  let cursor: string | undefined;
  do {
    const page = await users.listUsers({ department, limit: 1, cursor });
    found.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return found.sort((a, b) => a.name.localeCompare(b.name));
}

const etag = (rev: string): string => `"${rev}"`;

const made = await departments.putDepartment({ department, departmentRequest: { policy: { backupEvery: "1h" } } });
same(made.policy.backupEvery, "1h", "department");

const ada = await users.createUser({
  newUser: { name: "Ada", department, password: "correct horse battery staple" },
  idempotencyKey: `"${department}-ada"`,
});
const grace = await users.createUser({ newUser: { name: "Grace Hopper", department, password: "a ship in port" } });
same((await everybody()).map((user) => user.name), ["Ada", "Grace Hopper"], "list");

const patched = await users.updateUser({ userId: ada.id, ifMatch: etag(ada.rev), userPatch: { name: "Ada Lovelace" } });
same([patched.name, patched.version], ["Ada Lovelace", 2], "patch with ETag");
const stale = await refused(users.updateUser({ userId: ada.id, ifMatch: etag(ada.rev), userPatch: { locked: true } }));
same([stale.status, stale.code], [412, "stale"], "patch with a stale ETag");

const backup = await backups.startBackup({ backupRequest: { department }, prefer: "wait=60" });
same([backup.state, backup.records], ["complete", 2], "backup");

await users.deleteUser({ userId: grace.id });
await users.updateUser({ userId: ada.id, userPatch: { name: "Nobody" } });

const planned = await restores.startRestore({ restoreRequest: { from: { backupId: backup.id } }, prefer: "wait=60" });
same([planned.state, planned.plan?.creates, planned.plan?.updates], ["planned", 1, 1], "restore, planned");
const applied = await restores.applyRestore({
  restoreId: planned.id,
  ifMatch: etag(planned.plan?.hash ?? ""),
  prefer: "wait=60",
});
same([applied.state, applied.progress.changesApplied], ["complete", 2], "restore, applied");
same((await everybody()).map((user) => user.name), ["Ada Lovelace", "Grace Hopper"], "list after the restore");

const gone = await refused(users.getUser({ userId: "nobody" }));
same([gone.status, gone.code], [404, "not_found"], "an error");
const invalid = await refused(users.createUser({ newUser: { name: "Eve", department } }));
same([invalid.status, invalid.errors?.[0]?.pointer], [422, "/password"], "an error with its field");
