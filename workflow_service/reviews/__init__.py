"""What reviewers decide about a change set, and what they say of it."""
