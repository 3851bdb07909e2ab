"""What is said about a change set: messages, and annotations of proposed texts."""
