"""Hands work in, forgets about it, and finds it again by its ids, as another process would.

python examples/09_long_job/caller.py http://localhost:8080
"""

import sys

from ppio_agent_client import SyncAgentRuntimeClient

PAGES = ["to be", "or not to be", "that is the question"]


def hand_in(url: str) -> str:
    with SyncAgentRuntimeClient() as client:
        job = client.attach(url).submit({"pages": PAGES}, timeout=600)
        return job.invocation_id


def fetch(url: str, invocation_id: str) -> None:
    with SyncAgentRuntimeClient() as client:
        job = client.attach(url).invocation(invocation_id)
        for event in job.events().events():
            if event.kind == "progress":
                print(f"page {event.data['page']} of {event.data['of']}")
            elif event.kind == "chunk":
                print(event.data)
        print(job.status())


if __name__ == "__main__":
    fetch(sys.argv[1], hand_in(sys.argv[1]))
