"""The web console: its page, its sessions, and the rows of the admin API that only it needs."""
