"""Starts the supervisor: `python -I -S <this folder> <sandbox directory> <command of the agent>`.

It runs isolated and without site-packages, because loading those takes longer than everything the supervisor does. The
folder becomes a package `local`, so that `ppio_agent_client` and its dependencies are not imported.
"""

import sys
from importlib import import_module

# Last in the path, so that no neighbour of this folder hides a module of the standard library.
sys.path.append(sys.path.pop(0).rpartition("/")[0])
import_module("local.supervisor").main(sys.argv[1], sys.argv[2:])
