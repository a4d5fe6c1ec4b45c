"""Starts the supervisor: `python -I -S <this folder> <sandbox directory> <command of the agent>`.

Isolated and without site-packages, because reading those takes longer than everything the supervisor does. The folder
becomes a package of its own, `local`, so that `ppio_agent_client` and what it imports stay out.
"""

import sys
from importlib import import_module

# Last in the path, so that no neighbour of this folder hides a module of the standard library.
sys.path.append(sys.path.pop(0).rpartition("/")[0])
import_module("local.supervisor").main(sys.argv[1], sys.argv[2:])
