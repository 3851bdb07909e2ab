"""What a channel speaks to: one connector for each type of target."""
