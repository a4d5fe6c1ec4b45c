"""The command line: `ppio-agent`, one file per command. It knows the client by its front door alone.

Files with an underscore are shared by all commands, the others are commands. A command's file is imported when the
command runs, and heavy libraries inside functions, so that `--help` answers at once.
"""
