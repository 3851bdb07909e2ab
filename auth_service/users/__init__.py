"""Users: each has one role in one workspace, and a unique e-mail address."""
