"""What files and folders are called, within a home and within a sandbox's directory."""

ENDED_FOLDER = "ended"
TRASH_FOLDER = "trash"

APP_FOLDER = "app"
BELL_FILE = "bell"
LOCK_FILE = "lock"
LOG_FILE = "agent.log"
RECORD_FILE = "record.json"
SUPERVISOR_LOG_FILE = "supervisor.log"
