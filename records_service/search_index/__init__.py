"""The search index: what each record has in it, how it is written, and how it is built."""
