"""The commands, a few that belong together in each module; each module has a table ``COMMANDS``."""
