"""The command line: `ppio-agent`, one file per command. It uses only public names of the client.

Commands are in `commands/`; the other modules are shared. A command's file is imported when the command runs, and heavy
libraries inside functions, so that `--help` is fast.
"""
