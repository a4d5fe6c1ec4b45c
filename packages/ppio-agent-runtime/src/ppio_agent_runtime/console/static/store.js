// Sessions, runs and events in IndexedDB. It is a convenience: where it is broken or full, the conversation goes on.

import { storageName } from "./api.js";

export const MAX_SESSIONS = 50;
export const MAX_SESSION_BYTES = 5 * 1024 * 1024;

let opening = null;

/** Why the history is not kept; null while it is. */
export let problem = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open(storageName, 1);
    asked.onupgradeneeded = () => {
      const database = asked.result;
      database.createObjectStore("sessions", { keyPath: "id" });
      const runs = database.createObjectStore("runs", { keyPath: "key" });
      runs.createIndex("session", "session");
      runs.createIndex("status", "status");
      database.createObjectStore("events", { keyPath: ["run", "id"] });
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
    asked.onblocked = () => reject(new Error("Another tab holds an older version of the history."));
  });
  return opening;
}

/** Do something in one transaction; returns its result, `otherwise` where that fails. */
async function transact(names, mode, work, otherwise) {
  try {
    const transaction = (await open()).transaction(names, mode);
    const asked = work(...names.map((name) => transaction.objectStore(name)));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(asked?.result ?? otherwise);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } catch (error) {
    problem = String(error?.message ?? error);
    return otherwise;
  }
}

const eventsOf = (run) => IDBKeyRange.bound([run], [run, []]);

export const loadSessions = () => transact(["sessions"], "readonly", (sessions) => sessions.getAll(), []);
export const saveSession = (session) => transact(["sessions"], "readwrite", (sessions) => sessions.put(session));
export const loadRun = (key) => transact(["runs"], "readonly", (runs) => runs.get(key));
export const saveRun = (record) => transact(["runs"], "readwrite", (runs) => runs.put(record));

/** Return the runs of a session, oldest first. */
export async function loadRuns(session) {
  const runs = await transact(["runs"], "readonly", (store) => store.index("session").getAll(session), []);
  return runs.sort((a, b) => a.createdAt - b.createdAt);
}

/** Return the runs with a status, of all sessions. */
export const runsWith = (status) => transact(["runs"], "readonly", (runs) => runs.index("status").getAll(status), []);

/** Return the events of a run, in order. */
export const loadEvents = (run) => transact(["events"], "readonly", (events) => events.getAll(eventsOf(run)), []);

/** Keep events of a run; the same event twice is one. */
export const saveEvents = (run, events) =>
  transact(["events"], "readwrite", (store) => events.forEach((event) => store.put({ ...event, run })));

export const deleteRun = (key) =>
  transact(["runs", "events"], "readwrite", (runs, events) => {
    runs.delete(key);
    events.delete(eventsOf(key));
  });

/** Delete a session with its runs, all or nothing: the page can be reloaded at any time. */
export async function deleteSession(id) {
  const keys = (await loadRuns(id)).map((run) => run.key);
  await transact(["sessions", "runs", "events"], "readwrite", (sessions, runs, events) => {
    sessions.delete(id);
    for (const key of keys) {
      runs.delete(key);
      events.delete(eventsOf(key));
    }
  });
}

/** Delete what is too much: the oldest sessions, and the oldest runs of a session that is too large. */
export async function prune(session) {
  const sessions = (await loadSessions()).sort((a, b) => b.updatedAt - a.updatedAt);
  for (const old of sessions.slice(MAX_SESSIONS)) await deleteSession(old.id);
  let bytes = 0;
  for (const run of (await loadRuns(session)).reverse()) {
    bytes += run.bytes + run.body.length;
    if (bytes > MAX_SESSION_BYTES) await deleteRun(run.key);
  }
}
