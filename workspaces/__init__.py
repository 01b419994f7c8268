"""Personal and team workspaces, memberships, roles, and the log of what was done in them."""
