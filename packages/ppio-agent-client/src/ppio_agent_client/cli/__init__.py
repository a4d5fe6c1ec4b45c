"""The command line: `ppio-agent`, one file per command. It uses nothing of the client but public names.

Commands are in `commands/`, everything else is what they share. A command's file is imported when the command runs, and
heavy libraries inside functions, so that `--help` answers at once.
"""
