"""The same without async, for Flask, Django, scripts and notebooks: the same words without `await`.

    python examples/07_backend_sync.py

The second half is another client, as in another process: it finds the session by its id and goes on talking.
"""

from pathlib import Path

from ppio_agent_client import SyncAgentRuntimeClient, SyncLocalSandboxProvider

AGENT = Path(__file__).parent / "04_conversation"


def main() -> None:
    with SyncAgentRuntimeClient(provider=SyncLocalSandboxProvider()) as client:
        session = client.create_session(str(AGENT), timeout_seconds=120, session_id="ada-7")
        with session.stream("My name is Ada and my favourite city is Lisbon.") as stream:
            for word in stream:
                print(word, end="", flush=True)
        print()

    with SyncAgentRuntimeClient(provider="local") as client:
        found = client.get_session("ada-7")
        if found is None:
            raise SystemExit("the session is gone")
        with found:  # closes its sandbox at the end
            print(found.invoke("What is my name?").result)


if __name__ == "__main__":
    main()
