// The call of a run, as a program would make it. Keys are never in it. `isRelayed`: through `ppio-agent console`, which
// wants a header of its own.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const python = (text) => JSON.stringify(text);

/** Return what is sent beside the body: headers that a caller chooses. */
function chosen({ headers }) {
  const names = ["X-PPIO-Session-Id", "X-PPIO-User-Id", "X-PPIO-Timeout", "Prefer"];
  return names.filter((name) => headers[name] !== undefined).map((name) => [name, headers[name]]);
}

const RELAYED = ["X-PPIO-Console", "1"];

export function curl(record, base, needsKey, isRelayed) {
  const headers = [["Content-Type", "application/json"], ["PPIO-Agent-Protocol", "1"], ["PPIO-Agent-Events", "1"], ["Accept", "text/event-stream"], ...(isRelayed ? [RELAYED] : []), ...chosen(record)];
  const lines = [`curl -N ${quoted(`${base}invocations`)}`, ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`)];
  if (needsKey) lines.push('-H "Authorization: Bearer $PPIO_TOKEN"');
  return [...lines, `--data-raw ${quoted(record.body)}`].join(" \\\n  ");
}

export function pythonClient(record, base, needsKey, isRelayed) {
  const headers = isRelayed ? `, headers={"${RELAYED[0]}": "${RELAYED[1]}"}` : "";
  const token = needsKey ? ', os.environ["PPIO_TOKEN"]' : "";
  return `import asyncio
import json
${needsKey ? "import os\n" : ""}
from ppio_agent_client import AgentRuntimeClient

BODY = ${python(record.body)}


async def main() -> None:
    async with AgentRuntimeClient() as client:
        session = client.attach(${python(base)}${token}, session_id=${python(record.session)}${headers})
        async for event in session.events(json.loads(BODY)):
            print(event)


asyncio.run(main())
`;
}

export function javascript(record, base, needsKey, isRelayed) {
  const headers = { "Content-Type": "application/json", Accept: "text/event-stream", "PPIO-Agent-Protocol": "1", "PPIO-Agent-Events": "1", ...Object.fromEntries(isRelayed ? [RELAYED, ...chosen(record)] : chosen(record)) };
  const lines = Object.entries(headers).map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},`);
  if (needsKey) lines.push("    Authorization: `Bearer ${process.env.PPIO_TOKEN}`,");
  return `const response = await fetch(${JSON.stringify(`${base}invocations`)}, {
  method: "POST",
  headers: {
${lines.join("\n")}
  },
  body: ${JSON.stringify(record.body)},
});
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  console.log(text);
}
`;
}
