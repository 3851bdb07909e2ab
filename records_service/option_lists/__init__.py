"""Option lists: what an option attribute lets one choose from."""
