"""Users: people with one role in one workspace, known by an e-mail address."""
